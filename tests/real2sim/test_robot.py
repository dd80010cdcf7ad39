"""The Panda's kinematics against DROID's own recordings, and against geometry."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from arena.contracts import InvalidInput, Kinematics
from real2sim import robot_files
from real2sim.robot import FLANGE_OFFSET, PandaKinematics

JOINTS = arrays(np.float64, (5, 7), elements=st.floats(-2.8, 2.8))


@pytest.fixture(scope="module")
def panda() -> PandaKinematics:
    return PandaKinematics()


def rotation_error(left: np.ndarray, right: np.ndarray) -> float:
    """Largest angle in rad between Euler angles `(N, 3)`: angles themselves jump at pi and at the singularity."""
    return float((Rotation.from_euler("xyz", left).inv() * Rotation.from_euler("xyz", right)).magnitude().max())


def recorded(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Joints `(T, 7)` and Cartesian positions `(T, 6)` of a DROID annotation, in either of its two layouts."""
    annotation = json.loads(path.read_text())
    if "joints" in annotation:
        return np.array(annotation["joints"])[:, :7], np.array(annotation["states"])[:, :6]
    keys = ("observation.state.joint_position", "observation.state.cartesian_position")
    return np.array(annotation[keys[0]]), np.array(annotation[keys[1]])


def test_flange_equals_what_droid_recorded(panda: PandaKinematics, shared: Path) -> None:
    paths = sorted((shared / "data" / "droid").glob("*/annotation/*/*.json"))
    assert len(paths) == 13
    for path in paths:
        joints, cartesian = recorded(path)
        computed = panda.forward(joints)
        assert np.abs(computed[:, :3] - cartesian[:, :3]).max() < 1e-4, path
        assert rotation_error(computed[:, 3:], cartesian[:, 3:]) < 1e-3, path


def test_is_a_kinematics(panda: PandaKinematics) -> None:
    kinematics: Kinematics = panda
    assert kinematics.forward(np.zeros((1, 7))).shape == (1, 6)


def test_home_pose_by_hand(panda: PandaKinematics) -> None:
    """At zero the Panda stands straight up: its datasheet's link lengths add up, and the flange points down."""
    pose = panda.forward(np.zeros((1, 7)))[0]
    height = 0.333 + 0.316 + 0.384 - FLANGE_OFFSET
    np.testing.assert_allclose(pose[:3], [0.088, 0.0, height], atol=1e-5)
    np.testing.assert_allclose(Rotation.from_euler("xyz", pose[3:]).apply([0, 0, 1]), [0, 0, -1], atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(joints=JOINTS, turn=st.floats(-2.0, 2.0))
def test_turning_the_first_joint_turns_the_world(joints: np.ndarray, turn: float) -> None:
    panda = PandaKinematics()
    about_z = Rotation.from_euler("z", turn)
    position, rotation = panda.forward_matrix(joints)
    turned_position, turned_rotation = panda.forward_matrix(joints + np.eye(7)[0] * turn)
    np.testing.assert_allclose(turned_position, about_z.apply(position), atol=1e-9)
    np.testing.assert_allclose(turned_rotation, about_z.as_matrix() @ rotation, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(joints=JOINTS)
def test_euler_angles_round_trip_and_rows_are_independent(joints: np.ndarray) -> None:
    panda = PandaKinematics()
    batch = panda.forward(joints)
    _, rotation = panda.forward_matrix(joints)
    np.testing.assert_allclose(Rotation.from_euler("xyz", batch[:, 3:]).as_matrix(), rotation, atol=1e-6)
    single = np.concatenate([panda.forward(row[None]) for row in joints])
    np.testing.assert_array_equal(single, batch)


def test_float32_and_empty_batches(panda: PandaKinematics) -> None:
    joints = np.array([[0.1, -0.5, 0.2, -2.0, 0.3, 1.8, 0.7]])
    single = panda.forward(joints.astype(np.float32))
    assert single.dtype == np.float64
    np.testing.assert_allclose(single[:, :3], panda.forward(joints)[:, :3], atol=1e-6)
    assert panda.forward(np.zeros((0, 7))).shape == (0, 6)


@pytest.mark.parametrize("joints", [np.zeros(7), np.zeros((2, 8)), np.full((1, 7), np.nan)])
def test_bad_joints_are_refused(panda: PandaKinematics, joints: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="joint positions"):
        panda.forward(joints)


def test_missing_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robot_files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match="pip install --no-deps robosuite"):
        robot_files.panda_mjcf()


def test_inverse_kinematics_gives_back_what_droid_recorded(panda: PandaKinematics, shared: Path) -> None:
    paths = sorted((shared / "data" / "droid").glob("*/annotation/*/*.json"))[:4]
    for path in paths:
        joints, _ = recorded(path)
        poses = panda.forward(joints)
        found = panda.inverse(poses, joints[0])
        again = panda.forward(found)
        assert np.abs(again[:, :3] - poses[:, :3]).max() < 1e-4, path
        assert rotation_error(again[:, 3:], poses[:, 3:]) < 1e-3, path
        np.testing.assert_allclose(found[0], joints[0], atol=1e-4)
        # One joint more than a pose has numbers: the elbow may differ, but it must not wander off or jump.
        assert np.abs(found - joints).max() < 1.0, path
        assert np.abs(np.diff(found, axis=0)).max() < 0.5, path


def test_a_pose_out_of_reach_is_named(panda: PandaKinematics) -> None:
    start = np.array([0.0, -0.8, 0.0, -2.3, 0.0, 1.6, 0.8])
    far = panda.forward(start[None])
    far[0, 0] += 2.0
    with pytest.raises(InvalidInput, match="does not reach pose 1"):
        panda.inverse(np.concatenate([panda.forward(start[None]), far]), start)
