"""Weighed votes: two halves are one vote, a weight of nothing is no vote, and many trifles are no crowd."""

from __future__ import annotations

import numpy as np
import pytest

from arena.contracts import Choice, InvalidInput, Vote
from arena.ranking.ballots import Ballots
from arena.ranking.board import make_board
from arena.ranking.bootstrap import bootstrap
from arena.ranking.influence import swaps
from arena.ranking.live import LiveRanking
from tests.arena.ranking.simulating import Crowd

CROWD = Crowd((0.0, 0.4, 0.9, 1.5), voters=30, each=20, spread=0.2)


def _twice(ballots: Ballots, rows: np.ndarray) -> Ballots:
    """`ballots`, and those of the mask `rows` once more."""
    return ballots.taken(np.concatenate([np.arange(len(ballots)), np.flatnonzero(rows)]))


@pytest.fixture
def ballots() -> Ballots:
    return CROWD.votes(seed=3)


def test_a_vote_cast_twice_at_half_the_weight_is_that_vote(ballots: Ballots) -> None:
    heavy = ballots.voter.codes % 3 == 0
    twice = _twice(ballots, heavy)
    halves = twice.weighed(np.where(twice.voter.codes % 3 == 0, 0.5, 1.0))
    weighed, plain = (make_board(votes, cluster_by="voter") for votes in (halves, ballots))
    np.testing.assert_allclose(weighed.fit.strength, plain.fit.strength, atol=1e-8)
    np.testing.assert_allclose(weighed.fit.covariance, plain.fit.covariance, atol=1e-8)
    assert [(p.name, p.rank_low, p.rank_high) for p in weighed.policies] == [
        (p.name, p.rank_low, p.rank_high) for p in plain.policies
    ]
    drawn = (bootstrap(board.fit, 100, seed=1).strength for board in (weighed, plain))
    np.testing.assert_allclose(*drawn, atol=1e-8)
    # Cast twice, however light: what is shown as a number of votes is how many people gave.
    assert sum(p.votes for p in weighed.policies) == 2 * len(twice)


def test_many_who_count_for_nearly_nothing_win_no_place(ballots: Ballots) -> None:
    """Sock puppets that the rules have found out, all for one."""
    votes = Ballots.of([Vote("a", "b", Choice.LEFT, f"puppet-{n}", f"s{n}") for n in range(30)])
    loud, quiet = make_board(votes), make_board(votes.weighed(np.full(30, 0.02)))
    assert [(p.rank_low, p.rank_high) for p in loud.policies] == [(1, 1), (2, 2)]
    assert [(p.rank_low, p.rank_high) for p in quiet.policies] == [(1, 2), (1, 2)]
    assert quiet.settled.too_early
    assert quiet.fit.data.voices == pytest.approx(0.6)


def test_a_vote_that_weighs_nothing_is_no_vote_but_its_policies_stay_known(ballots: Ballots) -> None:
    silent = (ballots.left == 0) | (ballots.right == 0)
    weighed, without = ballots.weighed(np.where(silent, 0.0, 1.0)), ballots.taken(~silent)
    assert weighed.policies == ballots.policies
    np.testing.assert_allclose(make_board(weighed).fit.strength, make_board(without).fit.strength)
    assert len(make_board(weighed).groups) == 2


def test_noise_that_weighs_little_moves_little(ballots: Ballots) -> None:
    noisy = ballots.voter.codes % 3 == 0
    upside_down = np.where(noisy, np.choose(np.minimum(ballots.choice, 2), [1, 0, 2]), ballots.choice).astype(np.int8)
    spoiled = Ballots(ballots.policies, ballots.left, ballots.right, upside_down, ballots.voter, ballots.scene)
    clean = make_board(ballots.taken(~noisy)).fit.strength
    plain, weighed = (make_board(b).fit.strength for b in (spoiled, spoiled.weighed(np.where(noisy, 0.05, 1.0))))
    assert np.abs(weighed - clean).max() < 0.2 * np.abs(plain - clean).max()


def test_what_changes_a_rank_is_counted_in_votes_and_not_in_weight(ballots: Ballots) -> None:
    plain = swaps(make_board(ballots).fit)
    ones = swaps(make_board(ballots.weighed(np.ones(len(ballots)))).fit)
    light = swaps(make_board(ballots.weighed(np.full(len(ballots), 0.25))).fit)
    for first, same, lighter in zip(plain, ones, light, strict=True):
        assert first.removed is not None
        assert same.removed is not None
        assert lighter.removed is not None
        # To within the 2% that the search is for, and a vote.
        assert abs(same.removed - first.removed) <= 1 + first.removed // 25
        assert abs(lighter.removed - first.removed) <= 2 + first.removed // 10


@pytest.mark.parametrize("weights", [[1.0], [-1.0] * 600, [1.5] * 600, [float("nan")] * 600])
def test_weights_that_cannot_be_are_refused(ballots: Ballots, weights: list[float]) -> None:
    with pytest.raises(InvalidInput, match="600 votes need as many weights from 0 to 1"):
        ballots.weighed(weights)


def test_a_live_ranking_refuses_weights(ballots: Ballots) -> None:
    with pytest.raises(InvalidInput, match="counts every vote for 1"):
        LiveRanking(ballots.weighed(np.ones(len(ballots))))
