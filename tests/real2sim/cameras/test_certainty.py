"""How sure a camera is: what nothing measured must not count as certain."""

from __future__ import annotations

import numpy as np
import pytest

from real2sim.cameras.certainty import clustered_errors, covariance


def test_the_covariance_is_least_squares_own() -> None:
    slope = np.random.default_rng(0).normal(size=(50, 4)) * [1.0, 1e3, 1e-4, 1.0]
    normal = slope.T @ slope
    np.testing.assert_allclose(covariance(normal) @ normal, np.eye(4), atol=1e-9)


@pytest.mark.parametrize("column", [np.zeros(60), "the others' sum"], ids=["nothing", "the same"])
def test_a_direction_that_is_left_open_makes_all_infinite(column: np.ndarray | str) -> None:
    rng = np.random.default_rng(0)
    slope, off = rng.normal(size=(60, 2, 3)), rng.normal(size=(60, 2))
    frames = np.stack([np.arange(60) % 7, np.arange(60) % 5], axis=1)
    assert np.isfinite(clustered_errors(slope, off, frames)).all()
    slope[..., 2] = slope[..., :2].sum(axis=2) if isinstance(column, str) else column[:, None]
    assert np.isinf(clustered_errors(slope, off, frames)).all()
