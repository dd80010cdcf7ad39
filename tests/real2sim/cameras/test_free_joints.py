"""Whether a wrist camera's film says what is wrong with the joints that were recorded."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from arena.contracts import FloatArray
from real2sim.cameras.free_joints import FreeJoints, RecordedJoints, free_joints
from real2sim.cameras.gates import epipolar_gate, joints_gate
from real2sim.cameras.handeye import HandEye, check_hand_eye
from real2sim.mount import flange_poses
from real2sim.robot import PandaKinematics
from real2sim.truth.motion import HOME
from tests.real2sim.cameras.test_handeye import FRAMES, HEIGHT, WIDTH, given, seen

KINEMATICS = PandaKinematics()
SECONDS = np.linspace(0, 12, FRAMES)
"""The films' times."""


def poses(joints: FloatArray) -> FloatArray:
    return flange_poses(joints, KINEMATICS)


def recorded(offsets: FloatArray | None = None, lag: float = 0.0) -> tuple[HandEye, FreeJoints]:
    """What is found of a film whose joints were recorded with `offsets`, and `lag` s too early."""
    waypoints = HOME + np.random.default_rng(0).uniform(-0.3, 0.3, (7, 7))
    path = CubicSpline(np.linspace(0, 12, 7), waypoints)
    told = path(SECONDS - lag) + (np.zeros(7) if offsets is None else offsets)
    matches = seen(poses(path(SECONDS)))
    fit = check_hand_eye(matches, poses(told), given())[1]
    return fit, free_joints(fit, RecordedJoints(told, path(SECONDS - lag, 1), poses), WIDTH, HEIGHT)


@pytest.mark.parametrize("joint", [1, 3, 5])
def test_a_wrong_zero_is_found_and_named(joint: int) -> None:
    fit, free = recorded(0.15 * np.eye(7)[joint])
    np.testing.assert_allclose(free.offsets, -0.15 * np.eye(7)[joint], atol=0.01)
    gate = joints_gate(fit, free)
    assert not gate.passed
    assert f"joint {joint + 1} of 7 is recorded +8." in gate.reason
    assert "ms" not in gate.reason


def test_joints_of_other_times_are_found_and_named_though_the_camera_passes_for_right() -> None:
    fit, free = recorded(lag=0.03)
    assert epipolar_gate(fit).passed
    assert free.lag == pytest.approx(0.03, abs=0.003)
    gate = joints_gate(fit, free)
    assert not gate.passed
    assert "the film is +30 ms later than the joints" in gate.reason
    assert "degrees" not in gate.reason


@pytest.mark.parametrize("joint", [None, 0, 6])
def test_right_joints_pass_and_zeros_that_no_film_tells_of(joint: int | None) -> None:
    """The first joint's turns all that is seen, the last one's the camera on the flange."""
    fit, free = recorded(np.zeros(7) if joint is None else 0.05 * np.eye(7)[joint])
    assert epipolar_gate(fit).passed
    np.testing.assert_allclose(free.offsets, 0, atol=0.01)
    assert free.lag == pytest.approx(0, abs=0.003)
    assert joints_gate(fit, free).passed


def test_what_explains_little_more_is_not_believed() -> None:
    fit, free = recorded()
    turned = FreeJoints(0.2 * np.eye(7)[2], 0.0, fit.explained * 1.1)
    assert joints_gate(fit, turned).passed
    assert not joints_gate(fit, FreeJoints(turned.offsets, 0.0, fit.explained * 2)).passed
    lost = joints_gate(fit, FreeJoints(free.offsets, 0.0, fit.explained * 2))
    assert "search for the wrist camera was lost" in lost.reason
