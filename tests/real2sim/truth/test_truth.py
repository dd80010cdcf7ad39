"""Episodes whose truth is known: deterministic, physical, silent about what nobody is told, and spoiled on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from real2sim.camera import Camera
from real2sim.robot import PandaKinematics
from real2sim.silhouette import RobotSilhouette
from real2sim.truth import FAULTS, KnownTruth, make_truth

FRAMES = 15


@pytest.fixture(scope="module")
def truth() -> KnownTruth:
    return make_truth(3, FRAMES, 80, 48)


def test_the_same_seed_gives_the_same_episode(truth: KnownTruth) -> None:
    again, other = make_truth(3, FRAMES, 80, 48), make_truth(4, FRAMES, 80, 48)
    for name in truth.episode.cameras:
        np.testing.assert_array_equal(truth.episode.cameras[name].read(), again.episode.cameras[name].read())
    assert not np.array_equal(truth.episode.joint_position, other.episode.joint_position)


def test_it_holds_what_a_dataset_would_and_nothing_of_the_truth(truth: KnownTruth) -> None:
    episode = truth.episode
    assert {name: film.shape for name, film in episode.cameras.items()} == dict.fromkeys(
        ("exterior_1", "exterior_2", "wrist"), (FRAMES, 48, 80, 3)
    )
    assert not episode.metadata
    np.testing.assert_allclose(episode.cartesian_position, PandaKinematics().forward(episode.joint_position))


def test_things_stand_on_the_table_apart(truth: KnownTruth) -> None:
    spots = np.array([thing.pose[:2, 3] for thing in truth.objects])
    for thing in truth.objects:
        assert thing.pose[2, 3] == pytest.approx(thing.size[2] / 2)
    gaps = np.linalg.norm(spots[:, None] - spots[None], axis=-1)[np.triu_indices(len(spots), 1)]
    assert gaps.min() > 0.13


def test_every_camera_sees_the_robot_where_the_truth_has_it(truth: KnownTruth) -> None:
    """Where the drawn robot has moved between two frames, these frames differ, and elsewhere they do not."""
    robot = RobotSilhouette(80, 48)
    joints, gripper = truth.episode.joint_position, truth.episode.gripper_position[:, 0]
    first, last = 0, FRAMES - 1
    for name, camera in truth.exterior.items():
        masks = [np.isfinite(robot.depth(camera, joints[t], gripper[t])) for t in (first, last)]
        film = truth.episode.cameras[name].read().astype(int)
        differs = np.abs(film[first] - film[last]).max(-1) > 12
        assert differs[masks[0] ^ masks[1]].mean() > 0.7, name
        assert differs[~(masks[0] | masks[1])].mean() < 0.03, name
    robot.close()


def test_the_wrist_camera_goes_with_the_flange(truth: KnownTruth) -> None:
    poses = [truth.wrist_at(t) for t in (0, FRAMES // 2)]
    assert isinstance(poses[0], Camera)
    flanges = PandaKinematics().forward_matrix(truth.episode.joint_position[[0, FRAMES // 2]])
    for pose, position in zip(poses, flanges[0], strict=True):
        far = np.linalg.norm(pose.camera_to_base[:3, 3] - position)
        assert far == pytest.approx(np.linalg.norm(truth.hand_eye[:3, 3]))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_changes_what_it_says_and_nothing_else(truth: KnownTruth, fault: str) -> None:
    spoiled = FAULTS[fault](truth.episode, 0)
    same_joints = np.array_equal(spoiled.joint_position, truth.episode.joint_position)
    assert same_joints == (fault != "wrong joint offsets")
    for name, film in truth.episode.cameras.items():
        before, after = film.read(), spoiled.cameras[name].read()
        assert before.shape == after.shape
        assert np.array_equal(before, after) == (fault == "wrong joint offsets")
        if fault == "mirrored video":
            np.testing.assert_array_equal(after[:, :, ::-1], before)
        if fault == "shuffled frames":
            np.testing.assert_array_equal(np.sort(after.sum((1, 2, 3))), np.sort(before.sum((1, 2, 3))))
        if fault == "a camera that moves":
            half = len(before) // 2
            np.testing.assert_array_equal(after[:half], before[:half])
