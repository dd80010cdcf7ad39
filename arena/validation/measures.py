"""Every measure of agreement, over all tasks and in each one, with its bootstrap interval from the same draws."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from arena.contracts import FloatArray
from arena.validation.agreement import BOUNDS, MEASURES
from arena.validation.calibration import Forecasts
from arena.validation.resampling import interval, scene_weights
from arena.validation.shares import Estimate
from arena.validation.table import Table, over_tasks, rounded

FEWEST_POLICIES = 3
"""Two points are always on a line."""
CALIBRATION = "calibration"
SHARES = (0.0, 1.0)
ALL = -1
"""In place of a task's number: over all tasks."""

Key = tuple[int, str]
"""A task's number, or `ALL`, and the name of a measure."""


@dataclass(frozen=True)
class Measured:
    """Each measure that there are policies enough for, and in how many of the draws it was not defined."""

    estimates: Mapping[Key, Estimate]
    undefined: Mapping[Key, int]

    def estimate(self, task: int, name: str) -> Estimate:
        return self.estimates.get((task, name), Estimate(None))


def measure_all(table: Table, pairs: Forecasts, seed: int, draws: int) -> Measured:
    """All measures of a table, with intervals wherever both sides have two scenes."""
    values = {key: float(value[0]) for key, value in _measures(table, pairs, np.ones((len(table.scenes), 1))).items()}
    drawn = _draw(table, pairs, seed, draws) if scenes_enough(table, ALL) else {}
    estimates, undefined = {}, {}
    for (task, name), value in values.items():
        own = drawn.get((task, name), np.zeros(0)) if scenes_enough(table, task) else np.zeros(0)
        estimates[task, name] = interval(value, own, BOUNDS.get(name, SHARES))
        undefined[task, name] = 0 if np.isnan(value) else int(np.isnan(own).sum())
    return Measured(estimates, undefined)


def scenes_enough(table: Table, task: int) -> bool:
    """Whether both sides have outcomes in two scenes of a task (or of all): one cannot say how scenes differ."""
    return all(
        len(np.unique(side.scene[side.known & ((side.task == task) | (task == ALL))])) > 1
        for side in (table.evaluator, table.real)
    )


def _draw(table: Table, pairs: Forecasts, seed: int, draws: int) -> dict[Key, FloatArray]:
    """`(draws,)` values of each measure in the bootstrap."""
    # Scores of every cell, and differences of every pair of policies.
    largest = max(table.cells.size, len(table.policies) ** 2)
    parts: dict[Key, list[FloatArray]] = defaultdict(list)
    for weights in scene_weights(table.strata(), draws, seed, largest):
        for key, values in _measures(table, pairs, weights).items():
            parts[key].append(values)
    return {key: np.concatenate(values) for key, values in parts.items()}


def _measures(table: Table, pairs: Forecasts, weights: FloatArray) -> dict[Key, FloatArray]:
    """`(D,)` values of each measure when scenes have weights `(S, D)`."""
    evaluator, real = table.scores(weights)
    scopes = {ALL: (over_tasks(evaluator), over_tasks(real))}
    for task, policies in enumerate(table.cells.T):
        scopes[task] = rounded(evaluator[:, policies, task]), rounded(real[:, policies, task])
    found = {
        (scope, name): measure(evaluator=sides[0], real=sides[1])
        for scope, sides in scopes.items()
        for name, measure in MEASURES.items()
        if sides[0].shape[1] >= FEWEST_POLICIES or name == "optimism"
    }
    if len(pairs.scene):
        found[ALL, CALIBRATION] = pairs.error(weights)
    return found
