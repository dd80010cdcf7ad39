"""How good a judge is on labelled films, and what it says when it is shown too little to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from arena.contracts import FloatArray
from arena.judges.calibration import auc, balanced_accuracy, calibration_error
from arena.learned.judging.contrary import is_contrary
from arena.learned.judging.films import Film, Progress
from arena.learned.judging.judge import LearnedJudge, doubt, read_film

FALSE_SUCCESS_COST = 2.0
"""A failure that is called a success is as bad as two successes that are missed: it hides what a policy cannot do."""
GREY = 128


@dataclass(frozen=True)
class Measures:
    """Of a judge on `trials` labelled films, of which it `abstained` from some: they are left out of everything else.

    `balanced_accuracy` is the mean of the accuracies on successes and on failures; `false_success` the share of true
    failures that it calls successes; `task_auc` the mean of the tasks' own. Those that cannot be told are None.
    """

    trials: int
    abstained: int
    accuracy: float | None
    base_rate: float | None
    balanced_accuracy: float | None
    auc: float | None
    task_auc: float | None
    calibration_error: float | None
    false_success: float | None
    task_accuracy: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Judged:
    """Films with what a judge made of them: probabilities `(N,)`, true outcomes `(N,)`, and whether it abstained."""

    probability: FloatArray
    success: NDArray[np.bool_]
    abstained: NDArray[np.bool_]
    tasks: tuple[str, ...]

    @classmethod
    def of(cls, judge: LearnedJudge, films: Sequence[Film], progress: Progress | None = None) -> Judged:
        """`films` whose outcome is known."""
        probability, abstained = [], []
        for done, film in enumerate(films, start=1):
            reading = read_film(judge.fitted, film)
            probability.append(judge.probability(reading, film.instruction))
            abstained.append(bool(doubt(judge.fitted, reading)))
            if progress is not None:
                progress(done, len(films), "measuring the judge")
        success = np.array([bool(film.success) for film in films], dtype=bool)
        tasks = tuple(film.task or film.instruction for film in films)
        return cls(np.array(probability), success, np.array(abstained, dtype=bool), tasks)

    def measures(self, threshold: float, count_abstained: bool = False) -> Measures:
        """`count_abstained` measures what the judge would have said where it abstained, too."""
        spoken = np.ones(len(self.success), dtype=bool) if count_abstained else ~self.abstained
        probability, success = self.probability[spoken], self.success[spoken]
        tasks = np.array(self.tasks)[spoken]
        said, both = probability >= threshold, 0 < success.sum() < len(success)
        own = [auc(probability[tasks == task], success[tasks == task]) for task in sorted(set(tasks.tolist()))]
        own = [value for value in own if np.isfinite(value)]
        return Measures(
            trials=len(self.success),
            abstained=int(self.abstained.sum()),
            accuracy=float((said == success).mean()) if len(success) else None,
            base_rate=float(max(success.mean(), 1 - success.mean())) if len(success) else None,
            balanced_accuracy=balanced_accuracy(said, success) if both else None,
            auc=auc(probability, success) if both else None,
            task_auc=float(np.mean(own)) if own else None,
            calibration_error=calibration_error(probability, success) if len(success) else None,
            false_success=float(said[~success].mean()) if (~success).any() else None,
            task_accuracy={
                task: float((said == success)[tasks == task].mean()) for task in sorted(set(tasks.tolist()))
            },
        )


def measure(judge: LearnedJudge, films: Sequence[Film], progress: Progress | None = None) -> Measures:
    """The judge on films whose outcome is known; the others are left out."""
    known = [film for film in films if film.success is not None]
    return Judged.of(judge, known, progress).measures(judge.card.threshold)


def blind_controls(
    judge: LearnedJudge, films: Sequence[Film], seed: int, progress: Progress | None = None
) -> dict[str, Measures]:
    """What the judge says of films that it cannot judge, against their true outcomes: no better than chance is right.

    It is made to speak where it would abstain, as it would from most of these. `first_frame`: nothing ever moves.
    `instruction_only`: all is grey. `shuffled_instruction`: the film under the instruction of another task.
    """
    known = [film for film in films if film.success is not None]
    found = {}
    for name, blind in CONTROLS.items():
        shown = blind(known, seed)
        found[name] = Judged.of(judge, shown, progress).measures(judge.card.threshold, count_abstained=True)
    return found


def cautious_threshold(probability: FloatArray, success: NDArray[np.bool_]) -> float:
    """The probability that parts successes from failures at the least cost, a false success costing twice.

    The costs are those of the rates among true failures and true successes. Of thresholds that do equally well
    the one nearest 2/3, where a calibrated judge has it at even odds.
    """
    edges = np.unique(np.append(probability, [0.0, 1.0]))
    even = FALSE_SUCCESS_COST / (1 + FALSE_SUCCESS_COST)
    candidates = np.append((edges[:-1] + edges[1:]) / 2, even)
    costs = np.array([_cost(probability >= candidate, success) for candidate in candidates])
    best = candidates[costs <= costs.min() + 1e-12]
    return float(best[np.abs(best - even).argmin()])


def _cost(said: NDArray[np.bool_], success: NDArray[np.bool_]) -> float:
    false = said[~success].mean() if (~success).any() else 0.0
    missed = (~said[success]).mean() if success.any() else 0.0
    return float(FALSE_SUCCESS_COST * false + missed)


def _first_frame(films: Sequence[Film], seed: int) -> list[Film]:
    # A copy, since the films would else share one frame's memory in ways that some operations refuse.
    return [replace(film, frames=film.frames[:1].expand_as(film.frames).clone()) for film in films]


def _instruction_only(films: Sequence[Film], seed: int) -> list[Film]:
    return [replace(film, frames=torch.full_like(film.frames, GREY)) for film in films]


def _shuffled_instruction(films: Sequence[Film], seed: int) -> list[Film]:
    """Of a task with which none of the words that matter are shared; of any other, where there is no such task."""
    random = np.random.default_rng(seed)
    all_of_them = sorted({film.instruction for film in films})
    shuffled = []
    for film in films:
        others = [other for other in all_of_them if is_contrary(film.instruction, other, succeeded=False)]
        others = others or [other for other in all_of_them if other != film.instruction]
        if others:
            shuffled.append(replace(film, instruction=others[int(random.integers(len(others)))]))
    return shuffled


CONTROLS: Mapping[str, Callable[[Sequence[Film], int], list[Film]]] = MappingProxyType(
    {
        "first_frame": _first_frame,
        "instruction_only": _instruction_only,
        "shuffled_instruction": _shuffled_instruction,
    }
)
