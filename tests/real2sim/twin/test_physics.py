"""The twin's physics: what was seen at rest stays at rest, what was not falls, and a robot pushes what it touches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from arena.contracts import InvalidInput
from real2sim.robot_files import RobotFiles, panda_with_robotiq
from real2sim.robots import PANDA
from real2sim.twin.mesh import Mesh
from real2sim.twin.objects import FRICTION, Guess, TwinObject
from real2sim.twin.physics import TwinPhysics, settle
from real2sim.twin.support import SupportPlane

HOME = np.array([0.0, -0.6, 0.0, -2.4, 0.0, 1.8, 0.8])
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
_SIDES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]


def block(
    name: str, place: tuple[float, float, float], half: tuple[float, float, float] = (0.03, 0.02, 0.04)
) -> TwinObject:
    triangles = np.array([triangle for a, b, c, d in _SIDES for triangle in ((a, b, c), (a, c, d))])
    mesh = Mesh(_CORNERS * half, triangles)
    pose = np.eye(4)
    pose[:3, 3] = place
    return TwinObject(name, pose, 2 * np.array(half), mesh, (mesh,), Guess(0.2, 0.1, 0.4), FRICTION)


def level(height: float = 0.0, tilt_degrees: float = 0.0) -> SupportPlane:
    normal = Rotation.from_euler("y", tilt_degrees, degrees=True).apply([0.0, 0.0, 1.0])
    outline = np.array([[0.1, -0.5], [0.1, 0.5], [0.9, 0.5], [0.9, -0.5]])
    return SupportPlane(normal, height, outline, tilt_degrees, 0.5)


def test_a_block_has_the_volume_of_a_block() -> None:
    assert block("a", (0, 0, 0)).mesh.volume == pytest.approx(0.06 * 0.04 * 0.08)


@pytest.mark.parametrize("height", [-0.1, 0.0, 0.25])
def test_blocks_rest_on_the_table_and_on_each_other(height: float) -> None:
    stack = [block("low", (0.5, 0.1, height + 0.04)), block("high", (0.5, 0.1, height + 0.12))]
    assert all(result.accepted for result in settle(TwinPhysics(level(height), stack)))


@pytest.mark.parametrize(
    ("place", "turn", "plane"),
    [
        ((0.5, 0.1, 0.10), 0.0, level()),  # in the air
        ((0.5, 0.1, 0.02), 0.0, level()),  # half in the table
        ((0.5, 0.1, 0.06), 40.0, level()),  # on an edge
        ((0.5, 2.0, 0.04), 0.0, level()),  # beside the table
        ((0.5, 0.1, -0.27), 45.0, level(0.0, 45.0)),  # on a slope steeper than its friction
    ],
)
def test_what_does_not_rest_is_found(place: tuple[float, float, float], turn: float, plane: SupportPlane) -> None:
    thing = block("thing", place)
    thing.body_to_base[:3, :3] = Rotation.from_euler("y", turn, degrees=True).as_matrix()
    (result,) = settle(TwinPhysics(plane, [thing]))
    assert not result.accepted


def test_friction_and_mass_are_the_things_own() -> None:
    """On a slope of 25 degrees, things of friction 0.7 stay and things of friction 0.2 slide."""
    slope = level(0.0, 25.0)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("y", 25, degrees=True).as_matrix()
    pose[:3, 3] = np.array([0.5, 0.0, -0.5 * np.tan(np.radians(25))]) + 0.02 * slope.normal
    rough = replace(block("thing", (0, 0, 0), half=(0.04, 0.04, 0.02)), body_to_base=pose)
    slippery = replace(rough, friction=Guess(0.2, 0.1, 0.3))
    assert settle(TwinPhysics(slope, [rough]))[0].accepted
    assert settle(TwinPhysics(slope, [slippery]))[0].distance > 0.1
    model = TwinPhysics(slope, [rough]).model
    assert model.body("thing").mass[0] == pytest.approx(0.2)


def test_the_robots_limits_are_radians_as_its_file_says() -> None:
    model = TwinPhysics(level(), [], PANDA).model
    np.testing.assert_allclose(model.joint("robot/joint4").range, [-3.0718, -0.0698], atol=1e-4)
    np.testing.assert_allclose(model.joint("robot/finger_joint").range, [0, 0.8])


def test_the_robot_holds_itself_and_does_not_disturb() -> None:
    physics = TwinPhysics(level(), [block("thing", (0.6, 0.3, 0.04))], PANDA)
    physics.set_joints(HOME)
    before = physics.data.body("robot/eef").xpos.copy()
    physics.step(1.0)
    np.testing.assert_allclose(physics.data.body("robot/eef").xpos, before, atol=0.005)
    assert settle(physics)[0].accepted


def test_a_robot_moves_what_it_runs_into() -> None:
    """A thing inside the hand's way is pushed off: contacts between robot and things are on."""
    physics = TwinPhysics(level(), [block("thing", (0.0, 0.0, 0.3), half=(0.05, 0.05, 0.05))], PANDA)
    assert settle(physics)[0].distance > 0.02


def test_things_are_put_where_they_are_told_and_marks_stay() -> None:
    mark = replace(block("mark", (0.5, 0.2, 0.3)), solid=False)
    physics = TwinPhysics(level(), [block("block", (0.5, 0.0, 0.04)), mark])
    there = np.eye(4)
    there[:3, :3] = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    there[:3, 3] = 0.4, 0.1, 0.04
    physics.place({"block": there, "mark": there})
    physics.step(0.01)
    np.testing.assert_allclose(physics.body_to_base()["block"], there, atol=1e-3)
    np.testing.assert_allclose(physics.body_to_base()["mark"], mark.body_to_base, atol=1e-9)


def test_a_simulation_is_the_same_every_time() -> None:
    things = [block("a", (0.5, 0.0, 0.1)), block("b", (0.51, 0.01, 0.2))]
    found = []
    for _ in range(2):
        physics = TwinPhysics(level(), things)
        physics.step(0.7)
        found.append(physics.body_to_base()["b"])
    np.testing.assert_array_equal(found[0], found[1])
    physics.reset()
    np.testing.assert_allclose(physics.body_to_base()["b"], things[1].body_to_base, atol=1e-12)


def test_unusable_robots_are_refused(tmp_path: Path) -> None:
    broken = tmp_path / "robot.xml"
    broken.write_text("<mujoco><worldbody><body/>")
    arm = panda_with_robotiq()
    for files, message in (
        (RobotFiles(tmp_path / "none.xml"), "is missing"),
        (RobotFiles(broken), "no robot model that MuJoCo can read"),
        (replace(arm, mount="left_hand"), "no body 'left_hand'.*right_hand"),
    ):
        with pytest.raises(InvalidInput, match=message):
            TwinPhysics(level(), [], replace(PANDA, files=lambda files=files: files))
    with pytest.raises(InvalidInput, match="9 joint positions for a robot of 7 joints"):
        TwinPhysics(level(), [], replace(PANDA, files=lambda: RobotFiles(arm.model))).set_joints(np.zeros(9))
