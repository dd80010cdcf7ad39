"""An episode's commands, carried out in its twin."""

from __future__ import annotations

import numpy as np
import pytest

from arena.contracts import ActionChunk, ActionSpace, Episode, Source
from real2sim.reconstruct.verify import drive
from real2sim.robot import PandaKinematics
from real2sim.twin.control import respond
from tests.real2sim.twin.small import HOME, make_small_twin

FPS = 5.0


def episode(told: np.ndarray, reached: np.ndarray, with_commands: bool) -> Episode:
    gripper = np.zeros((len(told), 1))
    action = ActionChunk(np.hstack([told, gripper]), ActionSpace.JOINT_POSITION, FPS) if with_commands else None
    return Episode(
        "episode-1", {}, FPS, PandaKinematics().forward(reached), gripper, "go", Source("test", ""),
        joint_position=reached, action=action,
    )  # fmt: skip


def test_recorded_commands_lead_where_the_recording_went() -> None:
    twin = make_small_twin()
    told = HOME + np.cumsum(np.random.default_rng(0).normal(0, 0.03, (12, 7)), axis=0)
    reached = respond(twin.servo, told, HOME, FPS)
    driven = drive(twin, episode(told, reached, with_commands=True))
    assert driven.reached_mm < 3
    assert driven.reached_deg < 0.5
    assert driven.frames["wrist"].shape == (12, 30, 40, 3)
    assert len(np.unique(driven.frames["wrist"].reshape(12, -1), axis=0)) == 12


def test_without_commands_the_arm_is_told_where_it_went() -> None:
    twin = make_small_twin()
    reached = HOME + np.linspace(0, 0.3, 20)[:, None] * np.array([1.0, 0.5, 0, 0, 0, 0, 1.0])
    driven = drive(twin, episode(reached, reached, with_commands=False), pictures=False)
    assert driven.frames == {}
    assert driven.reached_mm == pytest.approx(0, abs=10)
