"""Leaderboards from rollouts and verdicts."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from arena.contracts import InvalidInput, RankedPolicy, Ranking, Verdict
from arena.leaderboard import Rate, build_leaderboard, headline


@dataclass(frozen=True)
class Trial:
    id: str
    policy: str
    scene_id: str
    success: bool | None = None
    world: str = "dream"
    seed: int = 0


def verdict(trial: Trial, probability: float | None, progress: float | None = None, judge: str = "judge") -> Verdict:
    return Verdict(trial.id, judge, judge, probability, progress, abstained=probability is None)


def trials(policy: str, scenes: int, success: bool | None = None) -> list[Trial]:
    return [Trial(f"{policy}-{i}", policy, f"scene-{i}", success) for i in range(scenes)]


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_intervals_are_those_of_statsmodels(counts: tuple[int, int]) -> None:
    successes, n = counts
    expected = proportion_confint(successes, n, alpha=0.05, method="wilson")
    assert Rate(successes, n).interval == pytest.approx(expected, abs=1e-12)


def test_without_a_trial_everything_is_possible() -> None:
    assert Rate(0, 0).share is None
    assert Rate(0, 0).interval == (0.0, 1.0)


def test_the_better_policy_comes_first_with_its_rates() -> None:
    good, bad = trials("good", 12), trials("bad", 12)
    verdicts = [verdict(t, 0.9, 100.0) for t in good] + [verdict(t, 0.1, 20.0) for t in bad]
    truth = trials("good", 4, True) + trials("bad", 3, False) + trials("good", 2, None)
    board = build_leaderboard([*bad, *good], verdicts, truth=truth)
    assert [p.policy for p in board.policies] == [p.policy for p in board.ranking.policies] == ["good", "bad"]
    assert board.policies[0].judged == Rate(12, 12)
    assert board.policies[1].judged == Rate(0, 12)
    assert board.policies[1].progress == 20.0
    assert (board.policies[0].true, board.policies[1].true) == (Rate(4, 4), Rate(0, 3))
    assert board.ranking.judge == "judge"


def test_an_abstention_is_no_failure_and_is_said() -> None:
    good, bad = trials("good", 3), trials("bad", 3)
    verdicts = [verdict(good[0], None), *(verdict(t, 0.9) for t in good[1:]), *(verdict(t, 0.1) for t in bad[:2])]
    board = build_leaderboard([*good, *bad], verdicts)
    summary = {p.policy: p for p in board.policies}
    assert summary["good"].judged == Rate(2, 2)
    assert (summary["good"].abstentions, summary["good"].rollouts) == (1, 3)
    assert summary["bad"].judged == Rate(0, 2)
    assert "1 rollouts have no verdict yet" in board.ranking.notes
    assert "the judge abstained on 1 rollouts, which leaves out 1 comparisons" in board.ranking.notes


def test_two_judges_are_not_mixed() -> None:
    own = trials("good", 2)
    with pytest.raises(InvalidInput, match=r"one judge, not of a \(a\), b \(b\)"):
        build_leaderboard(own, [verdict(own[0], 1.0, judge="a"), verdict(own[1], 1.0, judge="b")])


def test_policies_without_verdicts_are_listed_apart() -> None:
    board = build_leaderboard([*trials("a", 2), *trials("b", 2)], [])
    assert [p.policy for p in board.policies] == ["a", "b"]
    assert board.ranking.groups == (("a",), ("b",))
    assert board.policies[0].judged == Rate(0, 0)
    assert board.policies[0].progress is None


def test_a_judge_without_calibration_ranks_by_progress_and_claims_no_success() -> None:
    far, near = trials("far", 8), trials("near", 8)
    verdicts = [Verdict(t.id, "judge", "judge", None, 80.0 if t in far else 10.0) for t in [*far, *near]]
    board = build_leaderboard([*far, *near], verdicts)
    assert [p.policy for p in board.policies] == ["far", "near"]
    assert board.ranking.comparisons == 8
    assert [p.judged for p in board.policies] == [Rate(0, 0), Rate(0, 0)]


def ranking(*ranks: tuple[str, int, int], groups: int = 1) -> Ranking:
    places = tuple(RankedPolicy(name, low, high, 0.0, -1.0, 1.0, 3) for name, low, high in ranks)
    return Ranking(places, tuple((p.policy,) for p in places[:groups]), comparisons=3)


def test_the_headline_claims_no_more_than_the_ranking() -> None:
    assert headline(ranking(("a", 1, 1), ("b", 2, 2))) == "a is the best of 2 policies."
    assert headline(ranking(("a", 1, 2), ("b", 1, 2), ("c", 3, 3))) == "a leads, but is not told apart from b."
    many = [(name, 1, 5) for name in "abcde"]
    assert headline(ranking(*many)) == "a leads, but is not told apart from b, c and 2 others."
    assert "no overall winner" in headline(ranking(("a", 1, 2), ("b", 1, 2), groups=2))
    assert headline(ranking(("a", 1, 1))) == "Nothing was compared yet."
