"""Controllers are found from what was told and what came of it: the arm's servo, and two kinds of gripper."""

from __future__ import annotations

import numpy as np
import pytest

from arena.contracts import InvalidInput
from real2sim.twin.control import GripperServo, Servo, identify_gripper, identify_tool_servo, respond
from real2sim.twin.goal import Goal

FPS = 10.0


def test_a_tools_servo_is_found_from_several_episodes() -> None:
    rng, true = np.random.default_rng(0), Servo(15.0, 1.0, 0.02)
    told = [np.cumsum(0.05 * rng.standard_normal((30, 3)), axis=0) for _ in range(4)]
    found = identify_tool_servo([(each, respond(true, each, np.zeros(3), FPS)) for each in told], FPS)
    assert found.residual < 0.002
    with pytest.raises(InvalidInput, match=r"moves less than 0\.05 m"):
        identify_tool_servo([(np.zeros((9, 3)), np.zeros((9, 3)))], FPS)


@pytest.mark.parametrize(
    "true", [GripperServo(2.0), GripperServo(1e3, pace=20.0, neutral=0.5, lag=0.1)], ids=["goes there", "keeps pace"]
)
def test_a_gripper_is_identified_whatever_its_command_means(true: GripperServo) -> None:
    rng = np.random.default_rng(1)
    films = []
    for _ in range(3):
        told = np.repeat(rng.choice([0.0, 0.6, 1.0], 8), 4)
        state, reached = np.zeros(2), [0.0]
        for command in told[:-1]:
            for _ in range(10):
                state = true.after(state, command, 0.01)
            reached.append(float(state[0]))
        films.append((told, np.array(reached)))
    found = identify_gripper(films, FPS, paced=True)
    assert found.residual < 0.03
    assert bool(found.pace) == bool(true.pace)
    assert not identify_gripper(films, FPS).pace


@pytest.mark.parametrize("fps", [15.0, 30.0, 60.0, 250.0])
def test_a_gripper_is_identified_at_rates_that_divide_no_hundredth_of_a_second(fps: float) -> None:
    true = GripperServo(1.5)
    told = np.repeat([0.0, 1.0, 0.0, 1.0], round(fps))
    state, reached = np.zeros((2, 1)), [0.0]
    for command in told[:-1]:
        for _ in range(20):
            state = true.after(state, command, 1 / fps / 20)
        reached.append(float(state[0, 0]))
    found = identify_gripper([(told, np.array(reached))], fps)
    assert found.speed == pytest.approx(1.5, rel=0.02)


def test_a_gripper_that_hardly_moves_tells_nothing() -> None:
    assert identify_gripper([(np.zeros(9), np.zeros(9))], FPS) == GripperServo()


def test_a_goal_is_of_a_thing_or_of_the_tool() -> None:
    pose = np.eye(4)
    pose[:3, 3] = [0.1, 0.2, 0.0]
    assert Goal("puck", (0.1, 0.2, 0.03)).distance(np.zeros(3), {"puck": pose}) == pytest.approx(0.03)
    assert Goal("", (0.0, 0.0, 0.4)).distance(np.zeros(3), {}) == pytest.approx(0.4)
