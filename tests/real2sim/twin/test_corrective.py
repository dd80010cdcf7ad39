"""Corrective views: off the path by what was asked, seen from there, and led back by their actions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, InvalidInput
from real2sim.robot import PandaKinematics
from real2sim.robots import PANDA as ROBOT
from real2sim.twin.arm import Arm
from real2sim.twin.bundle import Twin
from real2sim.twin.corrective import Correction, Spread, corrections, free_frames
from real2sim.twin.enact import carried_out
from real2sim.twin.physics import TwinPhysics
from real2sim.twin.pictures import Instant, TwinPictures

PANDA = PandaKinematics()
STEPS = 14


class Path:
    """Down towards the red block, whose top the fingers reach at the end, and the gripper then closes."""

    def __init__(self, twin: Twin) -> None:
        begin = PANDA.forward(twin.beginning.joint_position[None])[0]
        goal = np.array([0.5, 0.1, 0.25, np.pi, 0.0, np.pi / 4])
        joints, self.told = twin.beginning.joint_position, np.zeros((STEPS, 7))
        for row, share in enumerate(np.linspace(1 / (STEPS - 4), 1.4, STEPS).clip(max=1)):
            turn = Rotation.from_euler("xyz", goal[3:])
            pose = np.concatenate([begin[:3] + share * (goal[:3] - begin[:3]), turn.as_euler("xyz")])
            joints = self.told[row] = PANDA.nearest(pose, joints)
        self.gripper = np.array([0.0] * (STEPS - 2) + [1.0] * 2)
        self.commanded = PANDA.forward(self.told)
        self.instants = carried_out(twin, self.told, self.gripper)


@pytest.fixture(scope="module")
def path(small_twin: Twin) -> Path:
    return Path(small_twin)


def drawn(twin: Twin, path: Path, count: int = 4, spread: Spread | None = None, seed: int = 0) -> list[Correction]:
    return list(corrections(twin, path.instants, path.commanded, path.gripper, count, spread or Spread(), seed))


def off(cartesian: FloatArray, path: FloatArray) -> tuple[float, float]:
    """Metres and degrees between two poses `(6,)`."""
    turn = Rotation.from_euler("xyz", cartesian[3:]).inv() * Rotation.from_euler("xyz", path[3:])
    return float(np.linalg.norm(cartesian[:3] - path[:3])), float(np.degrees(turn.magnitude()))


def test_the_way_back_begins_off_the_path_and_ends_on_it(small_twin: Twin, path: Path) -> None:
    found = drawn(small_twin, path, 6)
    assert len({each.frame for each in found}) > 2
    for each in found:
        on = PANDA.forward(np.stack([path.instants[each.frame + k].joint_position for k in range(5)]))
        apart = np.array([off(*pair) for pair in zip(each.cartesian_position, on, strict=True)])
        np.testing.assert_allclose(apart[:, 0], each.metres, atol=1e-3)
        np.testing.assert_allclose(apart[:, 1], each.degrees, atol=0.1)
        assert 0 < each.metres[0] <= 0.03
        assert each.degrees[0] <= 10
        assert (np.diff(each.metres) < 0).all()
        assert apart[-1, 0] < 1e-4
    assert max(each.metres[0] for each in found) > 0.015


@pytest.mark.parametrize("frames", [1, 4])
def test_the_last_action_back_is_the_paths_own(small_twin: Twin, path: Path, frames: int) -> None:
    for each in drawn(small_twin, path, 3, Spread(frames=frames)):
        own = path.commanded[each.frame : each.frame + frames + 1]
        assert each.action.shape == (frames + 1, 7)
        np.testing.assert_allclose(each.action[-2:, :6], own[-2:], atol=1e-9)
        # With several frames, the first actions are off by what shall be left of the offset.
        if frames > 1:
            assert off(each.action[0, :6], own[0])[0] == pytest.approx(each.metres[1], abs=1e-6)


def test_carried_out_in_the_twin_the_actions_lead_back(small_twin: Twin, path: Path) -> None:
    for each in drawn(small_twin, path, 3):
        physics = TwinPhysics(small_twin.plane, small_twin.objects, ROBOT)
        arm = Arm(physics.model, physics.data, small_twin.servo)
        arm.place(each.joint_position[0], float(each.gripper_position[0, 0]))
        told, apart = each.joint_position[0], [each.metres[0]]
        for step, action in enumerate(each.action[:-1], start=1):
            told = PANDA.nearest(action[:6], told)
            arm.follow(told, float(action[6]), 1 / small_twin.beginning.fps)
            on = PANDA.forward(path.instants[each.frame + step].joint_position[None])[0]
            apart.append(off(PANDA.forward(arm.joint_position[None])[0], on)[0])
        assert apart[-1] < 0.25 * apart[0]
        assert (np.diff(apart) < 1e-3).all()


def test_the_pictures_are_those_of_the_pose(small_twin: Twin, path: Path) -> None:
    each = drawn(small_twin, path, 1, Spread(0.05, 20.0))[0]
    pictures = TwinPictures(small_twin)
    own = [path.instants[each.frame + k] for k in range(5)]
    there = [replace(i, joint_position=q) for i, q in zip(own, each.joint_position, strict=True)]
    wanted, undisturbed = (pictures.draw(instants)["wrist"] for instants in (there, own))
    pictures.close()
    np.testing.assert_array_equal(each.frames["wrist"], wanted)
    assert np.abs(each.frames["wrist"][0].astype(int) - undisturbed[0]).mean() > 2
    assert np.abs(each.frames["wrist"][-1].astype(int) - undisturbed[-1]).mean() < 0.5
    assert set(each.frames) == set(small_twin.cameras)


def test_the_same_seed_draws_the_same_and_another_others(small_twin: Twin, path: Path) -> None:
    one, same, other = (drawn(small_twin, path, 2, seed=seed)[1] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.action, same.action)
    np.testing.assert_array_equal(one.frames["wrist"], same.frames["wrist"])
    assert not np.allclose(one.action[0], other.action[0])


def test_only_what_comes_before_anything_is_touched_is_perturbed(small_twin: Twin, path: Path) -> None:
    free = free_frames(path.instants)
    assert STEPS - 2 <= free <= STEPS + 1  # the gripper closes in the last two
    assert all(each.frame + 4 < free for each in drawn(small_twin, path, 9))
    moved = list(path.instants)
    poses = {name: pose.copy() for name, pose in moved[6].body_to_base.items()}
    poses["object_1"][0, 3] += 0.01
    moved[6:] = [Instant(each.joint_position, each.gripper_position, poses) for each in moved[6:]]
    assert free_frames(moved) == 6
    with pytest.raises(InvalidInput, match="free for 6 frames only"):
        list(corrections(small_twin, moved, path.commanded, path.gripper, 1, Spread(frames=6), 0))


def test_no_view_is_from_within_a_thing(small_twin: Twin, path: Path) -> None:
    """The lowest frames of the path are so near the block that many poses around them are in it or in the table."""
    for each in drawn(small_twin, path, 8, Spread(0.15, 0.0, frames=1)):
        physics = TwinPhysics(small_twin.plane, small_twin.objects, ROBOT)
        Arm(physics.model, physics.data, small_twin.servo).place(each.joint_position[0], 0.0)
        touching = {
            frozenset(physics.model.body(physics.model.geom_bodyid[geom]).name for geom in pair)
            for pair in physics.data.contact.geom
        }
        assert not any("robot" in str(pair) and "object" in str(pair) for pair in touching)


def test_what_cannot_be_is_refused(small_twin: Twin, path: Path) -> None:
    with pytest.raises(InvalidInput, match="no wrist camera"):
        drawn(replace(small_twin, wrist=None), path)
    for values in ({"metres": 0.0}, {"metres": 1.0}, {"degrees": -1.0}, {"frames": 0}):
        with pytest.raises(InvalidInput):
            Spread(**values)  # type: ignore[arg-type]
