"""Audits of judges whose faults are known: what passes should see, and what fails should be seen to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from arena.contracts import Choice, InvalidInput, Rollout, Verdict
from arena.judges.abilities import Comparison
from arena.judges.audit import Audit, audit
from arena.judges.audit_probes import AuditTrial
from arena.judges.audit_rules import Share, balanced
from arena.judges.card import JudgeCard
from arena.judges.people import read_people
from arena.judges.planted import WORDS, injected_frames, injected_instruction
from tests.arena.judges.vlm.stub import rollout

CARD = JudgeCard()
TASKS = ("lift the cup", "close the drawer")


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arena.judges.agreement.DRAWS", 50)


def trial(index: int, success: bool) -> AuditTrial:
    """Successes end bright and failures dark; what came before says nothing."""
    words = TASKS[index % 2]
    shown = rollout(f"t{index}", words=words, success=success, shade=index % 7)
    frames = {name: film.copy() for name, film in shown.frames.items()}
    for film in frames.values():
        film[-1] = 250 if success else 5
    made = replace(shown, frames=frames)
    return AuditTrial(made.id, words, words, success, lambda: made)


TRIALS = [trial(index, index % 4 < 2) for index in range(48)]


@dataclass(frozen=True)
class By:
    """Judges by a function of the rollout; None abstains."""

    rule: Callable[[Rollout], float | None]
    card: JudgeCard = CARD
    name: str = "by"
    sha256: str = "0" * 64

    def judge(self, on: Rollout) -> Verdict:
        said = self.rule(on)
        return Verdict(on.id, self.name, self.sha256, said, None if said is None else 100 * said, "", said is None)


def last(on: Rollout) -> float:
    return float(on.frames["wrist"][-1].mean()) / 255


def seeing(on: Rollout) -> float | None:
    """Looks at the last frame and knows whose task is which; says nothing of other words, or where all is grey."""
    if on.instruction not in TASKS or on.frames["wrist"][0].std() < 1:
        return None
    return last(on) if on.instruction == TASKS[int(on.id[1:]) % 2] else 0.0


def outcomes(found: Audit) -> dict[str, str]:
    return {check.name: check.outcome for check in found.checks}


def test_a_judge_that_sees_passes() -> None:
    found = audit(By(seeing), TRIALS)
    assert found.passed
    assert outcomes(found)["sees"] == "passed"
    assert found.measures.accuracy == found.labels.kappa.value == found.labels.balanced_accuracy.value == 1.0
    assert found.labels.balanced_accuracy.low == pytest.approx(0.902, abs=0.002)
    assert found.floors["first_frame"].balanced_accuracy.value == pytest.approx(0.5)
    assert found.floors["instruction_only"].spoken == 0
    assert found.planted["still"].count == 0
    assert (found.noise.deviation, found.noise.flips.count, found.noise.times) == (0.0, 0, 2)
    assert found.order_swap is None
    assert outcomes(found)["order"] == "open"
    assert sum(part.trials for part in found.labels.calibration) == 48


def test_a_judge_that_needs_no_film_fails() -> None:
    """It remembers which trials succeeded by their names, as a model might by their first frames."""
    known = {each.id: each.success for each in TRIALS}
    found = audit(By(lambda on: float(known[on.id])), TRIALS)
    assert found.measures.accuracy == 1.0
    assert not found.passed
    assert outcomes(found)["sees"] == "failed"
    assert outcomes(found)["planted failures: still"] == "failed"
    assert found.floors["instruction_only"].balanced_accuracy.value == 1.0


def test_a_judge_that_hears_nothing_fails_by_the_shuffled_instruction() -> None:
    found = audit(By(last), TRIALS)
    assert found.floors["shuffled_instruction"].balanced_accuracy.value == 1.0
    assert "shuffled_instruction reaches" in found.checks[0].reason
    assert not found.passed


@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_a_judge_that_always_says_the_same_fails(constant: float) -> None:
    found = audit(By(lambda on: constant), TRIALS)
    assert not found.passed
    assert found.labels.balanced_accuracy.value == 0.5


def test_a_judge_that_says_nothing_fails_without_an_error() -> None:
    found = audit(By(lambda on: None), TRIALS)
    assert not found.passed
    assert found.checks[0].outcome == "failed"
    assert found.measures.abstained == 48
    json.dumps(found.as_json(), allow_nan=False)


def test_a_judge_that_reads_too_much_fails_by_the_words() -> None:
    def gullible(on: Rollout) -> float | None:
        return 1.0 if WORDS in on.instruction or on.frames["wrist"].shape[2] >= 200 else last(on)

    found = audit(By(gullible), TRIALS)
    assert outcomes(found)["injected words: instruction"] == outcomes(found)["injected words: frames"] == "failed"
    assert found.injected["frames"].value == 1.0


def test_planted_failures_of_policies_are_counted_by_kind() -> None:
    found = audit(By(seeing), TRIALS, planted={"hold": [trial(1, False)] * 12, "noise": [trial(0, True)] * 12})
    assert found.planted["hold"].count == 0
    assert found.planted["noise"].count == 12
    assert outcomes(found)["planted failures: noise"] == "failed"
    assert not found.passed


@dataclass(frozen=True)
class Comparing(By):
    """Compares by the last frames, or by the order alone."""

    honest: bool = True

    def compare(self, left: Rollout, right: Rollout) -> Comparison:
        better = Choice.LEFT if last(left) > last(right) else Choice.RIGHT
        return Comparison(
            left.id, right.id, self.name, self.sha256,
            in_order=better if self.honest else Choice.LEFT, swapped=better if self.honest else Choice.RIGHT,
        )  # fmt: skip


def test_a_preference_for_what_is_first_is_found() -> None:
    honest, biased = (audit(Comparing(seeing, honest=honest), TRIALS) for honest in (True, False))
    assert honest.order_swap is not None
    assert (honest.order_swap.consistent.value, honest.order_swap.right.value) == (1.0, 1.0)
    assert honest.passed
    assert biased.order_swap is not None
    assert (biased.order_swap.consistent.value, biased.order_swap.first_preferred.value) == (0.0, 1.0)
    assert outcomes(biased)["order"] == "failed"


@dataclass(frozen=True)
class Outspoken(By):
    """Abstains from what is blind, but could guess."""

    def guess(self, on: Rollout) -> float | None:
        return float(int(on.id[1:]) % 4 < 2)


def test_a_judge_that_abstains_is_made_to_guess_on_floors_only() -> None:
    found = audit(Outspoken(seeing), TRIALS)
    assert found.floors["instruction_only"].spoken == 48
    assert outcomes(found)["sees"] == "failed"
    assert found.planted["still"].count == 0


def test_labels_of_both_kinds_are_needed() -> None:
    with pytest.raises(InvalidInput, match="succeeded and trials that failed"):
        audit(By(seeing), [each for each in TRIALS if each.success])


def test_words_are_written_where_they_can_be_read() -> None:
    shown = rollout()
    lettered = injected_frames(shown).frames["exterior_1"]
    assert lettered.shape[0] == len(shown.frames["exterior_1"])
    assert lettered.shape[2] >= 240
    assert (lettered == 255).any()
    assert WORDS in injected_instruction(shown).instruction


def test_the_interval_of_balanced_accuracy() -> None:
    success = np.array([True] * 10 + [False] * 10)
    always = balanced(success, success)
    assert (always.value, always.high) == (1.0, 1.0)
    assert always.low == pytest.approx(1 - (1 - 0.7225) / np.sqrt(2), abs=1e-3)
    assert balanced(success[:10], success[:10]).value is None
    assert Share.of(0, 0).value is None


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_people_agree_with_each_other_and_with_the_judge(tmp_path: Path) -> None:
    rows = ["trial,voter,success"]
    for number, each in enumerate(TRIALS[:24]):
        rows += [f"{each.id},ann,{int(each.success)}", f"{each.id},bob,{int(each.success != (number < 3))}"]
    rows.append("elsewhere,ann,1")
    found = audit(By(seeing), TRIALS, people=read_people(write(tmp_path / "v.csv", "\n".join(rows)))).people
    assert found is not None
    assert (found.what, found.voters, found.votes, found.units, found.elsewhere) == ("trials", 2, 48, 24, 1)
    assert found.kappa.value == 1.0
    assert found.among_people.value == pytest.approx(0.755, abs=0.01)
    assert found.with_judge.value is not None
    assert found.with_judge.value > found.among_people.value


def test_people_may_have_compared_pairs(tmp_path: Path) -> None:
    rows = ["left,right,voter,choice"]
    for success, failure in zip(TRIALS[:20:4], TRIALS[2:22:4], strict=True):
        rows += [f"{success.id},{failure.id},ann,left", f"{failure.id},{success.id},bob,right"]
    found = audit(By(seeing), TRIALS, people=read_people(write(tmp_path / "v.csv", "\n".join(rows)))).people
    assert found is not None
    assert (found.what, found.units, found.voters) == ("pairs", 5, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2", "first row must name trial,voter,success or left,right,voter,choice"),
        ("", "first row must name"),
        ("trial,voter,success\nt,ann,yes", "row 2: success is 'yes', it must be 0, 1"),
        ("trial,voter,success\nt,ann,1\nt,ann,0", "row 3: this voter's word"),
        ("trial,voter,success\nt,,1", "row 2: '' is not a name"),
        ("trial,voter,success\nt,ann", "row 2: 2 values under 3"),
        ("left,right,voter,choice\na,b,v,better", "choice is 'better', it must be one of left, right, tie, both_bad"),
        ("left,right,voter,choice\na,a,v,left", "not compared with itself"),
        ("left,right,voter,choice\na,b,v,left\nb,a,v,left", "row 3: this voter's word"),
    ],
)
def test_bad_votes_are_refused_by_row(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_people(write(tmp_path / "v.csv", text))
    with pytest.raises(InvalidInput, match="does not exist"):
        read_people(tmp_path / "absent.csv")
