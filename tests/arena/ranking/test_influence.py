"""How few votes, and which voter, would change a rank: against trying them all, and against known attacks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from arena.contracts import Choice, Vote
from arena.ranking import Ballots, Swap, swaps
from arena.ranking.davidson import estimate
from arena.ranking.fit import Fit, fit, prepare
from tests.arena.ranking.simulating import Crowd


def fitted(ballots: Ballots) -> Fit:
    return fit(prepare(ballots))


def lead(found: Fit, counts: np.ndarray, swap: Swap) -> float:
    """Of upper over lower, were these the counts of the cells."""
    names = found.data.ballots.policies
    at = estimate(found.data.design, counts).parameters
    return float(at[names.index(swap.upper)] - at[names.index(swap.lower)])


@pytest.mark.parametrize("seed", range(4))
def test_single_and_double_removals_are_those_of_trying_all(seed: int) -> None:
    found = fitted(Crowd((-0.1, 0.0, 0.1), voters=6, each=7).votes(seed))
    counts = found.data.cells.counts
    kinds = np.flatnonzero(counts.ravel())

    def left(taken: tuple[int, ...]) -> np.ndarray:
        return counts - np.bincount(taken, minlength=counts.size).reshape(counts.shape)

    tried = [(n, left(taken)) for n in (1, 2) for taken in itertools.combinations_with_replacement(kinds.tolist(), n)]
    for swap in swaps(found):
        fewest = (n for n, rest in tried if rest.min() >= 0 and lead(found, rest, swap) < 0)
        by_trying = next(fewest, None)
        assert swap.removed == by_trying if by_trying else swap.removed is None or swap.removed > 2


def test_votes_that_are_added_swap_and_fewer_do_not() -> None:
    found = fitted(Crowd((-0.3, 0.0, 0.4, 0.6), voters=40, each=25).votes(1))
    cells, names = found.data.cells, found.data.ballots.policies
    for swap in swaps(found):
        assert swap.added is not None
        assert swap.by is not None
        left, right, winner = swap.by
        (cell,) = np.flatnonzero((cells.left == names.index(left)) & (cells.right == names.index(right)))
        one = np.zeros_like(cells.counts)
        one[cell, ("left", "right", "tie").index(winner)] = 1
        assert lead(found, cells.counts + swap.added * one, swap) < 0
        # To within 2%.
        assert lead(found, cells.counts + (0.97 * swap.added - 1) * one, swap) > 0


def test_a_voter_who_alone_holds_an_order_up_is_named() -> None:
    votes = [Vote("a", "b", Choice.LEFT if n % 2 else Choice.RIGHT, f"fair{n % 12}") for n in range(60)]
    votes += [Vote("b", "a", Choice.RIGHT if n % 2 else Choice.LEFT, f"fair{n % 12}") for n in range(60)]
    votes += [
        Vote(*pair, choice, "stuffer") for pair, choice in ((("a", "b"), Choice.LEFT), (("b", "a"), Choice.RIGHT))
    ] * 6
    votes += [Vote("b", "a", Choice.LEFT, "fair0")] * 2
    (swap,) = swaps(fitted(Ballots.of(votes)))
    assert (swap.upper, swap.lower, swap.voter, swap.voter_votes) == ("a", "b", "stuffer", 12)
    assert swap.votes is not None
    assert 5 <= swap.votes <= 12


def test_clear_orders_take_many_votes_and_no_single_voter() -> None:
    found = swaps(fitted(Crowd((-2.0, 0.0, 2.0), voters=60, each=25).votes(0)))
    assert [(swap.upper, swap.lower) for swap in found] == [("p2", "p1"), ("p1", "p0")]
    for swap in found:
        assert swap.voter is None
        assert swap.votes is not None
        assert swap.votes > 100


def test_groups_and_nothing_have_no_neighbours_across() -> None:
    votes = [Vote("a", "b", Choice.LEFT, "u"), Vote("x", "y", Choice.RIGHT, "v")]
    assert [(swap.upper, swap.lower) for swap in swaps(fitted(Ballots.of(votes)))] == [("a", "b"), ("y", "x")]
    assert swaps(fitted(Ballots.of([], ["a", "b"]))) == []
