"""What must hold of every set of votes: mirrors, permutations, pooling, one more win."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arena.contracts import Choice, Vote
from arena.ranking import Ballots, LiveRanking, make_board
from arena.ranking.ballots import Cells
from arena.ranking.davidson import design_of, estimate
from arena.ranking.fit import Fit, fit, prepare
from arena.ranking.sandwich import sandwich

NAMES = "abcde"
MIRRORED = {Choice.LEFT: Choice.RIGHT, Choice.RIGHT: Choice.LEFT}
quickly = settings(max_examples=30, deadline=None)

pairs = st.permutations(NAMES).map(lambda names: names[:2])
vote = st.builds(
    lambda pair, choice, voter: Vote(pair[0], pair[1], choice, voter),
    pairs,
    st.sampled_from(Choice),
    st.sampled_from(["u", "v", "w", "x"]),
)
some_votes = st.lists(vote, min_size=1, max_size=40)


def fitted(votes: list[Vote], *, left_bias: bool = True) -> Fit:
    return fit(prepare(Ballots.of(votes, NAMES), left_bias=left_bias))


@quickly
@given(some_votes)
def test_swapping_sides_mirrors_the_bias_and_leaves_the_rest(votes: list[Vote]) -> None:
    mirrored = [replace(v, left=v.right, right=v.left, choice=MIRRORED.get(v.choice, v.choice)) for v in votes]
    one, other = make_board(Ballots.of(votes)), make_board(Ballots.of(mirrored))
    for a, b in zip(one.policies, sorted(other.policies, key=lambda p: place(one, p.name)), strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-6)
        assert a.low == pytest.approx(b.low, abs=1e-5)
        assert (a.rank_low, a.rank_high, a.note) == (b.rank_low, b.rank_high, b.note)
    for x, y in zip(one.left_bias, other.left_bias, strict=True):
        assert x.logits == pytest.approx(-y.logits, abs=1e-6)
        assert x.low == pytest.approx(-y.high, abs=1e-5)


def place(board: object, name: str) -> int:
    return [item.name for item in board.policies].index(name)  # type: ignore[attr-defined]


@quickly
@given(some_votes, st.permutations(NAMES))
def test_permuting_policies_permutes_the_board(votes: list[Vote], names: list[str]) -> None:
    renamed = dict(zip(NAMES, names, strict=True))
    again = [replace(v, left=renamed[v.left], right=renamed[v.right]) for v in votes]
    one = {p.name: p for p in make_board(Ballots.of(votes)).policies}
    other = {p.name: p for p in make_board(Ballots.of(again)).policies}
    for name, policy in one.items():
        twin = other[renamed[name]]
        assert (policy.score, policy.error) == pytest.approx((twin.score, twin.error), abs=1e-6)
        assert (policy.low, policy.high) == pytest.approx((twin.low, twin.high), abs=1e-5)
        assert (policy.votes, policy.note) == (twin.votes, twin.note)


@quickly
@given(some_votes)
def test_pooling_changes_nothing(votes: list[Vote]) -> None:
    pooled = fitted(votes)
    data, each = pooled.data, np.arange(len(votes))
    outcome = data.cells.outcome
    cells = Cells(data.ballots.left, data.ballots.right, 0 * each, np.eye(3)[outcome], each, outcome)
    design = design_of(cells, len(NAMES), data.design.side, data.design.tie)
    found = estimate(design, cells.counts)
    np.testing.assert_allclose(found.parameters, pooled.found.parameters, atol=1e-8)
    np.testing.assert_allclose(found.bread, pooled.found.bread, rtol=1e-6, atol=1e-9)
    spread = sandwich(design, cells, found, data.cluster)
    np.testing.assert_allclose(spread.covariance, pooled.spread.covariance, rtol=1e-6, atol=1e-8)


@quickly
@given(some_votes, pairs)
@example([Vote("a", "b", Choice.LEFT, "u")] * 5, ["a", "b"])
def test_adding_a_win_never_lowers_the_winner(votes: list[Vote], pair: list[str]) -> None:
    """Against the loser and its own group, as far as it is a theorem: without ties and bias, which a win moves too."""
    winner, loser = NAMES.index(pair[0]), NAMES.index(pair[1])
    decided = [v if v.choice in MIRRORED else replace(v, choice=Choice.LEFT) for v in votes]
    before = fitted(decided, left_bias=False).found.parameters
    after = fitted([*decided, Vote(*pair, Choice.LEFT, "u")], left_bias=False).found.parameters
    assert after[winner] >= before[winner] - 1e-8
    assert after[winner] - after[loser] >= before[winner] - before[loser] - 1e-8


@quickly
@given(some_votes, pairs)
def test_adding_a_win_from_each_side_never_lowers_the_lead(votes: list[Vote], pair: list[str]) -> None:
    """With ties and bias: from both sides, so that the bias has no share in it."""
    winner, loser = NAMES.index(pair[0]), NAMES.index(pair[1])
    before = fitted(votes).found.parameters
    wins = [Vote(*pair, Choice.LEFT, "u"), Vote(*pair[::-1], Choice.RIGHT, "u")]
    after = fitted([*votes, *wins]).found.parameters
    assert after[winner] - after[loser] >= before[winner] - before[loser] - 1e-8


@quickly
@given(some_votes, some_votes)
def test_one_vote_after_another_is_as_good_as_all_at_once(first: list[Vote], more: list[Vote]) -> None:
    live = LiveRanking(Ballots.of(first))
    for item in more:
        live.add(item)
    data = prepare(Ballots.of([*first, *more]), cluster_by="voter")
    at_once, names = fit(data), live.fit.data.ballots.policies
    assert names == data.ballots.policies
    assert sorted(map(sorted, live.fit.data.groups)) == sorted(map(sorted, data.groups))
    np.testing.assert_allclose(live.fit.strength, at_once.strength, atol=1e-6)
    np.testing.assert_allclose(live.fit.error, at_once.error, rtol=0.05)
