"""Who beat whom, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from arena.contracts import Choice, InvalidInput, Vote
from arena.leaderboard import win_matrix
from arena.ranking import Ballots

SAID = [("a", "b", Choice.LEFT), ("b", "a", Choice.LEFT), ("b", "a", Choice.RIGHT), ("a", "b", Choice.TIE)]
SAID += [("c", "a", Choice.BOTH_BAD)]
BALLOTS = Ballots.of([Vote(left, right, choice, "v", "s") for left, right, choice in SAID], ["d"])


def test_wins_losses_and_ties_are_counted_whichever_side_they_were_on() -> None:
    found = win_matrix(BALLOTS, ["b", "a", "c", "d"])
    np.testing.assert_array_equal(found.wins[:2, :2], [[0, 1], [2, 0]])
    np.testing.assert_array_equal(found.ties[1], [1, 0, 1, 0])
    np.testing.assert_array_equal(found.met, found.met.T)
    assert found.met.sum() == 2 * len(SAID)


def test_the_row_and_the_column_share_their_comparisons() -> None:
    found = win_matrix(BALLOTS, ["a", "b", "c", "d"])
    assert found.share[0, 1] == 2.5 / 4
    met = found.met > 0
    np.testing.assert_allclose((found.share + found.share.T)[met], 1)
    assert np.isnan(found.share[~met]).all()


@pytest.mark.parametrize("order", [["a", "b", "c"], ["a", "b", "c", "d", "d"], ["a", "b", "c", "e"]])
def test_an_order_of_other_policies_is_refused(order: list[str]) -> None:
    with pytest.raises(InvalidInput, match="each policy of its votes once"):
        win_matrix(BALLOTS, order)
