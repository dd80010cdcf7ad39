"""A quick look at who leads, for choosing pairs and for knowing voters; `arena.ranking` is what is published."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from arena.contracts import FloatArray

PRIOR_TIES = 0.5
"""Ties with an average opponent that each policy is given: strengths stay finite."""
NEWTON_STEPS = 50


def wins_table(
    policies: int, left: NDArray[np.intp], right: NDArray[np.intp], score: FloatArray, weight: FloatArray
) -> FloatArray:
    """`(K, K)` weighted wins of the row over the column, ties as half a win each.

    `left` and `right` `(M,)` are policies' indices, `score` `(M,)` the left one's.
    """
    flat = np.bincount(left * policies + right, weights=weight * score, minlength=policies * policies)
    flat += np.bincount(right * policies + left, weights=weight * (1 - score), minlength=policies * policies)
    return np.asarray(flat.reshape(policies, policies))


def strengths(wins: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Bradley-Terry strengths `(K,)` with mean 0 and their model-based covariance `(K, K)`, by Newton's method.

    Without sides and clusters: what a vote costs and tells, not what a leaderboard may claim.
    """
    size = len(wins)
    games, won = wins + wins.T, wins.sum(axis=1)
    strength = np.zeros(size)
    for _ in range(NEWTON_STEPS):
        chance = expit(strength[:, None] - strength[None, :])
        prior = expit(strength)
        gradient = won - (games * chance).sum(axis=1) + PRIOR_TIES * (0.5 - prior)
        information = _information(games * chance * (1 - chance), PRIOR_TIES * prior * (1 - prior))
        step = np.linalg.solve(information, gradient)
        strength = strength + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    centre = np.eye(size) - 1 / size
    return centre @ strength, centre @ np.linalg.inv(information) @ centre


def _information(weights: FloatArray, prior: FloatArray) -> FloatArray:
    return np.asarray(np.diag(weights.sum(axis=1) + prior) - weights)
