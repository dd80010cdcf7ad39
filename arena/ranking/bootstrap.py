"""A cluster bootstrap: the ranking of voters (or scenes) drawn anew with replacement, many times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arena.contracts import FloatArray, InvalidInput
from arena.ranking.davidson import estimate
from arena.ranking.fit import Data, Fit, centring

FEWEST_DRAWS = 100


@dataclass(frozen=True)
class Bootstrap:
    """`strength` `(D, K)`: each draw's, with mean 0 in each group."""

    strength: FloatArray

    def interval(self, rate: float) -> tuple[FloatArray, FloatArray]:
        """Percentiles `(K,)` that leave out `rate` of the draws, half on each side."""
        low, high = np.quantile(self.strength, [rate / 2, 1 - rate / 2], axis=0)
        return low, high

    def first_place(self) -> FloatArray:
        """`(K,)`: in which share of the draws a policy came first. No posterior probability."""
        return np.bincount(self.strength.argmax(1), minlength=self.strength.shape[1]) / len(self.strength)


def bootstrap(fit: Fit, draws: int, seed: int = 0) -> Bootstrap:
    """Draw as many clusters as there are, with all of their votes, and fit again, `draws` times.

    Policies that a draw leaves without votes are held by the prior at 0. Raises `InvalidInput` for too few draws.
    """
    if draws < FEWEST_DRAWS:
        raise InvalidInput(f"a bootstrap takes at least {FEWEST_DRAWS} draws, not {draws}")
    rng = np.random.default_rng(seed)
    centre = centring(fit.data.groups, fit.data.design.size)
    return Bootstrap(np.stack([centre @ _drawn(fit.data, fit.found.parameters, rng) for _ in range(draws)]))


def _drawn(data: Data, start: FloatArray, rng: np.random.Generator) -> FloatArray:
    cells = data.cells
    clusters = int(data.cluster.max(initial=-1)) + 1
    times = np.bincount(rng.integers(clusters, size=clusters), minlength=clusters).astype(float)
    counts = cells.summed(slice(None), times[data.cluster])
    return estimate(data.design, counts, start).parameters[: data.design.size]
