"""Two rankings of the same policies side by side, such as people's and a judge's, and how far they agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau, spearmanr

from arena.contracts import FloatArray, InvalidInput
from arena.ranking.ballots import TIE, Ballots
from arena.ranking.board import Board
from arena.ranking.bootstrap import bootstrap
from arena.ranking.ranks import ERROR_RATE

DRAWS = 400
LEAST_COMMON = 3
"""Policies: a correlation of two is 1 or -1 whatever they are."""


@dataclass(frozen=True)
class Correlation:
    """`value` of the scores, and the central 95% of a bootstrap that draws both sides' clusters anew."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class VoteAgreement:
    """The sides' majorities on the same two policies in the same scene: left, right, tie.

    `share` of the `compared` meetings on which they agree, and Cohen's (1960) `kappa`, which takes away what chance
    would bring.
    """

    compared: int
    share: float
    kappa: float | None


@dataclass(frozen=True)
class Agreement:
    """How far two boards agree on their common `policies`, which are in the first board's order."""

    policies: tuple[str, ...]
    pearson: Correlation
    spearman: Correlation
    kendall: Correlation
    told_apart_by_both: int
    contradictions: tuple[tuple[str, str], ...]
    """Pairs, better first by the first board, that both tell apart and order differently."""
    votes: VoteAgreement | None
    """None where a side has no scenes, or no meeting is in both."""
    notes: tuple[str, ...]


def agreement(first: Board, second: Board, *, draws: int = DRAWS, seed: int = 0) -> Agreement:
    """Compare two boards. The policies must be connected on both sides, since scores of groups cannot be compared.

    Raises `InvalidInput` where fewer than three policies of one group on each side are common.
    """
    names, notes = _common(first, second)
    if len(names) < LEAST_COMMON:
        raise InvalidInput(f"only {len(names)} policies are comparable on both sides: agreement takes {LEAST_COMMON}")
    at = [[board.fit.data.ballots.policies.index(name) for name in names] for board in (first, second)]
    sides = [board.fit.strength[places] for board, places in zip((first, second), at, strict=True)]
    drawn = [
        bootstrap(board.fit, draws, seed + i).strength[:, places]
        for i, (board, places) in enumerate(zip((first, second), at, strict=True))
    ]
    apart, contradictions = _contradictions(first, second, names)
    return Agreement(
        names,
        pearson=_correlation(_pearson, sides, drawn),
        spearman=_correlation(_spearman, sides, drawn),
        kendall=_correlation(_kendall, sides, drawn),
        told_apart_by_both=apart,
        contradictions=contradictions,
        votes=vote_agreement(first.fit.data.ballots, second.fit.data.ballots),
        notes=notes,
    )


def _common(first: Board, second: Board) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Policies of the two groups, one of each side, that share most; what is left out goes into notes."""
    shared = max(
        (tuple(name for name in a if name in set(b)) for a in first.groups for b in second.groups), key=len, default=()
    )
    names = tuple(item.name for item in first.policies if item.name in set(shared))
    left_out = sorted({item.name for board in (first, second) for item in board.policies} - set(names))
    return names, (f"not comparable on both sides: {', '.join(left_out)}",) if left_out else ()


def _correlation(
    measure: Callable[[FloatArray, FloatArray], float], sides: list[FloatArray], drawn: list[FloatArray]
) -> Correlation:
    values = [measure(a, b) for a, b in zip(*drawn, strict=True)]
    low, high = np.nanquantile(values, [ERROR_RATE / 2, 1 - ERROR_RATE / 2])
    return Correlation(float(measure(*sides)), float(low), float(high))


def _pearson(a: FloatArray, b: FloatArray) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def _spearman(a: FloatArray, b: FloatArray) -> float:
    return float(spearmanr(a, b).statistic) if np.ptp(a) and np.ptp(b) else float("nan")


def _kendall(a: FloatArray, b: FloatArray) -> float:
    return float(kendalltau(a, b).statistic)


def _contradictions(first: Board, second: Board, names: tuple[str, ...]) -> tuple[int, tuple[tuple[str, str], ...]]:
    better = [_better(board) for board in (first, second)]
    pairs = [(a, b) for a in names for b in names if better[0].get((a, b))]
    both = [(a, b) for a, b in pairs if better[1].get((a, b)) or better[1].get((b, a))]
    return len(both), tuple((a, b) for a, b in both if better[1].get((b, a)))


def _better(board: Board) -> Mapping[tuple[str, str], bool]:
    names = board.fit.data.ballots.policies
    return {(names[i], names[j]): True for i, j in zip(*np.nonzero(board.better), strict=True)}


def vote_agreement(first: Ballots, second: Ballots) -> VoteAgreement | None:
    """The sides' majorities where both saw the same two policies in the same scene."""
    a, b = (_majorities(side) for side in (first, second))
    common = sorted(a.keys() & b.keys())
    if not common:
        return None
    table = np.zeros((3, 3))
    for key in common:
        table[a[key], b[key]] += 1
    share = float(np.trace(table) / len(common))
    chance = float(table.sum(0) @ table.sum(1)) / len(common) ** 2
    return VoteAgreement(len(common), share, (share - chance) / (1 - chance) if chance < 1 else None)


def _majorities(side: Ballots) -> dict[tuple[str, str, str], int]:
    """By scene and the two policies in alphabetical order: 0 or 1, the one with more votes, or 2 for a draw."""
    if side.scene is None or len(side.scene.values) < 2:
        return {}
    size = len(side.policies)
    low, high = np.minimum(side.left, side.right), np.maximum(side.left, side.right)
    decided = np.where(side.choice >= TIE, 0, np.where(side.choice == 0, 1, -1))
    lead = np.where(side.left == low, decided, -decided)
    keys, which = np.unique((side.scene.codes * size + low) * size + high, return_inverse=True)
    sums = np.bincount(which, lead)
    out = {}
    for key, total in zip(keys.tolist(), sums.tolist(), strict=True):
        scene, pair = divmod(key, size * size)
        names = side.scene.values[scene], side.policies[pair // size], side.policies[pair % size]
        out[names] = 0 if total > 0 else 1 if total < 0 else 2
    return out
