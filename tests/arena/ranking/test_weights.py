"""Weighed votes: a weight of two is the same vote cast twice, and a weight of nothing is no vote."""

from __future__ import annotations

import numpy as np
import pytest

from arena.contracts import InvalidInput
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


def test_a_weight_of_two_is_the_same_vote_cast_twice(ballots: Ballots) -> None:
    heavy = ballots.voter.codes % 3 == 0
    weighed = make_board(ballots.weighed(np.where(heavy, 2.0, 1.0)), cluster_by="voter")
    doubled = make_board(_twice(ballots, heavy), cluster_by="voter")
    np.testing.assert_allclose(weighed.fit.strength, doubled.fit.strength, atol=1e-8)
    np.testing.assert_allclose(weighed.fit.covariance, doubled.fit.covariance, atol=1e-8)
    assert [(p.name, p.rank_low, p.rank_high) for p in weighed.policies] == [
        (p.name, p.rank_low, p.rank_high) for p in doubled.policies
    ]
    np.testing.assert_allclose(
        bootstrap(weighed.fit, 100, seed=1).strength, bootstrap(doubled.fit, 100, seed=1).strength, atol=1e-8
    )
    # Cast once, however heavy: what is shown as a number of votes is how many people gave.
    assert sum(p.votes for p in weighed.policies) == 2 * len(ballots)


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


def test_what_changes_a_rank_is_counted_in_whole_votes(ballots: Ballots) -> None:
    equal, light = (swaps(make_board(ballots.weighed(np.full(len(ballots), w))).fit) for w in (1.0, 0.25))
    for heavy, lighter in zip(equal, light, strict=True):
        assert heavy.votes is not None
        assert lighter.votes is not None
        assert lighter.votes <= heavy.votes


@pytest.mark.parametrize("weights", [[1.0], [-1.0] * 600, [float("nan")] * 600])
def test_weights_that_cannot_be_are_refused(ballots: Ballots, weights: list[float]) -> None:
    with pytest.raises(InvalidInput, match="600 votes need as many finite weights"):
        ballots.weighed(weights)


def test_a_live_ranking_refuses_weights(ballots: Ballots) -> None:
    with pytest.raises(InvalidInput, match="counts every vote for 1"):
        LiveRanking(ballots.weighed(np.ones(len(ballots))))
