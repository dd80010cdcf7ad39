"""One fit of all votes: strengths with clustered errors, which policies can be compared at all, and the left side's
advantage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from arena.contracts import FloatArray
from arena.ranking.ballots import Ballots, Cells, Codes, pool
from arena.ranking.davidson import Design, Estimate, design_of, estimate
from arena.ranking.sandwich import Sandwich, sandwich
from arena.ranking.terms import Terms, make_terms


@dataclass(frozen=True)
class Data:
    """Votes made ready for fitting: pooled, with columns and clusters. `groups` are policies connected by votes."""

    ballots: Ballots
    cells: Cells
    design: Design
    terms: Terms
    cluster: Codes
    clustered_by: str
    groups: tuple[tuple[int, ...], ...]

    @property
    def voices(self) -> float:
        """How many clusters speak, each for the mean weight of its votes: their number where all votes count for 1."""
        if not len(self.cluster):
            return 0.0
        count = np.bincount(self.cluster)
        total = count if self.cells.weight is None else np.bincount(self.cluster, self.cells.weight)
        return float((total[count > 0] / count[count > 0]).sum())


@dataclass(frozen=True)
class Fit:
    """`strength` `(K,)` has mean 0 in each group, `covariance` `(K, K)` is of these, `freedom` `(K,)` for t
    quantiles.
    """

    data: Data
    found: Estimate
    spread: Sandwich
    strength: FloatArray
    covariance: FloatArray
    freedom: FloatArray

    @property
    def error(self) -> FloatArray:
        """`(K,)` standard errors of the strengths."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0))


def prepare(
    ballots: Ballots, *, covariates: Sequence[str] = (), left_bias: bool = True, cluster_by: str = "auto"
) -> Data:
    """Raises `InvalidInput` for covariates or clusters that the votes do not have."""
    levels, level = ballots.levels(covariates)
    cells = pool(ballots, level, len(levels))
    terms = make_terms(ballots, cells, levels, covariates, left_bias=left_bias)
    clustered_by, cluster = ballots.clusters(cluster_by)
    size = len(ballots.policies)
    return Data(
        ballots,
        cells,
        design_of(cells, size, terms.side, terms.tie),
        terms,
        cluster,
        clustered_by,
        groups_of(cells.left, cells.right, size),
    )


def fit(data: Data, start: FloatArray | None = None) -> Fit:
    """The strengths of all policies, with `start` `(P,)` where Newton's method begins."""
    found = estimate(data.design, data.cells.counts, start)
    return summed_up(data, found, sandwich(data.design, data.cells, found, data.cluster))


def summed_up(data: Data, found: Estimate, spread: Sandwich) -> Fit:
    size = data.design.size
    centre = centring(data.groups, size)
    return Fit(
        data,
        found,
        spread,
        centre @ found.parameters[:size],
        centre @ spread.covariance[:size, :size] @ centre.T,
        np.maximum(spread.effective[:size] - 1, 1.0),
    )


def centring(groups: Sequence[Sequence[int]], size: int) -> FloatArray:
    """`(K, K)`: takes the mean of its group from each policy."""
    centre = np.eye(size)
    for members in groups:
        centre[np.ix_(members, members)] -= 1.0 / len(members)
    return centre


def groups_of(left: Codes, right: Codes, size: int) -> tuple[tuple[int, ...], ...]:
    """Policies that are connected by comparisons, the largest group first."""
    met = csr_array((np.ones(len(left)), (left, right)), shape=(size, size))
    count, labels = connected_components(met, directed=False) if size else (0, np.zeros(0))
    groups = [tuple(np.flatnonzero(labels == label).tolist()) for label in range(count)]
    return tuple(sorted(groups, key=lambda members: (-len(members), members)))


def group_labels(groups: Sequence[Sequence[int]], size: int) -> Codes:
    """`(K,)`: each policy's place in `groups`."""
    labels = np.zeros(size, dtype=np.int64)
    for label, members in enumerate(groups):
        labels[list(members)] = label
    return labels


def blocks_of(cells: Cells, size: int) -> Codes:
    """`(K,)` labels: within a block all reach all over wins and ties, so differences are finite (Ford 1957)."""
    left, right, tie = (cells.counts[:, i] > 0 for i in range(3))
    winner = np.concatenate([cells.left[left | tie], cells.right[right | tie]])
    loser = np.concatenate([cells.right[left | tie], cells.left[right | tie]])
    wins = csr_array((np.ones(len(winner)), (winner, loser)), shape=(size, size))
    return np.asarray(connected_components(wins, directed=True, connection="strong")[1], dtype=np.int64)


def compared(cells: Cells, size: int) -> NDArray[np.int64]:
    """`(K,)`: votes that a policy was in, whatever they weigh."""
    total = np.bincount(cells.of_vote, minlength=len(cells.left))
    return (np.bincount(cells.left, total, size) + np.bincount(cells.right, total, size)).astype(np.int64)
