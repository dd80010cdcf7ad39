"""Two boards side by side."""

from __future__ import annotations

import numpy as np
import pytest

from arena.contracts import Choice, InvalidInput, Vote
from arena.ranking import Ballots, agreement, make_board
from arena.ranking.beside import vote_agreement
from tests.arena.ranking.simulating import Crowd

FIVE = (-1.0, -0.5, 0.0, 0.5, 1.0)


def test_sides_that_agree_and_sides_that_do_not() -> None:
    people = make_board(Crowd(FIVE, voters=80).votes(0))
    alike = agreement(people, make_board(Crowd(FIVE, voters=80).votes(1)), draws=100)
    assert alike.policies == tuple(item.name for item in people.policies)
    assert alike.pearson.low <= alike.pearson.value <= 1
    assert alike.spearman.value > 0.85
    assert alike.contradictions == ()
    assert alike.told_apart_by_both > 5
    against = agreement(people, make_board(Crowd(FIVE[::-1], voters=80).votes(1)), draws=100)
    assert against.kendall.value < -0.8
    assert len(against.contradictions) == against.told_apart_by_both > 5


def test_only_what_is_comparable_on_both_sides_is_compared() -> None:
    people = make_board(Crowd(FIVE, voters=40).votes(0))
    judge = make_board(Crowd(FIVE[:4], voters=40).votes(2))
    found = agreement(people, judge, draws=100)
    assert set(found.policies) == {"p0", "p1", "p2", "p3"}
    assert found.notes == ("not comparable on both sides: p4",)
    with pytest.raises(InvalidInput, match="only 0 policies are comparable"):
        agreement(people, make_board(Ballots.of([Vote("x", "y", Choice.LEFT, "j")])))


def test_votes_on_the_same_scene_are_compared_whatever_the_side() -> None:
    people = [Vote("a", "b", Choice.LEFT, f"v{n}", f"s{n % 4}") for n in range(12)]
    judge = [Vote("b", "a", Choice.RIGHT if n else Choice.LEFT, "j", f"s{n}") for n in range(4)]
    found = vote_agreement(Ballots.of(people), Ballots.of([*judge, Vote("a", "b", Choice.TIE, "j", "other")]))
    assert found is not None
    assert (found.compared, found.share) == (4, 0.75)
    assert found.kappa == pytest.approx(0.0)
    assert vote_agreement(Ballots.of(people), Ballots.of([Vote("a", "b", Choice.TIE, "j", "s0")] * 3)) is None
    drawn = [Vote("a", "b", choice, "v", scene) for scene in "st" for choice in (Choice.LEFT, Choice.RIGHT)]
    same = vote_agreement(Ballots.of(drawn), Ballots.of(drawn))
    assert same is not None
    assert same.share == 1
    assert same.kappa is None
    assert np.isfinite(same.compared)
