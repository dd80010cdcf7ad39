"""How good a judge is on labelled films, and what it says when it is shown too little to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from arena.contracts import FloatArray
from arena.judges.blind import CONTROLS, Shown, blinded
from arena.judges.measures import Judged, Measures
from arena.learned.judging.films import Film, Progress
from arena.learned.judging.judge import LearnedJudge, doubt, read_film

FALSE_SUCCESS_COST = 2.0
"""A failure that is called a success is as bad as two successes that are missed: it hides what a policy cannot do."""


def judged(judge: LearnedJudge, films: Sequence[Film], progress: Progress | None = None) -> Judged:
    """`films` whose outcome is known, with what the judge says, or would say where it abstains."""
    probability, abstained = [], []
    for done, film in enumerate(films, start=1):
        reading = read_film(judge.fitted, film)
        probability.append(judge.probability(reading, film.instruction))
        abstained.append(bool(doubt(judge.fitted, reading)))
        if progress is not None:
            progress(done, len(films), "measuring the judge")
    success = np.array([bool(film.success) for film in films], dtype=bool)
    tasks = tuple(film.task or film.instruction for film in films)
    return Judged(np.array(probability), success, np.array(abstained, dtype=bool), tasks)


def measure(judge: LearnedJudge, films: Sequence[Film], progress: Progress | None = None) -> Measures:
    """The judge on films whose outcome is known; the others are left out."""
    known = [film for film in films if film.success is not None]
    return judged(judge, known, progress).measures(judge.card.threshold)


def blind_controls(
    judge: LearnedJudge, films: Sequence[Film], seed: int, progress: Progress | None = None
) -> dict[str, Measures]:
    """What the judge says of films that it cannot judge, against their true outcomes: no better than chance is right.

    It is made to speak where it would abstain, as it would from most of these; `arena.judges.blind` says what they are.
    """
    known = [film for film in films if film.success is not None]
    return {
        name: judged(judge, _blind(name, known, seed), progress).measures(judge.card.threshold, count_abstained=True)
        for name in CONTROLS
    }


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


def _blind(control: str, films: Sequence[Film], seed: int) -> list[Film]:
    shown = blinded(control, [Shown({"": film.frames.numpy()}, film.instruction) for film in films], seed)
    return [
        replace(film, frames=torch.from_numpy(each.frames[""]), instruction=each.instruction)
        for film, each in zip(films, shown, strict=True)
        if each is not None
    ]
