"""Where change is to be expected: weights of the loss from poses alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.worldmodels.factories import MICRO
from worldmodels.actions import ActionStatistics
from worldmodels.contact import ExpectedChange
from worldmodels.latents import EncodedEpisode
from worldmodels.windows import Windows

CONFIG = replace(MICRO, history_offsets=(-3, -1), num_frames=4)
STATISTICS = ActionStatistics((-1.0,) * 10, (1.0,) * 10, (0.0, 0.0, 0.0))
HEIGHT, WIDTH = 3, 6


def episode(seed: int, length: int = 30) -> EncodedEpisode:
    """A hand that moves along x now and then. The left half of the picture shows where it is, the right one nothing."""
    rng = np.random.default_rng(seed)
    poses = np.zeros((length, 7))
    poses[:, 0] = np.cumsum(rng.normal(0, 0.05, length) * (rng.random(length) < 0.7))
    poses[:, 6] = rng.random(length)
    latents = torch.zeros(length, 2, HEIGHT, WIDTH)
    latents[..., : WIDTH // 2] = torch.from_numpy(10 * poses[:, 0]).float()[:, None, None, None]
    latents += 0.01 * torch.from_numpy(rng.normal(size=latents.shape)).float()
    return EncodedEpisode(f"hand-{seed}", "move", latents.half(), poses)


@pytest.fixture(scope="module")
def windows() -> Windows:
    return Windows([episode(seed) for seed in range(40)], CONFIG, STATISTICS)


@pytest.fixture(scope="module")
def expected(windows: Windows) -> ExpectedChange:
    return ExpectedChange.fit(windows, seed=0)


def moves(*distances: float) -> Tensor:
    """`(B, 4, 4)` poses that go so many metres along x in equal parts."""
    poses = torch.zeros(len(distances), CONFIG.num_frames, 4)
    poses[:, :, 0] = torch.tensor(distances)[:, None] * torch.linspace(0, 1, CONFIG.num_frames)
    poses[:, :, 3] = 0.5
    return poses


@pytest.mark.parametrize("strength", [0.5, 1.0, 4.0])
def test_weights_have_mean_one_and_are_positive(windows: Windows, expected: ExpectedChange, strength: float) -> None:
    poses = windows.batch(32, torch.Generator().manual_seed(1)).poses[:, CONFIG.num_history :]
    weights = expected.loss_weights(poses, strength)
    assert weights.shape == (32, CONFIG.num_frames, 1, HEIGHT, WIDTH)
    assert float(weights.mean()) == pytest.approx(1.0, abs=1e-5)
    assert float(weights.min()) > 0


def test_without_strength_all_places_count_alike(windows: Windows, expected: ExpectedChange) -> None:
    poses = windows.batch(8, torch.Generator().manual_seed(1)).poses[:, CONFIG.num_history :]
    weights = expected.loss_weights(poses, 0.0)
    torch.testing.assert_close(weights, torch.ones_like(weights))


def test_places_that_move_with_the_hand_count_more(expected: ExpectedChange) -> None:
    weights = expected.loss_weights(moves(0.3, -0.3), 2.0)[:, 1:]
    left, right = weights[..., : WIDTH // 2], weights[..., WIDTH // 2 :]
    assert float(left.min()) > 1.5 * float(right.max())


def test_a_longer_way_counts_more_and_now_counts_least(expected: ExpectedChange) -> None:
    weights = expected.loss_weights(moves(0.0, 0.3), 2.0).flatten(2).amax(-1)
    assert float(weights[1, 3]) > float(weights[1, 1])
    assert float(weights[1, 3]) > 1.5 * float(weights[0, 3])
    assert torch.all(weights[:, 0] <= weights.amin(1) + 1e-6)


def test_weights_follow_from_the_poses_alone(windows: Windows, expected: ExpectedChange) -> None:
    # What a window shows does not enter: two windows with the same poses count alike.
    same = moves(0.2, 0.1, 0.2)
    weights = expected.loss_weights(same, 1.0)
    torch.testing.assert_close(weights[0], weights[2], rtol=0, atol=0)
    torch.testing.assert_close(weights, expected.loss_weights(same.clone(), 1.0), rtol=0, atol=0)
    again = ExpectedChange.fit(windows, seed=0)
    torch.testing.assert_close(again.weights, expected.weights, rtol=0, atol=0)
