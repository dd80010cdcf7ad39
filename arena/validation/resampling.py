"""The bootstrap over scenes: what a measure would have been, had other scenes been drawn.

All that was seen in a scene, of every policy and on both sides, stays together: policies are compared in the same
scenes, and an evaluator is paired with reality wherever they share one. Policies and tasks are taken as given.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from arena.contracts import FloatArray
from arena.validation.shares import CONFIDENCE, Estimate
from arena.validation.strata import Labels

CHUNK_NUMBERS = 2_000_000
"""How many numbers the largest array of a chunk of draws has."""
FEWEST_DEFINED = 0.5
"""An interval needs a measure to be defined in this share of the draws."""


def scene_weights(strata: Labels, draws: int, seed: int, largest: int) -> Iterator[FloatArray]:
    """Weights `(S, D)` of `S` scenes in chunks of draws, `draws` in all; `largest` is the most numbers a draw takes.

    Of `n` scenes in a stratum `n - 1` are drawn, with replacement, and weigh `n / (n - 1)` each: so the variance of a
    mean is right also where `n` is small, when drawing `n` would make it too small by `(n - 1) / n` (Rao and Wu 1988,
    JASA 83).
    """
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(strata == label) for label in np.unique(strata)]
    size = max(1, CHUNK_NUMBERS // max(largest, len(strata)))
    for start in range(0, draws, size):
        count = min(size, draws - start)
        weights = np.ones((len(strata), count))
        for scenes in members:
            if len(scenes) > 1:
                weights[scenes] = _drawn(random, len(scenes), count)
        yield weights


def _drawn(random: np.random.Generator, scenes: int, draws: int) -> FloatArray:
    """`(scenes, draws)`."""
    chosen = random.integers(scenes, size=(draws, scenes - 1)) + scenes * np.arange(draws)[:, None]
    counts = np.bincount(chosen.ravel(), minlength=scenes * draws).reshape(draws, scenes)
    return np.asarray(counts.T * (scenes / (scenes - 1)))


def interval(value: float, drawn: FloatArray, bounds: tuple[float, float]) -> Estimate:
    """A value with its 95% interval from `(D,)` draws, of which those that are NaN are left out.

    It spans both of the bootstrap's usual intervals: that of the percentiles, and that which mirrors them at the value
    (the basic one; Davison and Hinkley 1997, 5.2). Few trials are noise, noise lowers a correlation and raises MMRV and
    calibration errors, and draws have it twice: so percentiles lie too low (too high), where they claim too little, and
    the mirrored ones make up for it, but with few scenes by too much. Together they claim neither too much nor too
    little. `bounds` are what the measure cannot exceed. None for a value that is not defined, and for an interval
    with too few draws.
    """
    if np.isnan(value):
        return Estimate(None)
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < max(2, FEWEST_DEFINED * len(drawn)):
        return Estimate(value)
    low, high = (float(end) for end in np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    low, high = min(low, 2 * value - high), max(high, 2 * value - low)
    return Estimate(value, max(low, bounds[0]), min(high, bounds[1]))
