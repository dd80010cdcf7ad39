"""Whether a wrist camera's film says which of a robot's joints has a wrong zero."""

from __future__ import annotations

import numpy as np
import pytest

from arena.contracts import FloatArray
from real2sim.camera import Camera
from real2sim.cameras.gates import epipolar_gate, zeros_gate
from real2sim.cameras.handeye import HandEye, check_hand_eye
from real2sim.cameras.zeros import FreeZeros, free_zeros
from real2sim.mount import flange_poses
from real2sim.robot import PandaKinematics
from real2sim.truth.motion import HOME
from tests.real2sim.cameras.test_handeye import FOCAL, FRAMES, HEIGHT, WIDTH, hand_eye, seen

KINEMATICS = PandaKinematics()


def poses(joints: FloatArray) -> FloatArray:
    return flange_poses(joints, KINEMATICS)


def recorded(offsets: FloatArray) -> tuple[HandEye, FreeZeros]:
    """What is found of a film whose joints were recorded with `offsets`."""
    joints = HOME + np.random.default_rng(0).uniform(-0.3, 0.3, (FRAMES, 7))
    matches = seen(poses(joints))
    fit = check_hand_eye(
        matches, poses(joints + offsets), Camera(WIDTH, HEIGHT, FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2, hand_eye())
    )[1]
    return fit, free_zeros(fit, joints + offsets, poses, WIDTH, HEIGHT)


@pytest.mark.parametrize("joint", [1, 3, 5])
def test_a_wrong_zero_is_found_and_named(joint: int) -> None:
    fit, free = recorded(0.15 * np.eye(7)[joint])
    np.testing.assert_allclose(free.offsets, -0.15 * np.eye(7)[joint], atol=0.01)
    gate = zeros_gate(fit, free)
    assert not gate.passed
    assert f"joint {joint + 1} of 7 is off by 9 degrees" in gate.reason
    assert gate.value == pytest.approx(np.degrees(0.15), abs=0.6)


@pytest.mark.parametrize("joint", [None, 0, 6])
def test_right_zeros_pass_and_those_that_no_film_tells_of(joint: int | None) -> None:
    """The first joint's turns all that is seen, the last one's the camera on the flange."""
    fit, free = recorded(np.zeros(7) if joint is None else 0.05 * np.eye(7)[joint])
    assert epipolar_gate(fit).passed
    np.testing.assert_allclose(free.offsets, 0, atol=0.01)
    assert zeros_gate(fit, free).passed


def test_zeros_that_explain_little_more_are_not_believed() -> None:
    fit, _ = recorded(np.zeros(7))
    turned = FreeZeros(0.2 * np.eye(7)[2], fit.explained * 1.1)
    assert zeros_gate(fit, turned).passed
    assert not zeros_gate(fit, FreeZeros(turned.offsets, fit.explained * 2)).passed
