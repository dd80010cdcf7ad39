"""From labelled films to a judge: train its network, set its limits, calibrate it, and measure it on what is left."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from arena.contracts import InvalidInput
from arena.judges.calibration import TaskLogistic, cross_validated, folds
from arena.judges.latents import LatentSpace
from arena.learned.judging.familiar import Familiar, limit_of
from arena.learned.judging.films import Film, Progress, films_sha256, wording
from arena.learned.judging.folder import read_judge, rounded
from arena.learned.judging.judge import Fitted, LearnedCard, LearnedJudge, read_film
from arena.learned.judging.measures import blind_controls, cautious_threshold, judged
from arena.learned.judging.network import JudgingConfig, JudgingNetwork
from arena.learned.judging.training import Films, train_network

HELD_OUT = 2
"""One in so many calibration films is held out of everything, to measure the judge on."""
LEAST_LABELS = 5
"""Successes, and failures, to calibrate on: with fewer a probability would be made up."""
LEAST_APART, LEAST_GRIP = 0.02, 0.1
"""In m, and strokes of the gripper: no limit is lower, however exactly what hardly moves was read."""
MAX_REMEMBERED = 600
"""Training films, at most, whose frames are what the judge is familiar with."""


@dataclass(frozen=True)
class Lessons:
    """What a judge is made from: films to learn from, and others, like those that it will judge, to calibrate on.

    `robots` are those that are seen; `world` is the sha256 of the world model that imagined some of the films.
    """

    training: tuple[Film, ...]
    calibration: tuple[Film, ...]
    robots: tuple[str, ...] = ()
    world: str = ""

    def __post_init__(self) -> None:
        known = {film.id for film in self.training}
        for film in self.calibration:
            if film.id in known:
                raise InvalidInput(f"{film.id} is learned from: judged on it, any judge would look good")

    @property
    def sha256(self) -> str:
        return films_sha256([*self.training, *self.calibration])


def train_judge(
    lessons: Lessons,
    config: JudgingConfig,
    out: Path,
    seed: int,
    progress: Progress | None = None,
    scratch: Path | None = None,
) -> Path:
    """Make a judge and write the folder `out`, whole or not at all; returns it.

    The state of the training is kept in `scratch` (by default a hidden folder beside `out`) until it is done: a
    run that was killed goes on from there with the same config, seed and films, and ends with the same judge.
    Where `out` is what this very call has made before, there is nothing to do.
    Raises `InvalidInput` where `out` is anything else, or there are too few successes or failures.
    """
    scratch = scratch or out.with_name(f".{out.name}.training")
    sha256 = lessons.sha256
    if out.exists():
        return _made_before(out, config, seed, sha256)
    films = Films(lessons.training, config)
    network = rounded(train_network(films, seed, scratch, sha256, progress)).eval()
    reader = _unlimited(network, films)
    remembered = [read_film(reader, film) for film in _some(lessons.training, MAX_REMEMBERED, seed)]
    fitted = replace(
        reader,
        looks=Familiar.of([reading.looks for reading in remembered], seed),
        features=Familiar.of([reading.features for reading in remembered], seed),
    )
    calibrated(fitted, _first_card(lessons, seed, sha256), lessons.calibration, seed, progress).save(out)
    shutil.rmtree(scratch, ignore_errors=True)
    return out


def calibrated(
    fitted: Fitted, card: LearnedCard, films: Sequence[Film], seed: int, progress: Progress | None = None
) -> LearnedJudge:
    """Set limits, probabilities and threshold on one half of `films`, and measure on the other.

    Raises `InvalidInput` with fewer than `LEAST_LABELS` successes or failures in the first half.
    """
    known = [film for film in films if film.success is not None]
    inside, outside = _parted(known, seed)
    success = np.array([bool(film.success) for film in inside], dtype=bool)
    if min(success.sum(), (~success).sum()) < LEAST_LABELS:
        raise InvalidInput(
            f"{success.sum()} successes and {(~success).sum()} failures to calibrate a judge on; "
            f"{LEAST_LABELS} of each are needed, and as many to measure it on"
        )
    readings = [read_film(fitted, film) for film in inside]
    logits = np.array([[reading.logit] for reading in readings])
    instructions = [wording(film.instruction) for film in inside]
    ridge, out_of_fold = cross_validated(logits, success, instructions, seed)
    apart = [reading.apart for reading in readings if reading.apart is not None]
    grip = [reading.grip for reading in readings if reading.grip is not None]
    fitted = replace(
        fitted,
        logistic=TaskLogistic.fit(logits, success, instructions, ridge),
        looks=fitted.looks.limited([reading.looks for reading in readings]),
        features=fitted.features.limited([reading.features for reading in readings]),
        apart_limit=max(limit_of(apart), LEAST_APART) if apart else float("inf"),
        grip_limit=max(limit_of(grip), LEAST_GRIP) if grip else float("inf"),
    )
    threshold = cautious_threshold(out_of_fold, success)
    card = replace(card, calibrated_on=len(inside), threshold=threshold)
    return LearnedJudge(fitted, _measured(LearnedJudge(fitted, card), outside, seed, progress))


def _measured(judge: LearnedJudge, films: Sequence[Film], seed: int, progress: Progress | None) -> LearnedCard:
    found = judged(judge, films, progress).measures(judge.card.threshold)
    controls = {
        name: {"balanced_accuracy": control.balanced_accuracy, "auc": control.auc, "task_auc": control.task_auc}
        for name, control in blind_controls(judge, films, seed, progress).items()
    }
    return replace(
        judge.card,
        held_out=len(films),
        accuracy=found.accuracy,
        base_rate=found.base_rate,
        auc=found.auc,
        calibration_error=found.calibration_error,
        false_success=found.false_success,
        abstained=found.abstained,
        task_accuracy=found.task_accuracy,
        controls={name: _without_none(control) for name, control in controls.items()},
    )


def _parted(films: Sequence[Film], seed: int) -> tuple[list[Film], list[Film]]:
    """Halves that share out every task's successes and failures."""
    tasks = np.unique([film.instruction for film in films], return_inverse=True)[1]
    held = folds(np.array([bool(film.success) for film in films], dtype=bool), tasks, seed, HELD_OUT) == 0
    return [f for f, out in zip(films, held, strict=True) if not out], [
        f for f, out in zip(films, held, strict=True) if out
    ]


