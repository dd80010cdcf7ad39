"""The learned judge: from a rollout to a verdict, or to an abstention and its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arena.contracts import FloatArray, InvalidInput, Rollout, Verdict
from arena.judges.calibration import Logistic, TaskLogistic
from arena.judges.card import JudgeCard
from arena.learned.judging.familiar import Familiar, looks
from arena.learned.judging.films import Film, film_of_rollout, wording
from arena.learned.judging.network import POSITION, JudgingConfig, JudgingNetwork, smooth_maximum, words_of

NAME = "learned"
SMOOTHING = 3
"""Frames over which progress is averaged: one blurred frame must not decide."""
MAX_FRAMES = 64
"""Frames that are looked at together, so that a long rollout does not fill the memory."""


@dataclass(frozen=True, kw_only=True)
class LearnedCard(JudgeCard):
    """What a judge was made from, beside how good it is.

    `world` is the sha256 of the world model whose replays it knows, or nothing. `false_success` is the share of true
    failures that it calls successes. All measures leave out what it `abstained` from. `controls` are its measures when
    it is shown too little to know: it has to be near chance there.
    """

    instructions: tuple[str, ...]
    tasks: tuple[str, ...]
    robots: tuple[str, ...] = ()
    trained_on: int = 0
    trained_on_imagined: int = 0
    world: str = ""
    false_success: float | None = None
    abstained: int = 0
    controls: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seed: int = 0
    data_sha256: str = ""

    def covers(self, instructions: set[str], robots: set[str]) -> bool:
        """Whether all of these were learned from."""
        known = {wording(instruction) for instruction in self.instructions}
        return bool(instructions) and {wording(each) for each in instructions} <= known and robots <= set(self.robots)


@dataclass(frozen=True)
class Fitted:
    """All that shapes a verdict.

    `track_mean` and `track_scale` `(4,)` are the units of the hand's positions in m and of the gripper; `apart_limit`
    is in m, `grip_limit` in strokes of the gripper. `logistic` turns a film's log-odds into a probability, by `wording`
    of the instruction: what a world model imagines too well in one task it may imagine too badly in another.
    """

    network: JudgingNetwork
    track_mean: FloatArray
    track_scale: FloatArray
    looks: Familiar
    features: Familiar
    logistic: TaskLogistic = field(
        default_factory=lambda: TaskLogistic(np.zeros(1), np.ones(1), Logistic(np.ones(1), 0.0), {})
    )
    apart_limit: float = float("inf")
    grip_limit: float = float("inf")

    @property
    def config(self) -> JudgingConfig:
        return self.network.config


@dataclass(frozen=True)
class FilmReading:
    """What the network read in a film of `T` frames.

    `logit` is that of the whole film, before calibration; `success` and `progress` are `(T,)`, `features` `(T, D)`,
    `looks` `(T, L)`. `apart` and `grip` are the mean distances of the hand and the gripper, as seen, from where
    they should have been, in m and strokes; None where that is not known. Means, because single frames are misread.
    """

    logit: float
    success: FloatArray
    progress: FloatArray
    features: FloatArray
    looks: FloatArray
    apart: float | None
    grip: float | None


class LearnedJudge:
    """Says from pixels and the instruction whether that was done in any frame, and how far it came.

    It abstains from instructions that it did not learn, from pictures that are unlike all that it knows, and where the
    hand is not seen where the rollout's states say that it is.
    """

    name = NAME

    def __init__(self, fitted: Fitted, card: LearnedCard) -> None:
        from arena.learned.judging.folder import sha256_of

        self.fitted, self.card, self.sha256 = fitted, card, sha256_of(fitted, card)
        self._known = {wording(instruction) for instruction in card.instructions}

    def judge(self, rollout: Rollout) -> Verdict:
        """A verdict, or an abstention with its reason; never an error for what a rollout shows."""
        try:
            film = film_of_rollout(rollout, self.fitted.config)
        except InvalidInput as error:
            return self._abstain(rollout.id, str(error))
        return self.judge_film(film)

    def judge_film(self, film: Film) -> Verdict:
        """`judge` for a film. Its own `success` is not looked at."""
        if wording(film.instruction) not in self._known:
            known = "; ".join(sorted(self._known))
            return self._abstain(film.id, f"it never learned to judge {film.instruction!r}, only: {known}")
        if film.track is not None and not bool(film.track.isfinite().all()):
            return self._abstain(film.id, "the states of the rollout hold NaN or infinite numbers")
        reading = read_film(self.fitted, film)
        if reason := doubt(self.fitted, reading):
            return self._abstain(film.id, reason)
        came = 100 * peak(reading.progress)
        best = int(reading.success.argmax())
        reason = f"most like done in frame {best + 1} of {len(reading.success)}, at most {came:.0f}% of the way"
        return Verdict(film.id, self.name, self.sha256, self.probability(reading, film.instruction), came, reason)

    def guess(self, rollout: Rollout) -> float | None:
        """The success probability that it would give if it never abstained, for audits; None where it cannot see."""
        try:
            film = film_of_rollout(rollout, self.fitted.config)
        except InvalidInput:
            return None
        if film.track is not None and not bool(film.track.isfinite().all()):
            return None
        return self.probability(read_film(self.fitted, film), film.instruction)

    def probability(self, reading: FilmReading, instruction: str) -> float:
        """That the film shows a success, whether or not the judge should speak at all."""
        return float(self.fitted.logistic.probability(np.array([[reading.logit]]), [wording(instruction)])[0])

    def _abstain(self, id: str, why: str) -> Verdict:
        return Verdict(id, self.name, self.sha256, None, None, why, abstained=True)

    def save(self, folder: Path) -> None:
        """Write the folder, whole or not at all. Raises `InvalidInput` where it exists, or for weights beyond fp16."""
        from arena.learned.judging.folder import write_judge

        write_judge(folder, self.fitted, self.card)

    @classmethod
    def load(cls, folder: Path) -> LearnedJudge:
        """Read what `save` wrote, trusting nothing in it. Raises `InvalidInput` for anything else."""
        from arena.learned.judging.folder import read_judge

        return cls(*read_judge(folder))


def doubt(fitted: Fitted, reading: FilmReading) -> str:
    """Why nothing should be said of a film, or nothing."""
    for name, familiar, seen in (
        ("pictures", fitted.looks, reading.looks),
        ("contents", fitted.features, reading.features),
    ):
        strange = familiar.strangeness(seen)
        if not strange <= 1:
            return f"its {name} are unlike all that was learned from: {strange:.1f} times the limit"
    if reading.apart is not None and not reading.apart <= fitted.apart_limit:
        return (
            f"the hand is not seen where it should be: {100 * reading.apart:.1f} cm away on average, "
            f"at most {100 * fitted.apart_limit:.1f} are usual"
        )
    if reading.grip is not None and not reading.grip <= fitted.grip_limit:
        return (
            f"the gripper is not seen as it should be: {reading.grip:.2f} of its stroke away on average, "
            f"at most {fitted.grip_limit:.2f} are usual"
        )
    return ""


@torch.inference_mode()
def read_film(fitted: Fitted, film: Film) -> FilmReading:
    """Every frame of a film beside its first, under its instruction."""
    network = fitted.network
    words = words_of([film.instruction], network.config)
    first = film.frames[:1].float() / 255.0
    parts: dict[str, list[Any]] = {name: [] for name in ("success", "progress", "track", "features", "looks")}
    for begin in range(0, len(film), MAX_FRAMES):
        frames = film.frames[begin : begin + MAX_FRAMES].float() / 255.0
        readings = network(frames[None], first, words)
        for name in ("success", "progress", "track", "features"):
            parts[name].append(getattr(readings, name)[0].numpy())
        parts["looks"].append(looks(frames))
    read = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    apart = grip = None
    if film.track is not None:
        error = read["track"] * fitted.track_scale + fitted.track_mean - film.track.numpy()
        apart = float(np.linalg.norm(error[:, :POSITION], axis=1).mean())
        grip = float(np.abs(error[:, POSITION]).mean())
    logit = float(smooth_maximum(torch.from_numpy(read["success"])[None])[0])
    return FilmReading(logit, read["success"], read["progress"], read["features"], read["looks"], apart, grip)


def peak(progress: FloatArray) -> float:
    """`(T,)` to the highest mean of `SMOOTHING` frames in a row: what came undone later was still reached."""
    window = min(SMOOTHING, len(progress))
    return float(np.convolve(progress, np.full(window, 1 / window), mode="valid").max())
