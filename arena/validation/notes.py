"""What limits a comparison, in words: who was left out, what is missing, what could not be had."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from arena.validation.agreement import CORRELATIONS, MEASURES
from arena.validation.measures import ALL, CALIBRATION, FEWEST_POLICIES, Measured, scenes_enough
from arena.validation.prediction_powered import FEWEST_PAIRS
from arena.validation.scores import PolicyScores
from arena.validation.table import Table
from arena.validation.trials import Results

ENOUGH_POLICIES = 7
"""Below this a correlation is called preliminary."""
PLURAL = {"policy": "policies", "task": "tasks"}


def of_results(evaluator: Results, real: Results, table: Table) -> list[str]:
    """What became of the trials: every policy, task and cell that is not part of the comparison is named."""
    notes = []
    if evaluator.source == real.source:
        notes.append("evaluator and real are the same results, which therefore agree")
    for what, kept in (("policy", table.policies), ("task", table.tasks)):
        said, came = ({getattr(trial, what) for trial in side.trials} for side in (evaluator, real))
        notes += _left_out(what, said - came, "only in the evaluator's results")
        notes += _left_out(what, came - said, "only in the real results")
        notes += _left_out(what, (said & came) - set(kept), "without an outcome on both sides")
    absent = [*_absent_cells(table)]
    if absent:
        notes.append(
            f"not every policy was tried in every task by both sides, so that scores differ by the tasks too: "
            f"{', '.join(absent)} left out"
        )
    for name, side in (("evaluator", evaluator), ("real", real)):
        if missing := sum(trial.success is None for trial in side.trials):
            notes.append(f"{missing} of {len(side.trials)} {name} trials have no outcome: missing, not failures")
    return notes


def of_numbers(table: Table, measured: Measured, scores: Sequence[PolicyScores], draws: int) -> list[str]:
    """Which numbers are weak, and which are not there, and why."""
    notes = []
    if len(scores) < ENOUGH_POLICIES:
        notes.append(
            f"preliminary: {len(scores)} policies; fewer than {ENOUGH_POLICIES} say little about a correlation"
        )
    if len(scores) == FEWEST_POLICIES:
        notes.append("dropping one of 3 policies leaves 2, which have no correlation")
    if not scenes_enough(table, ALL):
        notes.append("one side has outcomes in a single scene, which cannot say how scenes differ: no intervals")
    if (ALL, CALIBRATION) not in measured.estimates:
        notes.append(
            "no policy was tried in the same scene on both sides: intervals take the sides for independent, and there "
            "is no calibration"
        )
    for side in ("evaluator", "real"):
        if len({getattr(row, side).value for row in scores}) == 1:
            notes.append(f"all policies have the same {side} score, so that no correlation is defined")
    for name in MEASURES:
        if undefined := measured.undefined[ALL, name]:
            notes.append(f"{name} is not defined in {undefined} of {draws} draws, which its interval leaves out")
    return [*notes, *_undefined_tasks(table, measured), *_uncorrected(scores)]


def _left_out(what: str, names: Collection[str], why: str) -> list[str]:
    noun = what if len(names) == 1 else PLURAL[what]
    return [f"left out, {why}: {noun} {', '.join(sorted(names))}"] if names else []


def _absent_cells(table: Table) -> Iterator[str]:
    for policy, cells in zip(table.policies, table.cells, strict=True):
        yield from (f"{policy} in {task}" for task, both in zip(table.tasks, cells, strict=True) if not both)


def _undefined_tasks(table: Table, measured: Measured) -> list[str]:
    few = [name for name, policies in zip(table.tasks, table.cells.sum(0), strict=True) if policies < FEWEST_POLICIES]
    flat = [
        name
        for task, name in enumerate(table.tasks)
        if name not in few and any(measured.estimate(task, measure).value is None for measure in CORRELATIONS)
    ]
    notes = []
    if few:
        notes.append(f"no correlation within {', '.join(few)}: fewer than {FEWEST_POLICIES} policies")
    if flat:
        notes.append(f"no correlation within {', '.join(flat)}: all policies have the same score on one side")
    return notes


def _uncorrected(scores: Sequence[PolicyScores]) -> list[str]:
    names = [row.policy for row in scores if row.corrected is None]
    if not names:
        return []
    return [
        f"no corrected rate of {', '.join(names)}: it takes {FEWEST_PAIRS} scenes that both sides tried, and one in "
        f"each task"
    ]
