"""An evaluator against reality: all that `dreamarena validate` says, from two sets of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from arena.contracts import InvalidInput
from arena.validation import notes
from arena.validation.agreement import MEASURES, drop_one
from arena.validation.calibration import Calibration, Forecasts, forecasts
from arena.validation.measures import ALL, CALIBRATION, FEWEST_POLICIES, Measured, measure_all
from arena.validation.scores import CellScores, PolicyScores, cell_scores, policy_scores
from arena.validation.separation import Separation, separations
from arena.validation.shares import Estimate
from arena.validation.table import Table, listed, over_tasks, rounded, tabulate
from arena.validation.trials import Results

DRAWS = 2000
FEWEST_DRAWS, MOST_DRAWS = 100, 100_000


@dataclass(frozen=True)
class WithoutOne:
    """Pearson's r when `policy` is left out, or None where it is not defined."""

    policy: str
    pearson: float | None


@dataclass(frozen=True)
class DropOne:
    """How far Pearson's r depends on a single policy: its range over all `without` one."""

    min: float | None
    max: float | None
    without: tuple[WithoutOne, ...]


@dataclass(frozen=True)
class TaskAgreement:
    """The measures in one task; all but optimism have no value for fewer than `FEWEST_POLICIES` policies."""

    task: str
    policies: int
    pearson: Estimate
    spearman: Estimate
    kendall: Estimate
    mmrv: Estimate
    optimism: Estimate
    scores: tuple[CellScores, ...]


@dataclass(frozen=True)
class Validation:
    """How far an evaluator can be trusted, as plain data: `dataclasses.asdict` gives the command's JSON.

    `evaluator`, `real`, `seed` and `draws` are what every number came from.
    """

    pearson: Estimate
    spearman: Estimate
    kendall: Estimate
    mmrv: Estimate
    optimism: Estimate
    drop_one: DropOne
    calibration: Calibration | None
    policies: int
    preliminary: bool
    scores: tuple[PolicyScores, ...]
    tasks: tuple[TaskAgreement, ...]
    separation: tuple[Separation, ...]
    notes: tuple[str, ...]
    evaluator: Mapping[str, str]
    real: Mapping[str, str]
    seed: int
    draws: int


def validate(*, evaluator: Results, real: Results, seed: int = 0, draws: int = DRAWS) -> Validation:
    """Compare an evaluator with reality. The sides can only be given by name, so they cannot be swapped.

    Intervals are 95% and speak of other scenes, for these policies in these tasks; `seed` decides the `draws` of their
    bootstrap. Raises `InvalidInput` for fewer than three policies that both sides have, for real outcomes that are not
    0 or 1, and for too few or too many draws.
    """
    _check(real, seed, draws)
    table = tabulate(evaluator=evaluator, real=real)
    if len(table.policies) < FEWEST_POLICIES:
        raise InvalidInput(_too_few(evaluator, real, table))
    pairs = forecasts(table)
    measured = measure_all(table, pairs, seed, draws)
    in_tasks = [scores[0] for scores in table.scores(np.ones((len(table.scenes), 1)))]
    scores = policy_scores(table, *map(over_tasks, in_tasks))
    tasks = tuple(
        TaskAgreement(
            name,
            int(table.cells[:, task].sum()),
            **_agreement(measured, task),
            scores=cell_scores(table, task, *map(rounded, in_tasks)),
        )
        for task, name in enumerate(table.tasks)
    )
    return Validation(
        **_agreement(measured, ALL),
        drop_one=_drop_one(scores),
        calibration=_calibration(pairs, measured),
        policies=len(table.policies),
        preliminary=len(table.policies) < notes.ENOUGH_POLICIES,
        scores=scores,
        tasks=tasks,
        separation=_separation(scores),
        notes=(*notes.of_results(evaluator, real, table), *notes.of_numbers(table, measured, scores, draws)),
        evaluator=evaluator.source,
        real=real.source,
        seed=seed,
        draws=draws,
    )


def _check(real: Results, seed: int, draws: int) -> None:
    if not FEWEST_DRAWS <= draws <= MOST_DRAWS:
        raise InvalidInput(f"a bootstrap needs {FEWEST_DRAWS} to {MOST_DRAWS} draws, not {draws}")
    if seed < 0:
        raise InvalidInput(f"a seed is 0 or more, not {seed}")
    wrong = next((trial for trial in real.trials if trial.success not in (0.0, 1.0, None)), None)
    if wrong is not None:
        raise InvalidInput(
            f"{real.name} has success {wrong.success} for a real trial, which must be 0 or 1: is it the evaluator's?"
        )


def _too_few(evaluator: Results, real: Results, table: Table) -> str:
    both, said, came = (
        listed(sorted(names))
        for names in (table.policies, *({trial.policy for trial in side.trials} for side in (evaluator, real)))
    )
    return (
        f"a correlation needs at least {FEWEST_POLICIES} policies with outcomes on both sides, not "
        f"{len(table.policies)} ({both}): the evaluator has {said}; reality has {came}"
    )


def _agreement(measured: Measured, task: int) -> dict[str, Estimate]:
    return {name: measured.estimate(task, name) for name in MEASURES}


def _calibration(pairs: Forecasts, measured: Measured) -> Calibration | None:
    if not len(pairs.scene):
        return None
    return Calibration(measured.estimate(ALL, CALIBRATION), len(pairs.scene), pairs.bins())


def _drop_one(scores: Sequence[PolicyScores]) -> DropOne:
    """Of three policies two would be left, which no correlation is given of."""
    if len(scores) <= FEWEST_POLICIES:
        return DropOne(None, None, ())
    sides = {
        side: np.array([getattr(row, side).value for row in scores], dtype=float) for side in ("evaluator", "real")
    }
    found = [None if np.isnan(r) else float(r) for r in drop_one(**sides)]
    known = [r for r in found if r is not None]
    without = tuple(WithoutOne(row.policy, r) for row, r in zip(scores, found, strict=True))
    return DropOne(min(known, default=None), max(known, default=None), without)


def _separation(scores: Sequence[PolicyScores]) -> tuple[Separation, ...]:
    rates = [row.real.value or 0.0 for row in scores]
    return separations([row.policy for row in scores], rates, [row.trials.real for row in scores])
