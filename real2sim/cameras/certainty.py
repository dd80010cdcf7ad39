"""How sure a camera is that matches between frames were fitted with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray

LEAST_RESIDUALS = 10
"""For each parameter: of fewer no error is told."""
UNTOLD = 1e-12
"""Least eigenvalue of equations scaled to a diagonal of ones: below it, rounding alone tells of that direction."""


def covariance(normal: FloatArray) -> FloatArray:
    """`(P, P)`: the inverse of least squares' equations `(P, P)`. Infinite where they leave a direction open: a
    pseudoinverse would call what no measurement bears on perfectly known."""
    diagonal = np.diag(normal)
    if not (diagonal > 0).all():
        return np.full_like(normal, np.inf)
    scale = np.sqrt(np.outer(diagonal, diagonal))
    scaled = normal / scale
    if np.linalg.eigvalsh(scaled)[0] < UNTOLD:
        return np.full_like(normal, np.inf)
    return np.asarray(np.linalg.inv(scaled) / scale)


def clustered_errors(slope: FloatArray, off: FloatArray, frames: NDArray[np.int64]) -> FloatArray:
    """Standard errors `(P,)` by a sandwich clustered by frame: what a frame's matches share is its pose's error.

    `slope` `(N, K, P)` is how the residuals `off` `(N, K)` of `N` matches between `frames` `(N, 2)` move with the
    parameters. Infinite where the matches are too few or leave a direction open.
    """
    if len(off) < LEAST_RESIDUALS * slope.shape[2] or not np.isfinite(slope).all():
        return np.full(slope.shape[2], np.inf)
    inverse = covariance(np.einsum("nij,nik->jk", slope, slope))
    if not np.isfinite(inverse).all():
        return np.full(slope.shape[2], np.inf)
    pull = np.einsum("nij,ni->nj", slope, off)
    meat = np.zeros_like(inverse)
    for side in frames.T:
        totals = np.zeros((int(side.max()) + 1, slope.shape[2]))
        np.add.at(totals, side, pull)
        meat += totals.T @ totals
    return np.sqrt(np.maximum(np.diag(inverse @ meat @ inverse), 0.0))
