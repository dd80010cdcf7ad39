"""A ranking of policies from votes, with claims no stronger than the votes bear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import t

from arena.contracts import RankedPolicy, Ranking, Vote
from arena.ranking.anytime import Verdict, anytime_places, verdict
from arena.ranking.ballots import BOTH_BAD, CHOICES, Ballots
from arena.ranking.davidson import EVEN_TIES
from arena.ranking.fit import Fit, compared, fit, group_labels, prepare
from arena.ranking.letters import letters
from arena.ranking.ranks import ERROR_RATE, Places, places
from arena.ranking.terms import Effect


@dataclass(frozen=True)
class Span:
    """An interval of the score and of the place. Infinite, or all places, where the votes leave it open."""

    low: float
    high: float
    rank_low: int
    rank_high: int


@dataclass(frozen=True)
class Standing:
    """A policy's place.

    `score` is its log-odds, among votes that decide, against the mean of its group, with a pointwise 95% interval.
    The places `rank_low` to `rank_high` hold for all policies at once with 95%. Policies of different `group`
    (numbered from 1) cannot be compared. `anytime` is the same for those who look while votes come in.
    """

    name: str
    score: float
    error: float
    low: float
    high: float
    rank_low: int
    rank_high: int
    votes: int
    group: int
    letters: tuple[str, ...]
    anytime: Span
    note: str


@dataclass(frozen=True)
class Measured:
    """A parameter that is no policy's, in logits with a 95% interval. An empty `covariate` is the mean over levels."""

    covariate: str
    value: str
    logits: float
    low: float
    high: float

    share: float
    """Between equals: the left side's share of the votes that decide; or, of a tie parameter, the share of ties."""


@dataclass(frozen=True)
class Board:
    """All that votes say. `policies` are best first, larger groups first; `fit` is what it rests on."""

    policies: tuple[Standing, ...]
    left_bias: tuple[Measured, ...]
    ties: tuple[Measured, ...]
    groups: tuple[tuple[str, ...], ...]
    choices: dict[str, int]
    clustered_by: str
    clusters: int
    settled: Verdict
    notes: tuple[str, ...]
    better: NDArray[np.bool_]
    """`(K, K)`, in the order of `fit`'s policies: whether the row's is told to be better than the column's."""
    fit: Fit


def rank(votes: Sequence[Vote], *, policies: Sequence[str] = (), judge: str = "", left_bias: bool = True) -> Ranking:
    """Rank the policies in `votes` (and those in `policies` that got none), best first, larger groups first.

    `rank_low` and `rank_high` bound a policy's place: only a policy that is better or worse at a 5% error
    rate over all pairs at once is counted above or below it. Scores have mean 0 in their group, and
    pointwise 95% intervals, infinite on a side that the comparisons leave open. Both-bad counts as a tie.
    Set `left_bias` to False where nobody saw two sides, as with the scores of a judge.
    Raises `InvalidInput` for a policy that meets itself.
    """
    return ranking_of(make_board(Ballots.of(votes, policies), left_bias=left_bias), judge)


def ranking_of(board: Board, judge: str = "") -> Ranking:
    """What of a board goes beyond `arena.ranking`. `judge` is who compared."""
    ranked = tuple(
        RankedPolicy(
            item.name, item.rank_low, item.rank_high, item.score, item.low, item.high, item.votes, note=item.note
        )
        for item in board.policies
    )
    return Ranking(ranked, board.groups, len(board.fit.data.ballots), judge, board.notes)


def make_board(
    ballots: Ballots, *, covariates: Sequence[str] = (), left_bias: bool = True, cluster_by: str = "auto"
) -> Board:
    """Everything that `ballots` say about the policies. `cluster_by` is `auto`, `voter`, `scene` or `vote`.

    Raises `InvalidInput` for covariates or clusters that the votes do not have.
    """
    return board_of(fit(prepare(ballots, covariates=covariates, left_bias=left_bias, cluster_by=cluster_by)))


