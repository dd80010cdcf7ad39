"""Intervals against known truth: 95% of them must hold it, also when a third of the voters press any key.

An interval is of `Crowd.target`: what endless votes of the same crowd would be fitted with. Random voters are part
of the crowd, so they pull the target together; they may not make the interval miss it.
"""

from __future__ import annotations

import numpy as np
import pytest

from arena.ranking.anytime import FIRST_LOOK, anytime_places, verdict
from arena.ranking.bootstrap import bootstrap
from arena.ranking.fit import fit, prepare
from arena.ranking.ranks import Places, places
from tests.arena.ranking.simulating import Crowd, Floats

EIGHT = tuple(np.linspace(-1, 1, 8).tolist())
CROWDS = {
    "all follow the model": Crowd(EIGHT),
    "a third is random": Crowd(EIGHT, random=1 / 3),
    "voters differ": Crowd(EIGHT, spread=0.7),
    "many voters with five votes, a third random": Crowd(EIGHT, voters=300, each=5, random=1 / 3),
    "thirty voters, a third random": Crowd(EIGHT[::2], voters=30, each=30, random=1 / 3),
    "twenty policies, a third random": Crowd(tuple(np.linspace(-1, 1, 20).tolist()), 100, 40, random=1 / 3),
}


def holds(found: Places, truth: Floats) -> np.ndarray:
    return (found.low <= truth) & (truth <= found.high)


def right_places(found: Places, truth: Floats) -> bool:
    """Whether all are in their places at once: no one is told to be better who is not."""
    return not (found.better & (truth[:, None] <= truth[None, :] + 1e-9)).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", CROWDS)
def test_95_percent_of_intervals_hold_the_truth(name: str) -> None:
    crowd = CROWDS[name]
    truth, held, placed = crowd.target(), [], []
    for seed in range(1000):
        found = places(fit(prepare(crowd.votes(seed))))
        held.append(holds(found, truth))
        placed.append(right_places(found, truth))
    print(f"{name}: intervals {np.mean(held):.3f}, all places at once {np.mean(placed):.3f}")
    assert 0.93 <= np.mean(held) <= 0.97
    assert np.mean(placed) >= 0.94


@pytest.mark.parametrize("name", ["all follow the model", "a third is random"])
def test_coverage_in_short(name: str) -> None:
    crowd = CROWDS[name]
    truth = crowd.target()
    held = [holds(places(fit(prepare(crowd.votes(seed)))), truth) for seed in range(150)]
    # Two standard errors of 150 sets of eight correlated intervals are 1.5%.
    assert 0.92 <= np.mean(held) <= 0.98


def test_random_voters_pull_the_target_together() -> None:
    clean, mixed = Crowd(EIGHT).target(), Crowd(EIGHT, random=1 / 3).target()
    np.testing.assert_allclose(clean, EIGHT, atol=1e-5)
    assert (np.diff(mixed) > 0).all()
    assert np.ptp(mixed) < 0.75 * np.ptp(clean)


def test_equal_policies_are_not_told_apart() -> None:
    crowd = Crowd((0.0,) * 6, voters=40, each=30, spread=0.7)
    wrong = [places(fit(prepare(crowd.votes(seed)))).better.any() for seed in range(120)]
    assert np.mean(wrong) <= 0.1


def test_few_voters_err_on_the_wide_side() -> None:
    crowd = Crowd(EIGHT, voters=15, each=100, random=1 / 3)
    truth = crowd.target()
    assert np.mean([holds(places(fit(prepare(crowd.votes(seed)))), truth) for seed in range(60)]) >= 0.95


def test_the_bootstrap_agrees_with_the_sandwich() -> None:
    found = fit(prepare(Crowd(EIGHT, random=1 / 3, voters=120).votes(0)))
    drawn = bootstrap(found, 300)
    np.testing.assert_allclose(drawn.strength.std(0), found.error, rtol=0.2)
    low, high = drawn.interval(0.05)
    assert (low < found.strength).all()
    assert (high > found.strength).all()
    assert drawn.first_place().sum() == pytest.approx(1)
    assert drawn.first_place().argmax() == 7


def looks(crowd: Crowd, seed: int, count: int) -> list[int]:
    """After how many voters to look, evenly on a log scale from the first allowed look on."""
    return np.unique(np.geomspace(FIRST_LOOK, crowd.voters, count).astype(int)).tolist()


def peeked(crowd: Crowd, sets: int, count: int) -> tuple[float, float, float]:
    """Over many looks at growing votes, how often any of them missed.

    Of places by sequences and by single looks, and of the first policy's sequence.
    """
    truth = crowd.target()
    wrong = np.zeros((sets, 3), dtype=bool)
    for seed in range(sets):
        votes = crowd.votes(seed)
        for voters in looks(crowd, seed, count):
            found = fit(prepare(votes.taken(votes.voter.codes < voters)))
            always, once = anytime_places(found), places(found)
            missed = not holds(always, truth)[0]
            wrong[seed] |= [not right_places(always, truth), not right_places(once, truth), missed]
    sequences, single, interval = wrong.mean(0).tolist()
    return sequences, single, interval


@pytest.mark.slow
def test_looking_all_the_time_keeps_the_error_rate() -> None:
    sequences, single, interval = peeked(Crowd((0.0,) * 4, voters=300, each=10, spread=0.5), sets=400, count=30)
    print(
        f"some pair told apart wrongly: by sequences {sequences}, by single looks {single}; interval missed {interval}"
    )
    assert sequences <= 0.05
    assert interval <= 0.05
    # Which is what sequences are for: single looks, added up, err far more often.
    assert single > 0.1


def test_looking_all_the_time_in_short() -> None:
    sequences, _, interval = peeked(Crowd((0.0,) * 4, voters=200, each=10, spread=0.5), sets=20, count=10)
    assert sequences <= 0.08
    assert interval <= 0.12


def test_votes_stop_when_the_order_is_settled_and_not_before() -> None:
    crowd = Crowd((-2.0, 0.0, 2.0), voters=120, each=20)
    votes = crowd.votes(0)
    said = {}
    for voters in (FIRST_LOOK - 1, FIRST_LOOK, 120):
        found = fit(prepare(votes.taken(votes.voter.codes < voters)))
        said[voters] = verdict(found, anytime_places(found))
    assert said[FIRST_LOOK - 1].too_early
    assert not said[FIRST_LOOK - 1].stop
    assert said[120].stop
    assert said[120].best == "p2"
    equal = fit(prepare(Crowd((0.0, 0.0, 1.0), voters=60).votes(1)))
    told = verdict(equal, anytime_places(equal))
    assert not told.stop
    assert any(set(pair) == {"p0", "p1"} for pair in told.undecided)
