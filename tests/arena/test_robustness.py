"""Changes are of pairs, and their intervals as wide as the pairs disagree."""

from __future__ import annotations

import numpy as np
import pytest

from arena.contracts import InvalidInput
from arena.robustness import axis_changes, path_distance

PARTNERS = {"a+camera-0": ("camera", "a"), "a+camera-1": ("camera", "a"), "a+light-0": ("light", "a")}


def test_what_partners_share_is_no_noise() -> None:
    """Seeds differ by much and the perturbation by 0.1 each time: the interval says 0.1, and little else."""
    luck = np.random.default_rng(0).uniform(0, 10, 20)
    values = {("p", "a", seed): float(x) for seed, x in enumerate(luck)}
    jitter = np.random.default_rng(1).normal(0, 0.01, 20)
    values |= {
        ("p", "a+camera-0", seed): float(x - 0.1 + j) for seed, (x, j) in enumerate(zip(luck, jitter, strict=True))
    }
    (change,) = axis_changes(values, PARTNERS)
    assert (change.axis, change.policy, change.pairs) == ("camera", "p", 20)
    assert change.low is not None
    assert change.high is not None
    assert change.low < -0.1 < change.high
    assert change.high - change.low < 0.02


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        values = {("p", "a", seed): 0.0 for seed in range(5)}
        values |= {("p", "a+light-0", seed): float(rng.normal(0.3, 1)) for seed in range(5)}
        (change,) = axis_changes(values, PARTNERS)
        assert change.low is not None
        assert change.high is not None
        covered += change.low < 0.3 < change.high
    assert 0.92 < covered / 400 < 0.98


def test_trials_without_a_partner_and_single_pairs() -> None:
    values = {("p", "a", 0): 1.0, ("p", "a+camera-0", 0): 0.0, ("p", "a+camera-1", 7): 0.0, ("q", "a+light-0", 0): 1.0}
    (change,) = axis_changes(values, PARTNERS)
    assert (change.pairs, change.change, change.low) == (1, -1.0, None)


def test_paths_are_compared_step_by_step() -> None:
    path = np.zeros((4, 3))
    assert path_distance(path, path + np.array([0, 0.03, 0.04])) == pytest.approx(0.05)
    with pytest.raises(InvalidInput, match="step by step"):
        path_distance(path, path[:3])
