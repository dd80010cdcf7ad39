from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from arena.contracts import ActionChunk, ActionSpace, Episode
from tests.worldmodels import factories
from worldmodels import tracking
from worldmodels.tracking import Tracker, fit_tracker


def lagging(seed: int, length: int = 30) -> Episode:
    """A robot that covers a third of the way to its command in each frame, and half of its last move again."""
    episode = factories.moving_square(seed, length)
    assert episode.action is not None
    command = episode.action.values
    state = np.zeros((length, 7))
    state[0] = command[0]
    for t in range(length - 1):
        drift = 0.3 * (state[t] - state[t - 1]) if t else 0.0
        state[t + 1] = state[t] + 0.33 * (command[t] - state[t]) + drift
    chunk = ActionChunk(command, ActionSpace.CARTESIAN_POSITION, episode.fps)
    return replace(episode, cartesian_position=state[:, :6], gripper_position=state[:, 6:], action=chunk)


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    short = replace(tracking.SCHEDULE, steps=300, batch=16)
    torch.manual_seed(0)
    episodes = [lagging(seed) for seed in range(24)]
    return fit_tracker(episodes, 0, tmp_path_factory.mktemp("tracker"), "", schedule=short)


def test_a_lag_is_learned_and_predicts_a_held_out_episode_open_loop(tracker: Tracker) -> None:
    episode = lagging(99)
    assert episode.action is not None
    commands = episode.action.values[:-1]
    predicted = tracker.follow(episode.state[:1], commands)
    assert predicted.shape == (29, 7)
    error = np.abs(predicted - episode.state[1:])[:, :3].mean()
    at_once = np.abs(commands - episode.state[1:])[:, :3].mean()
    assert error < 0.2 * at_once


def test_following_in_pieces_is_following_at_once(tracker: Tracker) -> None:
    episode = lagging(7)
    assert episode.action is not None
    states, commands = episode.state[:1], episode.action.values[:-1]
    whole = tracker.follow(states, commands)
    for end in (1, 4, 9, 29):
        new = tracker.follow(states, commands[:end])
        assert len(new) == end - (len(states) - 1)
        states = np.concatenate([states, new])
    np.testing.assert_allclose(states[1:], whole, atol=1e-5)


def test_a_command_across_the_wrap_turns_the_short_way() -> None:
    tracker = Tracker()
    state, command = np.zeros((1, 7)), np.zeros((1, 7))
    state[0, 3], command[0, 3] = np.pi - 0.1, -np.pi + 0.1
    # Untrained, a tracker goes 0.3 of the way.
    assert tracker.follow(state, command)[0, 3] == pytest.approx(np.pi - 0.1 + 0.3 * 0.2, abs=1e-5)


def test_fitting_resumes_to_the_same_tracker(tmp_path: Path) -> None:
    short = replace(tracking.SCHEDULE, steps=6, batch=4)
    episodes = [lagging(seed) for seed in range(3)]
    torch.manual_seed(0)
    once = fit_tracker(episodes, 0, tmp_path / "once", "", schedule=short)
    again = fit_tracker(episodes, 0, tmp_path / "once", "", schedule=short)
    for name, value in once.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)
