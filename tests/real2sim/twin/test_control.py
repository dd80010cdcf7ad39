"""The servo that is identified is the one that made the recording."""

from __future__ import annotations

import numpy as np
import pytest

from arena.contracts import ActionChunk, ActionSpace, Episode, FloatArray, InvalidInput, Source
from real2sim.robot import PandaKinematics
from real2sim.twin.control import Servo, commanded_joints, identify_servo, respond


def commands(seed: int = 0, frames: int = 80) -> FloatArray:
    home = np.array([0.0, -0.3, 0.0, -2.2, 0.0, 1.9, 0.8])
    return home + np.cumsum(np.random.default_rng(seed).normal(0, 0.03, (frames, 7)), axis=0)


@pytest.mark.parametrize("true", [Servo(12.0, 1.0, 0.0), Servo(6.0, 0.8, 0.13), Servo(9.0, 1.5, 0.25)])
def test_the_servo_of_a_noisy_recording_is_found(true: Servo) -> None:
    told = commands()
    reached = respond(true, told, told[0], 5.0)
    noisy = reached + np.random.default_rng(1).normal(0, 0.001, reached.shape)
    found = identify_servo(told, noisy, 5.0)
    assert found.residual < 0.0012
    # What counts is how it answers to other commands.
    other = commands(7)
    np.testing.assert_allclose(respond(found, other, other[0], 5.0), respond(true, other, other[0], 5.0), atol=0.003)


def test_a_servo_settles_on_what_it_is_told() -> None:
    told = np.tile(np.linspace(0.1, 0.7, 7), (40, 1))
    reached = respond(Servo(10.0, 1.0, 0.15), told, np.zeros(7), 10.0)
    np.testing.assert_array_equal(reached[:2], 0.0)  # the delay
    np.testing.assert_allclose(reached[-1], told[-1], atol=1e-6)


def test_commands_of_another_arm_leave_much_unexplained() -> None:
    told = commands()
    reached = respond(Servo(), told, told[0], 5.0)
    assert identify_servo(told[::-1].copy(), reached, 5.0).residual > 0.05


def test_an_arm_that_hardly_moves_tells_nothing() -> None:
    still = np.zeros((20, 7))
    with pytest.raises(InvalidInput, match="moves less than"):
        identify_servo(still, still, 5.0)
    with pytest.raises(InvalidInput, match=r"alike \(T, 7\)"):
        identify_servo(still, still[:, :6], 5.0)


@pytest.mark.parametrize("space", [ActionSpace.JOINT_POSITION, ActionSpace.CARTESIAN_POSITION])
def test_commands_in_either_space_are_of_joints(space: ActionSpace) -> None:
    told = commands(frames=12)
    gripper = np.zeros((len(told), 1))
    flange = PandaKinematics().forward(told)
    values = np.hstack([told if space is ActionSpace.JOINT_POSITION else flange, gripper])
    episode = Episode(
        "e", {}, 5.0, flange, gripper, "go", Source("test", ""), joint_position=told,
        action=ActionChunk(values, space, 5.0),
    )  # fmt: skip
    found = commanded_joints(episode)
    assert found is not None
    np.testing.assert_allclose(found, told, atol=1e-4)
