"""What came of rollouts: in words, sorted by kind, and as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from enum import StrEnum

from arena.contracts import Verdict
from arena.store import RolloutRecord
from ui.stored import percent

COLUMNS = (
    "rollout", "policy", "world", "task", "scene", "seed", "instruction", "frames", "fps", "judge", "judge_sha256",
    "abstained", "success_probability", "progress", "reason", "true_success", "code",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Outcome(StrEnum):
    """What a judge said. A missing verdict is missing, and never a failure."""

    SUCCESS = "judged a success"
    FAILURE = "judged a failure"
    ABSTAINED = "abstained"
    PROGRESS_ONLY = "progress only"
    NO_VERDICT = "no verdict"


DISAGREED = "judge and truth disagree"


def outcome(verdict: Verdict | None, threshold: float) -> Outcome:
    if verdict is None:
        return Outcome.NO_VERDICT
    if verdict.abstained:
        return Outcome.ABSTAINED
    if verdict.success_probability is None:
        return Outcome.PROGRESS_ONLY
    return Outcome.SUCCESS if verdict.success_probability >= threshold else Outcome.FAILURE


def in_words(verdict: Verdict | None, threshold: float) -> str:
    """Short, with the probability where there is one."""
    found = outcome(verdict, threshold)
    if verdict is None or found not in (Outcome.SUCCESS, Outcome.FAILURE):
        return found.value
    return f"{found.value.removeprefix('judged a ')} ({percent(verdict.success_probability)})"


def kinds(rollout: RolloutRecord, verdict: Verdict | None, threshold: float, truth: bool | None) -> set[str]:
    """What a rollout can be found by; `truth` is whether it truly succeeded, where that is known."""
    found = outcome(verdict, threshold)
    said = {Outcome.SUCCESS: True, Outcome.FAILURE: False}.get(found)
    disagreed = said is not None and truth is not None and said != truth
    return {found.value, *([DISAGREED] if disagreed else [])}


def true_outcomes(rollouts: Sequence[RolloutRecord], known: Sequence[RolloutRecord]) -> dict[str, bool]:
    """Whether each of `rollouts` truly succeeded, by id, where its world knew, or that of a rollout among `known` that
    the very same policy did from the same scene with the same seed for as long. Nothing where such rollouts differ.
    """
    truth: dict[tuple[object, ...], set[bool]] = {}
    for each in known:
        if each.success is not None:
            truth.setdefault(_trial(each), set()).add(each.success)
    found = {}
    for each in rollouts:
        said = truth.get(_trial(each), set()) if each.success is None else {each.success}
        if len(said) == 1:
            found[each.id] = next(iter(said))
    return found


def _trial(each: RolloutRecord) -> tuple[object, ...]:
    return each.policy, each.provenance.policy, each.scene_id, each.seed, each.frames


def as_csv(rollouts: Sequence[RolloutRecord], verdicts: Mapping[str, Sequence[Verdict]]) -> str:
    """One row for each verdict on `rollouts`, and one without for those that no judge spoke of."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for each in rollouts:
        for verdict in verdicts.get(each.id) or [None]:
            said = ["", "", "", "", "", ""] if verdict is None else [
                verdict.judge, verdict.judge_sha256, verdict.abstained, verdict.success_probability, verdict.progress,
                verdict.reason,
            ]  # fmt: skip
            row = [each.id, each.policy, each.world, each.task, each.scene_id, each.seed, each.instruction,
                   each.frames, each.fps, *said, each.success, each.provenance.code]  # fmt: skip
            writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def _cell(value: object) -> str:
    """Text that a spreadsheet does not take for a formula: names, instructions and reasons are not ours."""
    text = "" if value is None else str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA) else text
