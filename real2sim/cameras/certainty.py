"""How sure a camera is that matches between frames were fitted with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray

LEAST_RESIDUALS = 10
"""For each parameter: of fewer no error is told."""


def clustered_errors(slope: FloatArray, off: FloatArray, frames: NDArray[np.int64]) -> FloatArray:
    """Standard errors `(P,)` by a sandwich clustered by frame: what a frame's matches share is its pose's error.

    `slope` `(N, K, P)` is how the residuals `off` `(N, K)` of `N` matches between `frames` `(N, 2)` move with the
    parameters. Infinite where the matches are too few.
    """
    if len(off) < LEAST_RESIDUALS * slope.shape[2] or not np.isfinite(slope).all():
        return np.full(slope.shape[2], np.inf)
    inverse = np.linalg.pinv(np.einsum("nij,nik->jk", slope, slope))
    pull = np.einsum("nij,ni->nj", slope, off)
    meat = np.zeros_like(inverse)
    for side in frames.T:
        totals = np.zeros((int(side.max()) + 1, slope.shape[2]))
        np.add.at(totals, side, pull)
        meat += totals.T @ totals
    return np.sqrt(np.maximum(np.diag(inverse @ meat @ inverse), 0.0))
