"""What came of rollouts: kinds, truth that another world knew, and a file that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from arena.contracts import Verdict
from arena.store import RolloutRecord, Store
from ui.outcomes import COLUMNS, DISAGREED, Outcome, as_csv, in_words, kinds, outcome, true_outcomes


def verdict(probability: float | None, abstained: bool = False, reason: str = "") -> Verdict:
    return Verdict("r", "judge", "j" * 64, probability, 50.0, reason, abstained=abstained)


@pytest.mark.parametrize(
    ("said", "found", "words"),
    [
        (verdict(0.9), Outcome.SUCCESS, "success (90%)"),
        (verdict(0.6), Outcome.FAILURE, "failure (60%)"),
        (verdict(None, abstained=True), Outcome.ABSTAINED, "abstained"),
        (verdict(None), Outcome.PROGRESS_ONLY, "progress only"),
        (None, Outcome.NO_VERDICT, "no verdict"),
    ],
)
def test_a_missing_verdict_is_never_a_failure(said: Verdict | None, found: Outcome, words: str) -> None:
    assert outcome(said, 0.7) is found
    assert in_words(said, 0.7) == words


@pytest.fixture
def rollouts(filled: Store) -> list[RolloutRecord]:
    return filled.results.rollouts("e" * 64)


def test_judge_and_truth_disagree_only_where_both_spoke(rollouts: list[RolloutRecord]) -> None:
    one = rollouts[0]
    assert kinds(one, verdict(0.9), 0.5, False) == {"judged a success", DISAGREED}
    assert kinds(one, verdict(0.9), 0.5, True) == {"judged a success"}
    assert kinds(one, verdict(0.9), 0.5, None) == {"judged a success"}
    assert kinds(one, verdict(None, abstained=True), 0.5, False) == {"abstained"}


def test_truth_comes_from_the_world_that_knew_the_same_beginning(rollouts: list[RolloutRecord]) -> None:
    imagined = [replace(each, id=f"i{n}", success=None) for n, each in enumerate(rollouts)]
    other_seed = replace(imagined[0], id="other", seed=imagined[0].seed + 1)
    found = true_outcomes([*imagined, other_seed], rollouts)
    assert found == {f"i{n}": each.success for n, each in enumerate(rollouts)}


def test_the_file_has_every_verdict_and_no_formula(rollouts: list[RolloutRecord]) -> None:
    evil = verdict(0.4, reason='=HYPERLINK("http://evil")')
    text = as_csv(rollouts[:2], {rollouts[0].id: [verdict(0.9), evil]})
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == COLUMNS
    assert [row["success_probability"] for row in rows] == ["0.9", "0.4", ""]
    assert rows[1]["reason"] == '\'=HYPERLINK("http://evil")'
    assert {row["rollout"] for row in rows} == {rollouts[0].id, rollouts[1].id}
