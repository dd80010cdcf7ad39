"""From verdicts to comparisons: who wins, what is a tie, and what is missing."""

from __future__ import annotations

from collections import Counter

import pytest

from arena.contracts import Choice, InvalidInput, Verdict
from arena.pairing import JudgedRollout, compare, pair_verdicts


def verdict(probability: float | None, progress: float | None = 50.0, *, name: str = "r", judge: str = "j") -> Verdict:
    return Verdict(name, judge, "0" * 64, probability, progress)


def judged(
    policy: str, probability: float | None, *, scene: str = "s", seed: int = 0, judge: str = "j"
) -> JudgedRollout:
    """A rollout with its verdict: an abstention where there is no probability."""
    name = f"{policy}-{scene}-{seed}"
    if probability is None:
        said = Verdict(name, judge, "0" * 64, None, None, "unlike anything seen", abstained=True)
    else:
        said = verdict(probability, name=name, judge=judge)
    return JudgedRollout(policy, "world", scene, seed, said)


@pytest.mark.parametrize(
    ("left", "right", "choice"),
    [
        (verdict(0.9, 40), verdict(0.1, 90), Choice.LEFT),
        (verdict(0.5, 40), verdict(0.49, 40), Choice.LEFT),
        (verdict(0.1), verdict(0.9), Choice.RIGHT),
        (verdict(0.9, 100), verdict(0.6, 20), Choice.TIE),
        (verdict(0.1, 60), verdict(0.4, 20), Choice.LEFT),
        (verdict(0.1, 20), verdict(0.1, 60), Choice.RIGHT),
        (verdict(0.1, 55), verdict(0.2, 50), Choice.BOTH_BAD),
        (verdict(0.1, None), verdict(0.2, 50), Choice.BOTH_BAD),
    ],
)
def test_rule(left: Verdict, right: Verdict, choice: Choice) -> None:
    assert compare(left, right) == choice


@pytest.mark.parametrize(
    ("left", "right", "choice"),
    [
        (verdict(None, 60), verdict(None, 20), Choice.LEFT),
        (verdict(None, 20), verdict(0.9, 60), Choice.RIGHT),
        (verdict(None, 55), verdict(None, 50), Choice.TIE),
    ],
)
def test_progress_decides_without_probabilities(left: Verdict, right: Verdict, choice: Choice) -> None:
    assert compare(left, right) == choice


def test_the_threshold_is_the_judges() -> None:
    assert compare(verdict(0.5), verdict(0.2), threshold=0.1) == Choice.TIE
    assert compare(verdict(0.5), verdict(0.2), threshold=0.4) == Choice.LEFT


def test_every_two_policies_meet_once_per_scene_seed_and_judge() -> None:
    items = [
        judged(policy, 0.9 if policy == "a" else 0.1, scene=scene, seed=seed, judge=judge)
        for policy in "abc"
        for scene in ("s1", "s2")
        for seed in (0, 1)
        for judge in ("j1", "j2")
    ]
    pairing = pair_verdicts(items)
    assert Counter((v.scene_id, v.voter) for v in pairing.votes) == {
        (scene, judge): 6 for scene in ("s1", "s2") for judge in ("j1", "j2")
    }
    for vote in pairing.votes:
        winner = {Choice.LEFT: vote.left, Choice.RIGHT: vote.right}.get(vote.choice)
        assert winner == ("a" if "a" in (vote.left, vote.right) else None)


def test_other_scenes_seeds_and_repeats_of_one_policy_are_not_paired() -> None:
    items = [judged("a", 0.9), judged("b", 0.1, scene="t"), judged("c", 0.1, seed=1), judged("a", 0.2)]
    assert pair_verdicts(items).votes == ()


def test_an_abstention_is_missing_not_a_failure() -> None:
    pairing = pair_verdicts([judged("a", None), judged("b", 0.1), judged("c", 0.9)])
    assert [{vote.left, vote.right} for vote in pairing.votes] == [{"b", "c"}]
    assert (pairing.abstentions, pairing.missing) == (1, 2)


def test_sides_are_fair_and_do_not_depend_on_the_order_of_rollouts() -> None:
    items = [judged(policy, 0.9, scene=f"s{n}") for n in range(200) for policy in "ab"]
    pairing = pair_verdicts(items)
    assert 70 < sum(vote.left == "a" for vote in pairing.votes) < 130
    assert pair_verdicts(reversed(items)) == pairing


def test_a_verdict_that_says_nothing_and_is_no_abstention_is_refused() -> None:
    broken = JudgedRollout("a", "world", "s", 0, Verdict("r", "j", "", None, None))
    with pytest.raises(InvalidInput, match="says nothing"):
        pair_verdicts([broken, judged("b", 0.5)])
