"""How many real trials it takes to tell two policies apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from scipy.stats import norm

ERROR_RATE = 0.05
POWER = 0.8
NO_EFFECT = 1e-6
"""Rates nearer than this are equal for any number of trials that anyone could run."""


@dataclass(frozen=True)
class Separation:
    """A pair of neighbours in reality. `trials` are those that the one with fewer has, `needed` what each needs.

    `more` is the difference, 0 where there are enough; both are None where the two are equal so far.
    """

    better: str
    worse: str
    gap: float
    trials: int
    needed: int | None
    more: int | None


def trials_needed(first: float, second: float) -> int | None:
    """Trials of each policy that tell success rates apart: a two-sided test, 5% error rate, 80% power.

    Cohen's (1988) `n = 2 ((z_0.975 + z_0.8) / h)^2` with `h = 2 asin sqrt(first) - 2 asin sqrt(second)`, which holds at
    rates of 0 and 1 too. It assumes that the true rates are these, and that trials are independent and unpaired, each
    in a scene of its own. Rates measured in few trials are uncertain, and neighbours that were picked because one
    looked better differ less on average than they seem to; so this is an order of magnitude, and rather too few. Where
    both policies are tried in the same scenes, or rates differ between tasks, fewer will do. None for equal rates.
    """
    effect = abs(2 * math.asin(math.sqrt(first)) - 2 * math.asin(math.sqrt(second)))
    if effect < NO_EFFECT:
        return None
    quantile = float(norm.ppf(1 - ERROR_RATE / 2) + norm.ppf(POWER))
    return math.ceil(2 * (quantile / effect) ** 2)


def separations(policies: Sequence[str], rates: Sequence[float], trials: Sequence[int]) -> tuple[Separation, ...]:
    """Each policy beside the next worse in reality; `rates` and `trials` are reality's, in the order of `policies`."""
    order = sorted(range(len(policies)), key=lambda index: (-rates[index], policies[index]))
    found = []
    for better, worse in pairwise(order):
        needed, has = trials_needed(rates[better], rates[worse]), min(trials[better], trials[worse])
        more = None if needed is None else max(0, needed - has)
        gap = rates[better] - rates[worse]
        found.append(Separation(policies[better], policies[worse], gap, has, needed, more))
    return tuple(found)
