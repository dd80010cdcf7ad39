"""Which policies are told apart, at one error rate over all pairs at once, and so which places each may have.

Places from simultaneous intervals of all differences: Mogstad, Romano, Shaikh and Wilhelm (2024,
doi:10.1093/restud/rdad006). Inside a block (policies that reach one another over wins and ties) differences have a
normal limit, and the largest of all studentised ones is simulated. Between blocks the likelihood has no maximum, and
the sandwich would claim false certainty: there intervals come from the likelihood and are open on the unbounded side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, stdtrit
from scipy.stats import norm

from arena.contracts import FloatArray
from arena.ranking.ballots import Codes
from arena.ranking.davidson import Expected
from arena.ranking.fit import Fit, blocks_of, group_labels

ERROR_RATE = 0.05
DRAWS = 4000
"""Of the largest studentised difference; the simulated quantile is within some 1% of the true one."""
AT_ONCE = 2_000_000
"""Numbers drawn at once."""
FAR = 60.0
"""Logits: beyond that nothing changes in double precision."""

Multiplier = Callable[[FloatArray], FloatArray]
"""From standard errors to how many of them an interval reaches, on the normal scale."""


@dataclass(frozen=True)
class Level:
    """How far intervals reach: for one policy, for a pair among all in its block, and for a pair of blocks."""

    single: Multiplier
    pair: Multiplier
    rate: float
    """Of one pair between blocks."""


@dataclass(frozen=True)
class Places:
    """`low`, `high` `(K,)`: ends of the intervals of the strengths; `better` `(K, K)`: row is told to be above
    column.
    """

    low: FloatArray
    high: FloatArray
    better: NDArray[np.bool_]


def places(fit: Fit, level: Level | None = None) -> Places:
    """Intervals and what is told apart at a level, by default 5% for this one look at the votes."""
    size = len(fit.strength)
    if not size:
        return Places(fit.strength, fit.strength, np.zeros((0, 0), dtype=bool))
    group, block = group_labels(fit.data.groups, size), blocks_of(fit.data.cells, size)
    # Blocks may not reach over groups: policies without votes are blocks of their own.
    level = level or one_look(fit, group, block)
    low, high = _intervals(fit, group, block, level.single(fit.error))
    return Places(low, high, _better(fit, group, block, level))


def one_look_of(fit: Fit) -> Level:
    """The level that `places` takes by default."""
    size = len(fit.strength)
    return one_look(fit, group_labels(fit.data.groups, size), blocks_of(fit.data.cells, size))


def one_look(fit: Fit, group: Codes, block: Codes) -> Level:
    """5% in all. Pairs between blocks take their equal share of it, pairs inside blocks the rest together."""
    pairs = _pairs(group)
    inside = _pairs(block)
    rate = ERROR_RATE / max(pairs, 1)
    # In the order of strength, so that names do not matter to the draws.
    order = np.argsort(-fit.strength, kind="stable")
    covariance = fit.covariance[np.ix_(order, order)]
    pair = largest_difference(covariance, block[order], rate * inside) if inside else 0.0
    alone = float(norm.isf(ERROR_RATE / 2))
    return Level(lambda error: np.full(error.shape, alone), lambda error: np.full(error.shape, pair), rate)


def _pairs(labels: Codes) -> int:
    counts = np.bincount(labels)
    return int((counts * (counts - 1) // 2).sum())


def largest_difference(covariance: FloatArray, block: Codes, rate: float) -> float:
    """The `1 - rate` quantile of the largest absolute studentised difference of a pair in a block, by simulation.

    `covariance` is `(K, K)`. Never above Bonferroni's. The draws are fixed, so that equal votes give equal ranks.
    """
    first, second = np.nonzero(np.triu(block[:, None] == block[None, :], 1))
    bonferroni = float(norm.isf(rate / 2 / len(first)))
    variance = np.diag(covariance)
    error = np.sqrt(np.maximum(variance[first] + variance[second] - 2 * covariance[first, second], 0))
    known = error > 1e-12
    first, second, scale = first[known], second[known], 1 / error[known]
    if len(first) < 2:
        return bonferroni
    values, vectors = np.linalg.eigh(covariance)
    # The symmetric root: it changes little when the covariance does.
    root = ((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T).astype(np.float32)
    rng = np.random.default_rng(0)
    most, per_error = [], scale.astype(np.float32)[:, None]
    each = max(1, AT_ONCE // len(first))
    for begin in range(0, DRAWS, each):
        drawn = root @ rng.standard_normal((len(root), min(each, DRAWS - begin)), dtype=np.float32)
        most.append(np.abs((drawn[first] - drawn[second]) * per_error).max(0))
    return min(float(np.quantile(np.concatenate(most), 1 - rate)), bonferroni)


def t_multiplier(multiplier: FloatArray, freedom: FloatArray) -> FloatArray:
    """The t quantile with the same tail as a normal one."""
    return np.asarray(-stdtrit(freedom, ndtr(-multiplier)))


def _intervals(fit: Fit, group: Codes, block: Codes, multiplier: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Ends `(K,)`: the sandwich's, widened by how far each block can move as a whole.

    The largest block of a group, if it has several policies, is what the others move against and stays in place.
    """
    reach = t_multiplier(multiplier, fit.freedom)
    low, high = fit.strength - reach * fit.error, fit.strength + reach * fit.error
    for members in fit.data.groups:
        labels, sizes = np.unique(block[list(members)], return_counts=True)
        fixed = labels[sizes.argmax()] if sizes.max() > 1 else -1
        for label in labels[labels != fixed]:
            inside = block == label
            if len(members) == 1:
                low[inside], high[inside] = -np.inf, np.inf
                continue
            down, up = shift_interval(fit, inside, float(reach[inside].max()))
            low[inside] = np.minimum(low[inside], fit.strength[inside] + down)
            high[inside] = np.maximum(high[inside], fit.strength[inside] + up)
    return low, high


