"""Which two policies to compare next: mostly where one more vote narrows the ranking most.

A vote on policies `i` and `j` adds the information `w = p (1 - p)` about the difference of their strengths, `p` being
the chance that `i` wins. The strengths' covariance then shrinks by a rank-one term, and the sum of the variances of all
differences between policies with it (D-optimal designs choose by the determinant; this is the A-optimal choice for
differences, e.g. Pukelsheim, Optimal Design of Experiments, 2006). Pairs are drawn in proportion to that reduction,
so that no pair is certain to come next, and a share is drawn uniformly, so that a mistaken model cannot starve a pair.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from arena.contracts import FloatArray


def expected_reduction(strength: FloatArray, covariance: FloatArray, pairs: NDArray[np.intp]) -> FloatArray:
    """By how much one vote on each of `pairs` `(P, 2)` lessens the mean variance of a difference of two policies.

    `strength` `(K,)` and `covariance` `(K, K)` are those of a Bradley-Terry fit. Returns `(P,)`, none negative.
    """
    one, other = pairs[:, 0], pairs[:, 1]
    chance = expit(strength[one] - strength[other])
    weight = chance * (1 - chance)
    column = covariance[:, one] - covariance[:, other]
    along = column[one, np.arange(len(pairs))] - column[other, np.arange(len(pairs))]
    # Over all ordered pairs, the sum of squared differences of a vector is 2 K |v - mean(v)|^2.
    spread = ((column - column.mean(axis=0)) ** 2).sum(axis=0) * 2 / max(len(strength) - 1, 1)
    return np.asarray(weight * spread / (1 + weight * np.maximum(along, 0)))


def pair_probabilities(
    strength: FloatArray,
    covariance: FloatArray,
    votes: NDArray[np.intp],
    pairs: NDArray[np.intp],
    *,
    uniform_share: float,
    enough: int,
) -> FloatArray:
    """`(P,)` probabilities of drawing each of `pairs` `(P, 2)`; `votes` `(K,)` counts each policy's so far.

    Policies with fewer than `enough` votes come first: while there are any, the informed share goes to their pairs.
    """
    uniform = np.full(len(pairs), 1 / len(pairs))
    gain = expected_reduction(strength, covariance, pairs)
    scarce = np.minimum(votes[pairs[:, 0]], votes[pairs[:, 1]]) < enough
    if scarce.any():
        gain = np.where(scarce, gain, 0.0)
    informed = gain / gain.sum() if gain.sum() > 0 else uniform
    return np.asarray(uniform_share * uniform + (1 - uniform_share) * informed)


def draw(probabilities: FloatArray, random: np.random.Generator) -> int:
    """An index."""
    return int(random.choice(len(probabilities), p=probabilities))


def least_shown(shown: Sequence[int], random: np.random.Generator) -> int:
    """An index among the smallest of `shown`, at random."""
    counts = np.asarray(shown)
    return int(random.choice(np.flatnonzero(counts == counts.min())))
