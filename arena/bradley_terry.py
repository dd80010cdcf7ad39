"""The Bradley-Terry model behind `arena.ranking`: one connected group of policies, fitted with honest errors.

The logit of the expected score of the left policy (1 for a win, 1/2 for a tie) is the difference of
two strengths plus a left-side bias: a binomial GLM on a +-1 design, ties as halves (quasi-likelihood),
with a sandwich clustered by whoever or whatever was sampled (Liang and Zeger 1986).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

from arena.contracts import FloatArray

VIRTUAL_TIES = 0.5
"""Ties with an average opponent that each policy, and the left-side bias, is given: a weak prior keeps all finite."""


@dataclass(frozen=True)
class Comparisons:
    """`M` votes on `K` policies as arrays: indices of the two policies, score of the left one, cluster from 0 up."""

    policies: tuple[str, ...]
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    score: FloatArray
    cluster: NDArray[np.intp]
    clustered_by: str


@dataclass(frozen=True)
class BradleyTerry:
    """A fit of one connected group of `K` policies.

    `strength` is `(K,)` with mean 0 and `covariance` `(K, K)`; `bias` is the left side's advantage in
    logits and `bias_error` its standard error, both None where it was not fitted; `freedom` is the
    number of clusters less one, for t quantiles.
    """

    strength: FloatArray
    covariance: FloatArray
    bias: float | None
    bias_error: float | None
    freedom: int
    notes: tuple[str, ...]

    @property
    def error(self) -> FloatArray:
        """`(K,)` standard errors of the strengths."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))


def fit(data: Comparisons, *, left_bias: bool) -> BradleyTerry:
    """Strengths by penalised maximum likelihood, with clustered errors."""
    size, notes = len(data.policies), []
    design = _design(data, left_bias=False)
    biased = left_bias and _sides_tell_apart(design)
    if left_bias and not biased:
        notes.append("sides were never swapped: a left-side bias would look like strength")
    if biased:
        design = _design(data, left_bias=True)
    estimate = _estimate(design, data.score)
    covariance, few = _covariance(design, data, estimate)
    freedom = max(int(data.cluster.max()), 1)
    if few:
        notes.append(f"only {freedom + 1} {data.clustered_by}s: errors are the wider of clustered and independent")
    centre = np.eye(len(estimate))
    centre[:size, :size] -= 1.0 / size
    covariance = centre @ covariance @ centre.T
    return BradleyTerry(
        strength=(centre @ estimate)[:size],
        covariance=covariance[:size, :size],
        bias=float(estimate[size]) if biased else None,
        bias_error=float(covariance[size, size] ** 0.5) if biased else None,
        freedom=freedom,
        notes=tuple(notes),
    )


def shift_interval(
    data: Comparisons, model: BradleyTerry, inside: NDArray[np.bool_], quantile: float
) -> tuple[float, float]:
    """How far the policies `inside` (a `(K,)` mask) may move down and up together against the rest.

    The ends of a likelihood-ratio interval, infinite where the likelihood never falls: where one side
    won all that lay between, there is no limit. Each cluster counts as one comparison, whatever the number
    of its votes, since the votes of one voter (or on one scene) may be one event.
    """
    across = inside[data.left] != inside[data.right]
    sign = np.where(inside[data.left], 1.0, -1.0)[across]
    logit = (model.strength[data.left] - model.strength[data.right] + (model.bias or 0.0))[across]
    score, cluster = data.score[across], data.cluster[across]
    weight = 1.0 / np.bincount(cluster)[cluster]

    def loss(shift: float) -> float:
        shifted = logit + sign * shift
        return float(weight @ (np.logaddexp(0, shifted) - score * shifted))

    # The loss is convex; beyond 60 logits nothing changes in double precision.
    grid = np.linspace(-60.0, 60.0, 241)
    losses = np.array([loss(shift) for shift in grid])
    best = int(losses.argmin())
    limit = losses[best] + quantile**2 / 2

    def crossing(end: float) -> float:
        return float(brentq(lambda shift: loss(shift) - limit, grid[best], end))

    low = -np.inf if losses[0] < limit else crossing(grid[0])
    high = np.inf if losses[-1] < limit else crossing(grid[-1])
    return low, high


def _design(data: Comparisons, *, left_bias: bool) -> FloatArray:
    """`(M, K)` of +1 for the left policy and -1 for the right, with a column of ones after it for a bias."""
    rows = np.arange(len(data.score))
    design = np.zeros((len(rows), len(data.policies) + left_bias))
    design[rows, data.left] = 1.0
    design[rows, data.right] = -1.0
    design[:, len(data.policies) :] = 1.0
    return design


def _estimate(design: FloatArray, score: FloatArray) -> FloatArray:
    """Parameters `(P,)`: equal rows are pooled first, which changes nothing but the time."""
    pooled, which = np.unique(design, axis=0, return_inverse=True)
    count = np.bincount(which)
    mean = np.bincount(which, weights=score) / count
    parameters = design.shape[1]
    model = sm.GLM(
        np.concatenate([mean, np.full(parameters, 0.5)]),
        np.concatenate([pooled, np.eye(parameters)]),
        family=sm.families.Binomial(),
        var_weights=np.concatenate([count, np.full(parameters, VIRTUAL_TIES)]),
    )
    with warnings.catch_warnings():
        # Raised when all residuals are 0, as when every comparison is a tie; the prior keeps that well posed.
        warnings.simplefilter("ignore", PerfectSeparationWarning)
        return np.asarray(model.fit(maxiter=200, tol=1e-10).params)


def _covariance(design: FloatArray, data: Comparisons, estimate: FloatArray) -> tuple[FloatArray, bool]:
    """Sandwich `(P, P)` of the estimate, and whether clusters were too few for one.

    The prior counts in the bread and, with its own information, in the meat: where there are no data,
    or all outcomes are ties and every residual is 0, the errors are not 0.
    """
    expected, prior_expected = expit(design @ estimate), expit(estimate)
    information = (design * (expected * (1 - expected))[:, None]).T @ design
    prior = np.diag(VIRTUAL_TIES * prior_expected * (1 - prior_expected))
    bread = np.linalg.inv(information + prior)
    clusters = int(data.cluster.max()) + 1
    gradients = np.zeros((clusters, len(estimate)))
    np.add.at(gradients, data.cluster, design * (data.score - expected)[:, None])
    meat: FloatArray = gradients.T @ gradients * clusters / max(clusters - 1, 1)
    # With fewer clusters than parameters a sandwich is 0 in some direction: false certainty.
    few = clusters < 2 * len(estimate)
    if few:
        meat = _wider(meat, information)
    return bread @ (meat + prior) @ bread, few


def _wider(a: FloatArray, b: FloatArray) -> FloatArray:
    """A symmetric matrix that is at least `a` and `b` in every direction: `a` and the positive part of `b - a`."""
    values, vectors = np.linalg.eigh(b - a)
    return np.asarray(a + (vectors * np.maximum(values, 0)) @ vectors.T)


def _sides_tell_apart(design: FloatArray) -> bool:
    """Whether a column of ones lies outside the span of the `(M, K)` policy columns."""
    ones = np.ones(len(design))
    fitted = design @ (np.linalg.pinv(design.T @ design) @ (design.T @ ones))
    return bool(np.abs(ones - fitted).max() > 1e-6)
