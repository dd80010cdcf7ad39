"""Each policy's success rate as the evaluator and reality have it, alone and together, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray
from arena.validation.prediction_powered import FEWEST_PAIRS, Corrected, prediction_powered
from arena.validation.shares import Estimate, share_interval, spread
from arena.validation.strata import strata
from arena.validation.table import Side, Table


@dataclass(frozen=True)
class Counts:
    """Numbers of trials on both sides."""

    evaluator: int
    real: int


@dataclass(frozen=True)
class PolicyScores:
    """One policy. `corrected` is None with too few scenes that both sides tried; `missing` trials have no outcome."""

    policy: str
    evaluator: Estimate
    real: Estimate
    corrected: Corrected | None
    trials: Counts
    missing: Counts


@dataclass(frozen=True)
class CellScores:
    """One policy in one task."""

    policy: str
    evaluator: Estimate
    real: Estimate


def policy_scores(table: Table, evaluator: FloatArray, real: FloatArray) -> tuple[PolicyScores, ...]:
    """Best in reality first. `evaluator` and `real` are the `(K,)` scores."""
    found = [
        PolicyScores(
            name,
            _rate(float(evaluator[policy]), table.evaluator, table.evaluator.policy == policy),
            _rate(float(real[policy]), table.real, table.real.policy == policy),
            correct(table, policy),
            Counts(_count(table.evaluator, "trials", policy), _count(table.real, "trials", policy)),
            Counts(_count(table.evaluator, "missing", policy), _count(table.real, "missing", policy)),
        )
        for policy, name in enumerate(table.policies)
    ]
    return tuple(sorted(found, key=lambda scores: (-(scores.real.value or 0.0), scores.policy)))


def cell_scores(table: Table, task: int, evaluator: FloatArray, real: FloatArray) -> tuple[CellScores, ...]:
    """The policies that both sides have in a task, in the table's order. `evaluator` and `real` are `(K, T)`."""
    return tuple(
        CellScores(
            name,
            *(
                _rate(float(scores[policy, task]), side, (side.policy == policy) & (side.task == task))
                for side, scores in ((table.evaluator, evaluator), (table.real, real))
            ),
        )
        for policy, name in enumerate(table.policies)
        if table.cells[policy, task]
    )


def correct(table: Table, policy: int) -> Corrected | None:
    """The prediction-powered estimate of a policy, or None where too few scenes were tried by both sides.

    Where the evaluator was asked and has no verdict, its mean in the task stands for one, which says nothing: so scenes
    that it abstains from stay part of what is estimated.
    """
    said, came = _values(table.evaluator, policy), _values(table.real, policy)
    tasks, task = np.unique(said.task, return_inverse=True)
    known = ~np.isnan(said.value)
    means = np.bincount(task[known], said.value[known]) / np.bincount(task[known])
    value = np.where(known, said.value, means[task])
    outcome = {scene: value for scene, value in zip(came.scene, came.value, strict=True) if not np.isnan(value)}
    paired = np.array([scene in outcome for scene in said.scene], dtype=bool)
    if paired.sum() < FEWEST_PAIRS or len(np.unique(task[paired])) < len(tasks):
        return None
    return prediction_powered(
        real=np.array([outcome[scene] for scene in said.scene[paired]]),
        paired=value[paired],
        paired_task=task[paired],
        unpaired=value[~paired],
        unpaired_task=task[~paired],
    )


@dataclass(frozen=True)
class _Values:
    task: NDArray[np.intp]
    scene: NDArray[np.intp]
    value: FloatArray


def _values(side: Side, policy: int) -> _Values:
    own = side.policy == policy
    return _Values(side.task[own], side.scene[own], side.value[own])


def _rate(score: float, side: Side, chosen: NDArray[np.bool_]) -> Estimate:
    """A score with the interval that the scenes behind it give."""
    chosen = chosen & side.known
    tasks, task = np.unique(side.task[chosen], return_inverse=True)
    weights = 1 / (len(tasks) * np.bincount(task)[task])
    found = spread(side.value[chosen], weights, strata(task.tolist()))
    return Estimate(score, *share_interval(score, found, weights))


def _count(side: Side, what: str, policy: int) -> int:
    return int(getattr(side, what)[side.policy == policy].sum())
