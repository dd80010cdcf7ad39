"""Success rates of policies with Beta posteriors, and letters for those that trials cannot tell apart.

The posterior of a rate under Jeffreys's prior is Beta(successes + 1/2, failures + 1/2); its central 95% interval is
also a good confidence interval (Brown, Cai and DasGupta 2001, doi:10.1214/ss/1009213286). Trials count as
independent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from arena.contracts import FloatArray, InvalidInput
from arena.ranking.letters import letters
from arena.ranking.ranks import ERROR_RATE

PRIOR = 0.5
"""Successes and failures that Jeffreys's prior is worth."""
GRID = 4001
"""Points of the integral. On the arcsine scale a posterior of 100,000 trials still spans several."""


@dataclass(frozen=True)
class SuccessRate:
    """A policy's posterior: `mean` and the central 95% interval, in [0, 1]. Sharing a letter is not being told
    apart.
    """

    policy: str
    successes: int
    trials: int
    mean: float
    low: float
    high: float
    letters: tuple[str, ...]


def success_rates(outcomes: Mapping[str, tuple[int, int]]) -> list[SuccessRate]:
    """From (successes, trials) of each policy, best first.

    Two are told apart where the posterior probability that one is better exceeds 97.5%, with 2.5% divided by the
    number of pairs (Bonferroni). Raises `InvalidInput` for counts that cannot be.
    """
    names = sorted(outcomes)
    counts = np.array([outcomes[name] for name in names], dtype=np.int64).reshape(len(names), 2)
    if (counts[:, 0] < 0).any() or (counts[:, 0] > counts[:, 1]).any():
        raise InvalidInput("successes must lie between 0 and the number of trials")
    a, b = counts[:, 0] + PRIOR, counts[:, 1] - counts[:, 0] + PRIOR
    worse = 1 - probability_better(a, b)
    pairs = max(len(names) * (len(names) - 1) // 2, 1)
    order = np.argsort(-(a / (a + b)), kind="stable").tolist()
    low, high = beta.ppf(ERROR_RATE / 2, a, b), beta.ppf(1 - ERROR_RATE / 2, a, b)
    # No success in no trial at all is possible, and all of them: the interval keeps these ends.
    low, high = np.where(counts[:, 0] == 0, 0.0, low), np.where(counts[:, 0] == counts[:, 1], 1.0, high)
    found = letters(worse < ERROR_RATE / 2 / pairs, order)
    return [
        SuccessRate(
            names[i],
            int(counts[i, 0]),
            int(counts[i, 1]),
            float(a[i] / (a[i] + b[i])),
            float(low[i]),
            float(high[i]),
            found[i],
        )
        for i in order
    ]


def probability_better(a: FloatArray, b: FloatArray) -> FloatArray:
    """`(K, K)`: the probability that a draw from the row's Beta(a, b) exceeds one from the column's; a, b at least
    1/2.
    """
    # Where x = sin(angle)^2, a Beta density with parameters of at least 1/2 has no poles and its integral is smooth.
    angle = np.linspace(0, np.pi / 2, GRID)
    x = np.sin(angle) ** 2
    with np.errstate(divide="ignore"):
        log_sin, log_cos = np.log(np.sin(angle)), np.log(np.cos(angle))
    log_density = _power(2 * a - 1, log_sin) + _power(2 * b - 1, log_cos)
    density = np.exp(log_density - log_density.max(1, keepdims=True))
    density[:, [0, -1]] /= 2
    density /= density.sum(1, keepdims=True)
    return np.asarray(density @ np.asarray(beta.cdf(x[None, :], a[:, None], b[:, None])).T)


def _power(exponent: FloatArray, log_base: FloatArray) -> FloatArray:
    """`(K, GRID)`: exponent times log, 0 where the exponent is 0 and the log minus infinity."""
    with np.errstate(invalid="ignore"):
        return np.where(exponent[:, None] == 0, 0.0, exponent[:, None] * log_base[None, :])