def _first_card(lessons: Lessons, seed: int, sha256: str) -> LearnedCard:
    known = [film for film in lessons.training if film.success is not None]
    imagined = sum(film.imagined for film in known)
    notes = []
    if lessons.calibration and not any(film.imagined for film in lessons.calibration):
        notes.append("calibrated on recordings: no imagined rollout was ever shown to it")
    return LearnedCard(
        instructions=tuple(sorted({film.instruction for film in known})),
        tasks=tuple(sorted({film.task for film in known})),
        robots=lessons.robots,
        trained_on=len(known) - imagined,
        trained_on_imagined=imagined,
        world=lessons.world,
        seed=seed,
        data_sha256=sha256,
        notes=tuple(notes),
    )


def _unlimited(network: JudgingNetwork, films: Films) -> Fitted:
    """What can read films, and is familiar with nothing yet."""
    nothing = Familiar(LatentSpace(np.zeros(1), np.zeros((1, 1)), np.ones(1)), np.zeros((1, 1)))
    return Fitted(network, films.track.mean.numpy(), films.track.scale.numpy(), nothing, nothing)


def _made_before(out: Path, config: JudgingConfig, seed: int, sha256: str) -> Path:
    """`out`, if it is of this config, seed and data: a kill may have come between the judge and the job's end."""
    try:
        fitted, card = read_judge(out)
        made = (fitted.config, card.seed, card.data_sha256)
    except InvalidInput:
        made = None
    if made != (config, seed, sha256):
        raise InvalidInput(f"{out} already exists: choose another folder, or remove it")
    return out


def _some(films: Sequence[Film], count: int, seed: int) -> list[Film]:
    order = np.random.default_rng(seed).permutation(len(films))[:count]
    return [films[index] for index in sorted(order)]


def _without_none(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
