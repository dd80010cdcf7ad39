"""Both sides' results side by side: which policies and tasks can be compared, and what each scene says of them.

A scene's value is the mean over its trials, a policy's score in a task the mean over scenes, and its score the mean
over tasks: so neither a task nor a scene with more trials counts for more. Only cells (a policy in a task) that both
sides have count, so that a score is never compared with that of other tasks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from arena.contracts import FloatArray, InvalidInput
from arena.validation.strata import Labels, strata
from arena.validation.trials import Results, TrialResult

ROUNDED = 12
"""Decimals of a score: means that are equal in exact arithmetic stay ties."""

Cell = tuple[str, str]
Scene = tuple[str, str]
"""A task and a scene of it: scenes of different tasks may share a name."""


@dataclass(frozen=True)
class Side:
    """One side's values of `U` scenes, each of one policy. NaN where it was tried and nothing is known."""

    policy: Labels
    task: Labels
    scene: Labels
    """Index into `Table.scenes`."""
    value: FloatArray
    trials: NDArray[np.intp]
    """Trials with a known outcome."""
    missing: NDArray[np.intp]
    """Trials without."""

    @property
    def known(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.value)


@dataclass(frozen=True)
class Table:
    """`K` policies in `T` tasks, begun from `S` scenes. `cells` is `(K, T)`: whether both sides know something."""

    policies: tuple[str, ...]
    tasks: tuple[str, ...]
    scenes: tuple[Scene, ...]
    cells: NDArray[np.bool_]
    evaluator: Side
    real: Side

    def scores(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Evaluator's and reality's scores in each cell, `(D, K, T)` each, when scenes have weights `(S, D)`.

        NaN where a cell does not count or has no scene with a weight. Not yet rounded, because means of rounded
        numbers may break ties again.
        """
        evaluator, real = (self._scores(side, weights) for side in (self.evaluator, self.real))
        return evaluator, real

    def _scores(self, side: Side, weights: FloatArray) -> FloatArray:
        known = side.known
        cell = side.policy[known] * len(self.tasks) + side.task[known]
        place = (cell, side.scene[known])
        shape = (self.cells.size, len(self.scenes))
        sums = csr_array((side.value[known], place), shape=shape) @ weights
        counts = csr_array((np.ones(len(cell)), place), shape=shape) @ weights
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = np.asarray(sums / counts)
        scores[~self.cells.ravel()] = np.nan
        return np.asarray(scores.T.reshape(-1, *self.cells.shape))

    def strata(self) -> Labels:
        """`(S,)`: which scenes stand for one another. Scenes that both sides tried are apart from the others."""
        tried = [set(side.scene.tolist()) for side in (self.evaluator, self.real)]
        kinds = [tuple(scene in side for side in tried) for scene in range(len(self.scenes))]
        return strata([task for task, _ in self.scenes], kinds)


def rounded(scores: FloatArray) -> FloatArray:
    """Scores as they are compared and shown."""
    return np.asarray(np.round(scores, ROUNDED))


def over_tasks(scores: FloatArray) -> FloatArray:
    """`(..., K, T)` to `(..., K)`, rounded: the mean over the tasks that have a score; NaN where none has."""
    known = np.isfinite(scores)
    with np.errstate(invalid="ignore"):
        return rounded(np.where(known, scores, 0).sum(-1) / known.sum(-1))


def tabulate(*, evaluator: Results, real: Results) -> Table:
    """Put both sides side by side. Raises `InvalidInput` where they have no policy in a common task."""
    both = _known_cells(evaluator) & _known_cells(real)
    if not both:
        raise InvalidInput(_nothing_common(evaluator, real))
    policies, tasks = sorted({policy for policy, _ in both}), sorted({task for _, task in both})
    trials = [[trial for trial in side.trials if (trial.policy, trial.task) in both] for side in (evaluator, real)]
    scenes = sorted({(trial.task, trial.scene) for side in trials for trial in side})
    cells = np.zeros((len(policies), len(tasks)), dtype=bool)
    for policy, task in both:
        cells[policies.index(policy), tasks.index(task)] = True
    sides = [_side(side, policies, tasks, scenes) for side in trials]
    return Table(tuple(policies), tuple(tasks), tuple(scenes), cells, *sides)


def _known_cells(results: Results) -> set[Cell]:
    return {(trial.policy, trial.task) for trial in results.trials if trial.success is not None}


def _side(trials: Iterable[TrialResult], policies: list[str], tasks: list[str], scenes: list[Scene]) -> Side:
    outcomes: dict[tuple[int, int, int], list[float | None]] = defaultdict(list)
    policy_at, task_at, scene_at = ({name: i for i, name in enumerate(names)} for names in (policies, tasks, scenes))
    for trial in trials:
        place = policy_at[trial.policy], task_at[trial.task], scene_at[trial.task, trial.scene]
        outcomes[place].append(trial.success)
    known = [[value for value in values if value is not None] for values in outcomes.values()]
    policy, task, scene = np.array(list(outcomes), dtype=np.intp).T
    return Side(
        policy,
        task,
        scene,
        value=np.array([np.mean(values) if values else np.nan for values in known]),
        trials=np.array([len(values) for values in known], dtype=np.intp),
        missing=np.array([len(all) - len(some) for all, some in zip(outcomes.values(), known, strict=True)], np.intp),
    )


def _nothing_common(evaluator: Results, real: Results) -> str:
    said, came = _known_cells(evaluator), _known_cells(real)
    if {policy for policy, _ in said} & {policy for policy, _ in came}:
        what, sides = (
            "no policy has outcomes on both sides in a common task",
            [{t for _, t in said}, {t for _, t in came}],
        )
    else:
        what, sides = "no common policy", [{policy for policy, _ in said}, {policy for policy, _ in came}]
    lists = [listed(sorted(names)) for names in sides]
    return f"{what}: {evaluator.name} has {lists[0]}; {real.name} has {lists[1]}"


def listed(names: list[str], most: int = 8) -> str:
    """Names for a message, the first few of many."""
    if not names:
        return "none with a known outcome"
    rest = f" and {len(names) - most} others" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
