"""Training windows: which frames of the past the model is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from arena.contracts import FloatArray
from tests.worldmodels.factories import MICRO
from worldmodels.actions import ActionStatistics
from worldmodels.latents import EncodedEpisode
from worldmodels.windows import Windows, history_by_pose, history_indices

CONFIG = replace(MICRO, history_offsets=(-6, -3, -1), num_frames=5)
STATISTICS = ActionStatistics((-1.0,) * 10, (1.0,) * 10, (0.0, 0.0, 0.0))


def there_and_back(turn: int = 10) -> FloatArray:
    """`(2 turn + 1, 3)`: a centimetre a frame along x, and the same way back."""
    along = turn - np.abs(np.arange(2 * turn + 1) - turn)
    return np.stack([0.01 * along, np.zeros(len(along)), np.zeros(len(along))], axis=1)


def random_walk(length: int, seed: int = 0) -> FloatArray:
    return np.cumsum(np.random.default_rng(seed).normal(0, 0.02, (length, 3)), axis=0)


def numbered(positions: FloatArray) -> EncodedEpisode:
    """An episode whose latents are the number of their frame."""
    latents = torch.arange(len(positions)).half()[:, None, None, None].expand(-1, 2, 3, 4).contiguous()
    poses = np.concatenate([positions, np.zeros((len(positions), 3)), positions[:, :1] > 0.05], axis=1)
    return EncodedEpisode("numbered", "count", latents, poses)


@pytest.mark.parametrize("now", range(1, 25))
def test_a_history_by_pose_is_of_the_past_oldest_first_and_ends_as_released(now: int) -> None:
    chosen = history_by_pose(now, random_walk(25 + CONFIG.num_frames), CONFIG)
    assert len(chosen) == CONFIG.num_history
    assert chosen == sorted(chosen)
    assert 0 <= chosen[0] <= chosen[-1] < now
    assert chosen[-1] == history_indices(now, CONFIG)[-1] == now - 1


def test_before_the_start_the_first_frame_is_repeated() -> None:
    positions = random_walk(20)
    assert history_by_pose(0, positions, CONFIG) == [0, 0, 0]
    assert history_by_pose(1, positions, CONFIG) == [0, 0, 0]
    assert history_indices(0, CONFIG) == [0, 0, 0]


def test_on_the_way_back_the_frames_of_the_way_there_are_shown() -> None:
    # At frame 14 the hand is at 6 cm; in 1 and in 4 frames it will be at 5 and 2 cm, where it was at frames 5 and 2.
    assert history_by_pose(14, there_and_back(), CONFIG) == [2, 5, 13]
    assert history_indices(14, CONFIG) == [8, 11, 13]


def test_of_two_frames_that_are_as_near_the_later_one_is_shown() -> None:
    still = np.zeros((20, 3))
    assert history_by_pose(12, still, CONFIG) == [10, 10, 11]
    # A hand that passed a place twice, and goes there once more.
    twice = np.concatenate([there_and_back(4), there_and_back(4)[1:], there_and_back(4)[1:]])
    assert history_by_pose(17, twice, CONFIG) == [13, 14, 16]


def test_poses_beyond_the_end_are_those_of_the_end() -> None:
    positions = there_and_back()
    longer = np.concatenate([positions, np.repeat(positions[-1:], CONFIG.num_frames, axis=0)])
    now = len(positions) - 2
    assert history_by_pose(now, positions, CONFIG) == history_by_pose(now, longer, CONFIG)


def test_windows_show_the_history_that_they_were_asked_for() -> None:
    windows = Windows([numbered(there_and_back())], CONFIG, STATISTICS)
    batch = windows.gather([(0, 14), (0, 14)], [True, False])
    assert batch.latents[:, :, 0, 0, 0].tolist() == [
        [2, 5, 13, 14, 15, 16, 17, 18],
        [8, 11, 13, 14, 15, 16, 17, 18],
    ]
    # Poses and actions are those of the same frames.
    x = there_and_back()[:, 0]
    torch.testing.assert_close(batch.poses[0, :, 0], torch.from_numpy(x[[2, 5, 13, 14, 15, 16, 17, 18]]).float())
    torch.testing.assert_close(batch.actions[0, 2:], batch.actions[1, 2:])
    assert batch.poses.shape == (2, CONFIG.window, 4)


@pytest.mark.parametrize(("share", "by_pose"), [(0.0, 0), (1.0, 40)])
def test_a_share_of_the_windows_is_chosen_by_pose(share: float, by_pose: int) -> None:
    config = replace(CONFIG, pose_history=share)
    windows = Windows([numbered(there_and_back())], config, STATISTICS)
    batch = windows.batch(40, torch.Generator().manual_seed(3))
    frames = batch.latents[:, :, 0, 0, 0].int().tolist()
    released = [history_indices(row[CONFIG.num_history], config) for row in frames]
    posed = [history_by_pose(row[CONFIG.num_history], there_and_back(), config) for row in frames]
    wanted = posed if by_pose else released
    assert [row[: CONFIG.num_history] for row in frames] == wanted
    again = windows.batch(40, torch.Generator().manual_seed(3))
    torch.testing.assert_close(batch.latents, again.latents, rtol=0, atol=0)
