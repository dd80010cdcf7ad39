"""Intervals for success rates, which are means over scenes within tasks, and few of them.

Student's interval fails here: five successes of five have no variance, and their interval no width. So the variance is
estimated together with a weak prior, and turned into the number of independent trials that would have it; Wilson's
interval (1927) of so many trials is the answer. That number and the t quantile are as in Korn and Graubard (1998,
Survey Methodology 24), who use the exact binomial interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from arena.contracts import FloatArray
from arena.intervals import wilson
from arena.validation.strata import Labels

CONFIDENCE = 0.95
PRIOR_SCENES = 2.0
"""How many scenes' worth of evidence there is, before any, that outcomes vary as those of single trials do."""
NO_FREEDOM = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A number and its 95% interval; None where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Spread:
    """Variance of a weighted mean, and the degrees of freedom that the estimate of it has."""

    variance: float
    freedom: float


def spread(values: FloatArray, weights: FloatArray, groups: Labels) -> Spread:
    """How far the sum of `(S,)` values times weights varies, when scenes vary independently within their groups.

    The freedom is Satterthwaite's (1946) for groups that vary alike, so that a task of two scenes that decides as much
    as one of twenty lends the sum little more than its own single degree.
    """
    sizes, squares = np.bincount(groups), np.bincount(groups, weights**2)
    centred = values - (np.bincount(groups, values) / sizes)[groups]
    # A group of one has no spread of its own; `strata` leaves one only where it is all there is.
    within = np.bincount(groups, centred**2) / np.maximum(sizes - 1, 1)
    # Unequal weights count as fewer scenes (Kish 1965).
    freedom = np.bincount(groups, weights) ** 2 / squares - 1
    total = squares.sum() ** 2 / (squares**2 / np.maximum(freedom, NO_FREEDOM)).sum() if freedom.any() else 0.0
    return Spread(float((squares * within).sum()), float(total))


def share_interval(share: float, found: Spread, weights: FloatArray, *, fitted: int = 0) -> tuple[float, float]:
    """The 95% interval, inside [0, 1], of a success rate that rests on scenes with these `(S,)` weights (sum 1).

    `fitted` counts what else was estimated from the same scenes.
    """
    share = min(max(share, 0.0), 1.0)
    squares = float((weights**2).sum())
    # As of trials in scenes all alike, one success and one failure added: never 0, as that of few scenes often is.
    scenes = 1 / squares
    prior = (share * scenes + 1) / (scenes + 2)
    freedom = found.freedom + PRIOR_SCENES - fitted
    variance = (found.freedom * found.variance + PRIOR_SCENES * prior * (1 - prior) * squares) / freedom
    trials = share * (1 - share) / variance if 0 < share < 1 else scenes
    return wilson(share, trials, float(t.ppf((1 + CONFIDENCE) / 2, freedom)))
