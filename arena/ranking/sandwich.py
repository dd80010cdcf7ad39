"""Errors that hold when the votes of one voter (or on one scene) belong together: Liang and Zeger (1986).

The sandwich is `bread @ meat @ bread`, its meat the sum over clusters of the outer products of their gradients. Few
or unequal clusters make it too small, since each pulls the fit towards itself: gradients are scaled by the cluster's
leverage (Fay and Graubard 2001, doi:10.1111/j.0006-341X.2001.01198.x), and t quantiles have as many degrees of
freedom as clusters speak of a policy in effect (after Pan and Wall 2002), less one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray
from arena.ranking.ballots import FEW_VOTERS, Cells, Codes
from arena.ranking.davidson import Design, Estimate, prior_information

MOST_LEVERAGE = 0.75
"""Fay and Graubard's bound: beyond it a cluster's own gradient says nothing, and `_wider` steps in."""
BLOCK = 4_000_000
"""Numbers in an array of clusters by parameters at once (32 MB)."""


@dataclass(frozen=True)
class Chunk:
    """Clusters `first` and up: their gradients and leverages on each parameter, `(G, P)` each."""

    first: int
    gradient: FloatArray
    leverage: FloatArray


@dataclass(frozen=True)
class Sandwich:
    """`covariance` `(P, P)`; `effective` `(P,)`, how many clusters speak of a parameter; `few`, whether for any too
    few.
    """

    covariance: FloatArray
    effective: FloatArray
    few: bool


def sandwich(design: Design, cells: Cells, found: Estimate, cluster: Codes) -> Sandwich:
    """`cluster` is `(M,)`, each vote's, numbered from 0 without gaps."""
    sums = Sums.empty(design.parameters)
    for chunk in cluster_chunks(design, cells, found, cluster):
        sums.add(chunk.gradient, chunk.leverage)
    return assemble(design, found, sums)


@dataclass
class Sums:
    """Sums over clusters: the meat `(P, P)`, and the first two powers of the leverages `(P,)`."""

    meat: FloatArray
    leverage: FloatArray
    squared: FloatArray
    clusters: int

    @classmethod
    def empty(cls, parameters: int) -> Sums:
        return cls(np.zeros((parameters, parameters)), np.zeros(parameters), np.zeros(parameters), 0)

    def add(self, gradient: FloatArray, leverage: FloatArray, sign: float = 1.0) -> None:
        """Add clusters `(G, P)`, or with `sign` -1 take them away."""
        scaled = corrected(gradient, leverage)
        self.meat += sign * (scaled.T @ scaled)
        self.leverage += sign * leverage.sum(0)
        self.squared += sign * (leverage**2).sum(0)
        self.clusters += int(sign) * len(gradient)


def corrected(gradient: FloatArray, leverage: FloatArray) -> FloatArray:
    return np.asarray(gradient / np.sqrt(1 - np.clip(leverage, 0, MOST_LEVERAGE)))


def assemble(design: Design, found: Estimate, sums: Sums) -> Sandwich:
    """The covariance from the sums.

    The prior counts in the bread and, with its own information, in the meat: where there are no data, or all
    outcomes are ties and every residual is 0, the errors are not 0. A policy that hardly any cluster spoke of has a
    gradient near 0 whatever its uncertainty: there the meat is at least that of independent votes.
    """
    effective = np.divide(sums.leverage**2, sums.squared, out=np.zeros_like(sums.leverage), where=sums.squared > 1e-12)
    sparse = effective < FEW_VOTERS
    # With fewer clusters than parameters a sandwich is 0 in some direction: false certainty.
    if sums.clusters < 2 * design.parameters:
        sparse = np.ones_like(sparse)
    meat = sums.meat
    if sparse.any():
        meat = meat + _missing(found.information - meat, sparse)
    meat = meat + prior_information(design, found.parameters)
    covariance = found.bread @ meat @ found.bread
    return Sandwich((covariance + covariance.T) / 2, effective, bool(sparse[: design.size].any()))