def shift_interval(fit: Fit, inside: NDArray[np.bool_], quantile: float) -> tuple[float, float]:
    """How far the policies `inside` (a `(K,)` mask) may move down and up together against the rest.

    The ends of a likelihood-ratio interval, infinite where the likelihood never falls: where one side won all that
    lay between, there is no limit. Each cluster counts as one comparison, whatever the number of its votes, since
    the votes of one voter (or on one scene) may be one event.
    """
    data, design = fit.data, fit.data.design
    across = inside[design.left] != inside[design.right]
    rows = np.flatnonzero(across[data.cells.of_vote])
    cluster = data.cluster[rows]
    weight = 1.0 / np.bincount(cluster)[cluster]
    counts = data.cells.summed(rows, weight)[across]
    d, h = (part[across] for part in design.linear(fit.found.parameters))
    sign, total = np.where(inside[design.left], 1.0, -1.0)[across], counts.sum(1)
    ties = design.tie.shape[1] > 0

    def loss(shift: float) -> float:
        moved = d + sign * shift
        log_weight = Expected.at(moved, h, ties).log_weight
        return float(total @ log_weight - (counts[:, 0] - counts[:, 1]) / 2 @ moved - counts[:, 2] @ h)

    grid = np.linspace(-FAR, FAR, 121)
    losses = np.array([loss(shift) for shift in grid])
    best = int(losses.argmin())
    limit = losses[best] + quantile**2 / 2

    def crossing(end: float) -> float:
        return float(brentq(lambda shift: loss(shift) - limit, grid[best], end))

    low = -np.inf if losses[0] < limit else crossing(grid[0])
    high = np.inf if losses[-1] < limit else crossing(grid[-1])
    return low, high


def _better(fit: Fit, group: Codes, block: Codes, level: Level) -> NDArray[np.bool_]:
    """`(K, K)`: whether the row's policy is told to be better than the column's.

    Inside a block by the sandwich's error of the difference. Between blocks by intervals that do not overlap, by an
    exact sign test on the clusters in which the two met, or through policies between them.
    """
    difference = fit.strength[:, None] - fit.strength[None, :]
    variance = np.diag(fit.covariance)
    error = np.sqrt(np.maximum(variance[:, None] + variance[None, :] - 2 * fit.covariance, 0))
    same = block[:, None] == block[None, :]
    # The fewer clusters speak of one of the two, the wider.
    freedom = np.minimum(fit.freedom[:, None], fit.freedom[None, :])
    better = same & (difference > 0)
    better[better] = difference[better] > t_multiplier(level.pair(error[better]), freedom[better]) * error[better]
    if len(np.unique(block)) > len(fit.data.groups):
        low, high = _intervals(fit, group, block, np.full(len(fit.strength), float(norm.isf(level.rate / 2))))
        apart = (low[:, None] > high[None, :]) | (0.5 ** _clusters_won(fit, block) < level.rate / 2)
        better |= apart & ~same & (group[:, None] == group[None, :])
    for middle in range(len(better)):
        better |= better[:, middle, None] & better[None, middle, :]
    return np.asarray(better)


def _clusters_won(fit: Fit, block: Codes) -> FloatArray:
    """`(K, K)`: in how many clusters row beat column of another block, or 0 where it ever lost to it or tied."""
    cells, size, data = fit.data.cells, len(block), fit.data
    left_won, right_won, tied = (cells.counts[:, i] > 0 for i in range(3))
    pure = np.ones((size, size), dtype=bool)
    pure[cells.left[right_won | tied], cells.right[right_won | tied]] = False
    pure[cells.right[left_won | tied], cells.left[left_won | tied]] = False
    between = block[cells.left] != block[cells.right]
    rows = np.flatnonzero(between[cells.of_vote] & (cells.outcome < 2))
    cell, right = cells.of_vote[rows], cells.outcome[rows] == 1
    winner = np.where(right, cells.right[cell], cells.left[cell])
    loser = np.where(right, cells.left[cell], cells.right[cell])
    clusters = int(data.cluster.max(initial=0)) + 1
    one, of_one = np.unique((winner * size + loser) * clusters + data.cluster[rows], return_inverse=True)
    # A cluster whose votes count for little is no whole witness either.
    weight = np.ones(len(rows)) if cells.weight is None else cells.weight[rows]
    mean = np.bincount(of_one, weight) / np.maximum(np.bincount(of_one), 1)
    won = np.bincount(one // clusters, mean, size * size).reshape(size, size)
    return np.asarray(won * pure, float)
