"""Bradley-Terry with ties, after Davidson (1970, doi:10.1080/01621459.1970.10481082), fitted to pooled votes.

In logits the left policy leads the right one by `d = strength_left - strength_right + side`, and a tie has the
log-weight `h`. The three outcomes have probabilities in proportion to `exp(d/2)`, `exp(-d/2)` and `exp(h)`, so that
`d` is the log-odds of left against right among the votes that decide. `side` is the left side's advantage (bias),
and it and `h` may differ between levels of covariates. This is a concave exponential family: Newton's method finds
the one maximum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arena.contracts import FloatArray
from arena.ranking.ballots import Cells, Codes

VIRTUAL_TIES = 0.5
"""Half won, half lost votes against an average opponent that each parameter is given: a weak prior keeps all finite."""
EVEN_TIES = float(np.log(2.0))
"""`h` where equal policies tie in half of the votes: what the prior pulls the tie parameter to."""
TOLERANCE = 1e-9
MAX_STEPS = 100
CHORDS = 15
"""Steps with another fit's bread."""


@dataclass(frozen=True)
class Design:
    """How `P = K + q + s` parameters (strengths, `side`, `tie`) give `d` and `h` of `N` cells.

    `left`, `right`, `level` are `(N,)`; `side` `(C, q)` and `tie` `(C, s)` have a row for each level. Without ties
    `s` is 0, and the model is Bradley and Terry's.
    """

    size: int
    left: Codes
    right: Codes
    level: Codes
    side: FloatArray
    tie: FloatArray

    @property
    def parameters(self) -> int:
        return int(self.size + self.side.shape[1] + self.tie.shape[1])

    @property
    def sides(self) -> slice:
        return slice(self.size, self.size + self.side.shape[1])

    @property
    def ties(self) -> slice:
        return slice(self.size + self.side.shape[1], self.parameters)

    @property
    def centre(self) -> FloatArray:
        """`(P,)`: where the prior pulls each parameter."""
        centre = np.zeros(self.parameters)
        centre[self.ties][:1] = EVEN_TIES
        return centre

    def linear(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`d` and `h`, `(N,)` each. Linear, so it also maps directions; `h` is 0 where there is no tie parameter."""
        side, tie = self.side @ parameters[self.sides], self.tie @ parameters[self.ties]
        return parameters[self.left] - parameters[self.right] + side[self.level], tie[self.level]

    def gather(self, on_d: FloatArray, on_h: FloatArray) -> FloatArray:
        """The transpose of `linear`: `(N,)` values each to the `(P,)` parameters that they belong to."""
        levels = len(self.side)
        return np.concatenate(
            [
                np.bincount(self.left, on_d, self.size) - np.bincount(self.right, on_d, self.size),
                np.bincount(self.level, on_d, levels) @ self.side,
                np.bincount(self.level, on_h, levels) @ self.tie,
            ]
        )

    def quadratic(self, dd: FloatArray, dh: FloatArray, hh: FloatArray) -> FloatArray:
        """`(P, P)`: the sum over cells of the outer products of their rows, with weights `(N,)` for d with d and so
        on.
        """
        size, levels = self.size, len(self.side)
        pairs = np.bincount(self.left * size + self.right, dd, size * size).reshape(size, size)
        out = np.zeros((self.parameters, self.parameters))
        out[:size, :size] = np.diag(pairs.sum(0) + pairs.sum(1)) - pairs - pairs.T
        out[:size, self.sides] = self._by_level(dd) @ self.side
        out[:size, self.ties] = self._by_level(dh) @ self.tie
        out[self.sides, self.sides] = (self.side.T * np.bincount(self.level, dd, levels)) @ self.side
        out[self.sides, self.ties] = (self.side.T * np.bincount(self.level, dh, levels)) @ self.tie
        out[self.ties, self.ties] = (self.tie.T * np.bincount(self.level, hh, levels)) @ self.tie
        return np.triu(out) + np.triu(out, 1).T

    def _by_level(self, weight: FloatArray) -> FloatArray:
        """`(K, C)`: weights where a policy is left less those where it is right, in each level."""
        levels = len(self.side)
        left = np.bincount(self.left * levels + self.level, weight, self.size * levels)
        right = np.bincount(self.right * levels + self.level, weight, self.size * levels)
        return np.asarray((left - right).reshape(self.size, levels), float)


@dataclass(frozen=True)
class Expected:
    """Moments of one vote in each of `N` cells: `lead` is +1/2, -1/2 or 0 for left, right and tie; `tied` 1 for a
    tie.
    """

    lead: FloatArray
    tied: FloatArray
    log_weight: FloatArray
    """Log of the sum of the three weights."""

    @classmethod
    def at(cls, d: FloatArray, h: FloatArray, ties: bool) -> Expected:
        """`d` and `h` are `(N,)`; without `ties` a tie is impossible."""
        top = np.maximum(np.abs(d) / 2, h) if ties else np.abs(d) / 2
        left, right = np.exp(d / 2 - top), np.exp(-d / 2 - top)
        tie = np.exp(h - top) if ties else np.zeros_like(d)
        total = left + right + tie
        return cls((left - right) / (2 * total), tie / total, top + np.log(total))

    @property
    def weights(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Variance of `lead`, covariance of both, variance of `tied`: a vote's information."""
        return (1 - self.tied) / 4 - self.lead**2, -self.lead * self.tied, self.tied * (1 - self.tied)


@dataclass(frozen=True)
class Estimate:
    """The penalised maximum: `parameters` `(P,)`, the information of the votes, `bread` the inverse with the
    prior's.
    """

    parameters: FloatArray
    expected: Expected
    information: FloatArray
    bread: FloatArray


def estimate(design: Design, counts: FloatArray, start: FloatArray | None = None) -> Estimate:
    """Penalised maximum likelihood from `counts` `(N, 3)` of left wins, right wins and ties, which may be fractions.

    `start` `(P,)` is where Newton's method begins. Raises `ArithmeticError` if it does not converge, which a concave
    likelihood with a proper prior rules out for finite counts.
    """
    at = design.centre if start is None else start
    value, gradient, information = _at(design, counts, at)
    for _ in range(MAX_STEPS):
        bread = np.linalg.inv(information + prior_information(design, at))
        step = bread @ gradient
        # No double is a maximum to more digits than these.
        if np.abs(step).max(initial=0.0) < TOLERANCE:
            return Estimate(at, expected_at(design, at), information, bread)
        scale = 1.0
        while True:
            there = at + scale * step
            new_value, gradient, information = _at(design, counts, there)
            if new_value >= value - 1e-9 * (1 + abs(value)) or scale < 1e-6:
                break
            scale /= 2
        at, value = there, new_value
    raise ArithmeticError(f"no maximum after {MAX_STEPS} steps of Newton's method")


def estimate_near(design: Design, counts: FloatArray, known: Estimate) -> FloatArray:
    """The maximum's `parameters` `(P,)` for counts like those of a `known` estimate, whose bread is used again.

    Such steps converge when the counts are close; where they do not, Newton's method takes over.
    """
    at = known.parameters
    for _ in range(CHORDS):
        step = known.bread @ gradient_at(design, counts, at)
        at = at + step
        if np.abs(step).max(initial=0.0) < TOLERANCE:
            return at
    return estimate(design, counts, known.parameters).parameters


def estimate_at(design: Design, counts: FloatArray, parameters: FloatArray) -> Estimate:
    """What belongs to parameters `(P,)` that are known to be the maximum."""
    _, _, information = _at(design, counts, parameters)
    bread = np.linalg.inv(information + prior_information(design, parameters))
    return Estimate(parameters, expected_at(design, parameters), information, bread)


def expected_at(design: Design, parameters: FloatArray) -> Expected:
    return Expected.at(*design.linear(parameters), ties=design.tie.shape[1] > 0)


def gradient_at(design: Design, counts: FloatArray, parameters: FloatArray) -> FloatArray:
    """`(P,)` of the penalised log-likelihood."""
    expected = expected_at(design, parameters)
    total = counts.sum(1)
    data = design.gather(
        (counts[:, 0] - counts[:, 1]) / 2 - total * expected.lead, counts[:, 2] - total * expected.tied
    )
    return data - VIRTUAL_TIES * np.tanh((parameters - design.centre) / 2) / 2


def prior_information(design: Design, parameters: FloatArray) -> FloatArray:
    """`(P, P)`, diagonal: minus the second derivative of `-VIRTUAL_TIES log(2 cosh(x / 2))`."""
    return np.diag(VIRTUAL_TIES / 4 / np.cosh((parameters - design.centre) / 2) ** 2)


def _at(design: Design, counts: FloatArray, parameters: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """Penalised log-likelihood, its gradient and the information of the votes."""
    d, h = design.linear(parameters)
    expected = Expected.at(d, h, ties=design.tie.shape[1] > 0)
    total, lead = counts.sum(1), (counts[:, 0] - counts[:, 1]) / 2
    off = (parameters - design.centre) / 2
    value = lead @ d + counts[:, 2] @ h - total @ expected.log_weight - VIRTUAL_TIES * np.logaddexp(off, -off).sum()
    gradient = design.gather(lead - total * expected.lead, counts[:, 2] - total * expected.tied)
    dd, dh, hh = expected.weights
    information = design.quadratic(total * dd, total * dh, total * hh)
    return float(value), gradient - VIRTUAL_TIES * np.tanh(off) / 2, information


def design_of(cells: Cells, size: int, side: FloatArray, tie: FloatArray) -> Design:
    return Design(size, cells.left, cells.right, cells.level, side, tie)
