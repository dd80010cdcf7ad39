"""Whether an evaluator's success probabilities come true: where it says 0.7, seven in ten should really succeed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from arena.contracts import FloatArray
from arena.validation.shares import Estimate
from arena.validation.table import Side, Table

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Pairs to which the evaluator gives a probability from `low` to `high`: its mean, and what really came of them."""

    low: float
    high: float
    pairs: int
    evaluator: float
    real: float


@dataclass(frozen=True)
class Calibration:
    """`error` is the expected calibration error over `pairs` (a policy in a scene that both sides tried)."""

    error: Estimate
    pairs: int
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Forecasts:
    """`P` pairs: what the evaluator says of a policy in a scene, what came of it in reality, and which scene it is."""

    evaluator: FloatArray
    real: FloatArray
    scene: NDArray[np.intp]

    @property
    def bin(self) -> NDArray[np.intp]:
        """Bins of equal width: unlike bins of equal count they never part equal probabilities (verdicts of 0 and 1)."""
        return np.minimum((self.evaluator * BINS).astype(np.intp), BINS - 1)

    def error(self, weights: FloatArray) -> FloatArray:
        """`(D,)` expected calibration errors (Naeini et al. 2015) with scenes' weights `(S, D)`; NaN without a pair.

        The mean over pairs of how far, in its bin, the mean forecast is from the mean outcome. It is never negative, so
        with few pairs a perfect forecaster has some too.
        """
        place, shape = (self.bin, self.scene), (BINS, len(weights))
        gaps = csr_array((self.evaluator - self.real, place), shape=shape) @ weights
        pairs = csr_array((np.ones(len(self.scene)), place), shape=shape) @ weights
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(gaps).sum(0) / pairs.sum(0))

    def bins(self) -> tuple[Bin, ...]:
        """Those that are not empty."""
        return tuple(
            Bin(
                low=number / BINS,
                high=(number + 1) / BINS,
                pairs=int(inside.sum()),
                evaluator=float(self.evaluator[inside].mean()),
                real=float(self.real[inside].mean()),
            )
            for number in range(BINS)
            if (inside := self.bin == number).any()
        )


def forecasts(table: Table) -> Forecasts:
    """The pairs of a table. Several trials of one policy in one scene are one pair of means."""
    said, came = _by_place(table.evaluator), _by_place(table.real)
    places = sorted(said.keys() & came.keys())
    return Forecasts(
        np.array([said[place] for place in places], dtype=float),
        np.array([came[place] for place in places], dtype=float),
        np.array([scene for _, scene in places], dtype=np.intp),
    )


def _by_place(side: Side) -> dict[tuple[int, int], float]:
    known = side.known
    places = zip(side.policy[known].tolist(), side.scene[known].tolist(), strict=True)
    return dict(zip(places, side.value[known].tolist(), strict=True))