def _missing(gap: FloatArray, rows: NDArray[np.bool_]) -> FloatArray:
    """The positive part of a symmetric `(P, P)` matrix on some rows and columns, 0 elsewhere."""
    values, vectors = np.linalg.eigh(gap[np.ix_(rows, rows)])
    out = np.zeros_like(gap)
    out[np.ix_(rows, rows)] = (vectors * np.maximum(values, 0)) @ vectors.T
    return out


def cluster_chunks(design: Design, cells: Cells, found: Estimate, cluster: Codes) -> Iterator[Chunk]:
    """Gradients and leverages of all clusters, as many at once as fit in `BLOCK`."""
    if not len(cluster):
        return
    order = np.argsort(cluster, kind="stable")
    clusters = int(cluster[order[-1]]) + 1
    each = max(1, BLOCK // max(design.parameters, len(design.side)))
    lead, tied = residuals(found, cells.of_vote, cells.outcome)
    own = own_leverage(design, found)
    weight = np.ones(len(cluster)) if cells.weight is None else cells.weight
    for first in range(0, clusters, each):
        begin, end = np.searchsorted(cluster, [first, first + each], sorter=order)
        rows = order[begin:end]
        count = min(each, clusters - first)
        place = cluster[rows] - first
        cell = cells.of_vote[rows]
        mine = weight[rows]
        gradient = _by_cluster(design, cell, place, count, lead[rows] * mine, tied[rows] * mine)
        leverage = np.empty_like(gradient)
        leverage[:, : design.size] = _spread(design, cell, place, count, own[0][cell] * mine, own[1][cell] * mine)
        # Every vote says as much of the sides and of ties as any other of its weight.
        leverage[:, design.size :] = np.bincount(place, mine, count)[:, None] / weight.sum()
        yield Chunk(first, gradient, leverage)


def residuals(found: Estimate, cell: Codes, outcome: Codes) -> tuple[FloatArray, FloatArray]:
    """`(M,)` each: what votes with these outcomes (0, 1, 2 for left, right, tie) said beyond what was expected."""
    lead = np.array([0.5, -0.5, 0.0])[outcome] - found.expected.lead[cell]
    return lead, (outcome == 2) - found.expected.tied[cell]


def own_leverage(design: Design, found: Estimate) -> tuple[FloatArray, FloatArray]:
    """`(N,)` each: the share of the information on its left and its right policy that one vote in a cell brings."""
    size, bread = design.size, found.bread
    dd, dh, _ = found.expected.weights
    from_left, from_right = (_row_of_bread(design, bread, dd, dh, side) for side in (design.left, design.right))
    if not size:
        return from_left, from_right
    return from_left, -from_right


def _row_of_bread(design: Design, bread: FloatArray, dd: FloatArray, dh: FloatArray, policy: Codes) -> FloatArray:
    """`(N,)`: a cell's row of the information times the bread's column of its `policy`."""
    side, tie = (design.side @ bread[design.sides], design.tie @ bread[design.ties])
    on_d = bread[design.left, policy] - bread[design.right, policy] + side[design.level, policy]
    return np.asarray(dd * on_d + dh * tie[design.level, policy])


def _by_cluster(
    design: Design, cell: Codes, place: Codes, count: int, on_d: FloatArray, on_h: FloatArray
) -> FloatArray:
    """`(G, P)`: the votes' gradients, summed by cluster."""
    levels = len(design.side)
    key = place * levels + design.level[cell]
    by_level = [np.bincount(key, weight, count * levels).reshape(count, levels) for weight in (on_d, on_h)]
    policies = _spread(design, cell, place, count, on_d, -on_d)
    return np.concatenate([policies, by_level[0] @ design.side, by_level[1] @ design.tie], axis=1)


def _spread(design: Design, cell: Codes, place: Codes, count: int, left: FloatArray, right: FloatArray) -> FloatArray:
    """`(G, K)`: votes' values for their left and right policies, summed by cluster."""
    size = design.size
    base = place * size
    flat = np.bincount(base + design.left[cell], left, count * size)
    flat += np.bincount(base + design.right[cell], right, count * size)
    return np.asarray(flat.reshape(count, size), float)