def board_of(found: Fit) -> Board:
    """A fit's board: places now, places at all times, letters and notes."""
    ballots = found.data.ballots
    now, always = places(found), anytime_places(found)
    names = ballots.policies
    said = np.bincount(ballots.choice, minlength=len(CHOICES))
    return Board(
        policies=tuple(_standings(found, now, always)),
        left_bias=_measured(found, found.data.terms.side_effects, "side"),
        ties=_measured(found, found.data.terms.tie_effects, "tie"),
        groups=tuple(tuple(names[i] for i in members) for members in found.data.groups),
        choices={choice.value: int(count) for choice, count in zip(CHOICES, said, strict=True)},
        clustered_by=found.data.clustered_by,
        clusters=int(found.data.cluster.max(initial=-1)) + 1,
        settled=verdict(found, always),
        notes=tuple(_notes(found)),
        better=now.better,
        fit=found,
    )


def order_of(found: Fit) -> list[int]:
    """Policies best first, larger groups first."""
    return [i for members in found.data.groups for i in sorted(members, key=lambda i: -found.strength[i])]


def _standings(found: Fit, now: Places, always: Places) -> list[Standing]:
    size = len(found.strength)
    order, group = order_of(found), group_labels(found.data.groups, size)
    shared = letters(now.better, order)
    votes = compared(found.data.cells, size)
    error = found.error
    return [
        Standing(
            found.data.ballots.policies[i],
            float(found.strength[i]),
            float(error[i]),
            float(now.low[i]),
            float(now.high[i]),
            *_bounds(now, i),
            votes=int(votes[i]),
            group=int(group[i]) + 1,
            letters=shared[i],
            anytime=Span(float(always.low[i]), float(always.high[i]), *_bounds(always, i)),
            note=_note(found, now, i),
        )
        for i in order
    ]


def _bounds(found: Places, i: int) -> tuple[int, int]:
    """Best and worst place of all policies, those of other groups included: any place among them is possible."""
    return 1 + int(found.better[:, i].sum()), len(found.better) - int(found.better[i].sum())


def _measured(found: Fit, effects: tuple[Effect, ...], kind: str) -> tuple[Measured, ...]:
    rows = found.data.design.sides if kind == "side" else found.data.design.ties
    values, covariance = found.found.parameters[rows], found.spread.covariance[rows, rows]
    # All clusters voted on some left side.
    centre = 0.0 if kind == "side" else EVEN_TIES
    quantile = t.isf(ERROR_RATE / 2, max(int(found.data.cluster.max(initial=0)), 1))
    out = []
    for effect in effects:
        value, reach = effect.weights @ values, quantile * np.sqrt(effect.weights @ covariance @ effect.weights)
        share = float(expit(value - centre))
        ends = float(value - reach), float(value + reach)
        out.append(Measured(effect.covariate, effect.value, float(value), *ends, share))
    return tuple(out)


def _note(found: Fit, now: Places, i: int) -> str:
    cells = found.data.cells
    left, right = cells.counts[cells.left == i].sum(0), cells.counts[cells.right == i].sum(0)
    won, lost, tied = left[0] + right[1], left[1] + right[0], left[2] + right[2]
    if not won + lost + tied:
        return "never compared"
    if not lost and won:
        return "never lost"
    if not won and lost:
        return "never won"
    if np.isinf(now.high[i]):
        return "in a group that never lost to the rest"
    return "in a group that never won against the rest" if np.isinf(now.low[i]) else ""


def _notes(found: Fit) -> list[str]:
    data = found.data
    if not len(data.ballots):
        return ["no comparisons", *_groups_note(found)]
    clusters = int(data.cluster.max()) + 1
    notes = [*_groups_note(found), *data.terms.notes]
    if found.spread.few:
        what = (
            f"only {clusters} {data.clustered_by}s"
            if clusters < 2 * data.design.parameters
            else (f"fewer than 10 {data.clustered_by}s speak of some policies")
        )
        notes.append(f"{what}: errors are the wider of clustered and independent")
    notes.append(f"errors clustered by {data.clustered_by}")
    if not data.cells.counts[:, :2].any():
        notes.append("all comparisons were ties")
    for bias in _measured(found, data.terms.side_effects[:1], "side"):
        notes.append(f"left-side bias {bias.logits:+.2f} ({bias.low:+.2f} to {bias.high:+.2f}) logits")
    if both_bad := int((data.ballots.choice == BOTH_BAD).sum()):
        notes.append(f"{both_bad} votes said that both were bad, which counts as a tie")
    return notes


def _groups_note(found: Fit) -> list[str]:
    count = len(found.data.groups)
    return [f"{count} groups of policies never met: no rank is claimed between them"] if count > 1 else []
