"""Intervals that hold however often one looks while votes come in: always-valid confidence sequences.

Robbins's normal mixture (1970), on the asymptotic scale of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024,
doi:10.1214/24-AOS2408): an estimate with standard error `e` has information `1 / e**2`; mixing the likelihood ratio
over effects with a normal of standard deviation `EFFECT` and bounding its supremum over time by Ville's inequality,
the truth is within `sqrt((1 + 1/r) (log(1 + r) + 2 log(1/rate)))` errors at all times at once, `r = EFFECT**2 /
e**2`. It is asymptotic: the first look should wait for the errors to mean something, which `FIRST_LOOK` clusters
stand for.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from arena.contracts import FloatArray
from arena.ranking.fit import Fit, group_labels
from arena.ranking.ranks import ERROR_RATE, Level, Places, places

EFFECT = 0.5
"""Logits: the size of a difference that the sequences are sharpest for. Fixed in advance: choosing it later is
peeking.
"""
FIRST_LOOK = 20


@dataclass(frozen=True)
class Verdict:
    """Whether votes may stop now. `best` is told from all others at 5% whatever the number of looks, or None."""

    best: str | None
    undecided: tuple[tuple[str, str], ...]
    """Neighbours in the order that are not told apart yet."""
    too_early: bool
    """Fewer clusters than `FIRST_LOOK` voted: nothing is claimed."""

    @property
    def stop(self) -> bool:
        """All neighbours are told apart: further votes can only confirm the order."""
        return not self.undecided and not self.too_early


def multiplier(error: FloatArray, rate: float) -> FloatArray:
    """How many standard errors a two-sided confidence sequence reaches where the error is `error` (same shape)."""
    information = EFFECT**2 / np.maximum(error, 1e-12) ** 2
    return np.asarray(np.sqrt((1 + 1 / information) * (np.log1p(information) - 2 * np.log(rate))))


def anytime_places(fit: Fit) -> Places:
    """Intervals `(K,)`, each at 5% over all looks, and what is told apart at 5% over all looks and all pairs
    (Bonferroni).

    Everything is open before `FIRST_LOOK` clusters have voted.
    """
    size = len(fit.strength)
    if too_early(fit):
        return Places(np.full(size, -np.inf), np.full(size, np.inf), np.zeros((size, size), dtype=bool))
    counts = np.bincount(group_labels(fit.data.groups, size), minlength=1)
    rate = ERROR_RATE / max(int((counts * (counts - 1) // 2).sum()), 1)
    return places(
        fit, Level(lambda error: multiplier(error, ERROR_RATE), lambda error: multiplier(error, rate), rate=rate)
    )


def too_early(fit: Fit) -> bool:
    return fit.data.voices < FIRST_LOOK


def verdict(fit: Fit, found: Places) -> Verdict:
    """What `found` (of `anytime_places`) allows to stop. With several groups there is no best."""
    names, early = fit.data.ballots.policies, too_early(fit)
    undecided = []
    for members in fit.data.groups:
        order = sorted(members, key=lambda i: -fit.strength[i])
        undecided += [(names[a], names[b]) for a, b in pairwise(order) if not found.better[a, b]]
    size = len(names)
    best = [names[i] for i in range(size) if size > 1 and found.better[i].sum() == size - 1]
    return Verdict(best[0] if best else None, tuple(undecided), early)
