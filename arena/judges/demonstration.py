"""The first judge: progress against successful demonstrations in a world model's latent space."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from arena.contracts import FloatArray, FrameEncoder, InvalidInput, Rollout, Verdict
from arena.judges.calibration import (
    Logistic,
    TaskLogistic,
    auc,
    best_threshold,
    calibration_error,
    cross_validated,
    folds,
    log_loss,
)
from arena.judges.card import JudgeCard
from arena.judges.latents import FEATURES, Demonstrations, LatentSpace, novelty
from arena.judges.trials import LabelledTrial, Trial, as_trial, check_trials, task_key

NAME = "demonstration"
VERSION = 1
LEAST_LABELS = 5
"""Successes, and failures, to calibrate on: with fewer a probability would be made up."""
HELD_OUT = 3
"""One in so many labelled trials is held out of everything, to measure the judge on."""
NOVELTY_QUANTILE = 0.99
NOVELTY_SLACK = 1.5
MAX_SEEN = 6000

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class DemonstrationCard(JudgeCard):
    """`encoder` is the sha256 of the frames' encoder; `demonstrations` counts them by task."""

    encoder: str
    demonstrations: Mapping[str, int]
    log_loss: float | None = None


@dataclass(frozen=True)
class _Fitted:
    """All numbers that shape a verdict. `seen` is `(M, K)`: frames that count as familiar."""

    space: LatentSpace
    references: Mapping[str, Demonstrations]
    seen: FloatArray
    novelty_limit: float
    logistic: TaskLogistic | None


@dataclass(frozen=True)
class _Measured:
    task: str
    success: bool
    coordinates: FloatArray
    rest: FloatArray
    features: FloatArray


class DemonstrationJudge:
    """Says how far a rollout came along its task's demonstrations, and how likely that is a success.

    Without enough labelled trials it is uncalibrated: verdicts carry progress and no probability.
    """

    name = NAME

    def __init__(self, encoder: FrameEncoder, fitted: _Fitted, card: DemonstrationCard) -> None:
        self._encoder, self._fitted, self.card = encoder, fitted, card
        self.sha256 = hashlib.sha256(_payload(fitted, card)).hexdigest()

    @classmethod
    def fit(
        cls,
        encoder: FrameEncoder,
        demonstrations: Sequence[Trial],
        labelled: Sequence[Trial],
        seed: int,
        progress: Progress | None = None,
    ) -> DemonstrationJudge:
        """Calibrate on two thirds of `labelled` and measure on the rest.

        To judge imagined rollouts, let `labelled` be imagined replays of labelled episodes: their pictures
        are blurred in the same way. Labelled trials without an outcome or without demonstrations of their task are
        left out and counted. Raises `InvalidInput` where there is no demonstration, where one failed or is also
        in `labelled`, or where a demonstration's embedding is not finite.
        """
        check_trials(demonstrations, labelled)
        if not demonstrations:
            raise InvalidInput("a judge needs at least one successful demonstration")
        tasks = {task_key(trial) for trial in demonstrations}
        usable = [trial for trial in labelled if trial.success is not None and task_key(trial) in tasks]
        total = len(demonstrations) + len(usable)
        embeddings = []
        for done, trial in enumerate([*demonstrations, *usable], start=1):
            embeddings.append(_embedding(encoder, as_trial(trial)))
            if progress is not None:
                progress(done, total, "embedding trials")
        notes = []
        if len(usable) < len(labelled):
            notes.append(f"{len(labelled) - len(usable)} labelled trials had no outcome or no demonstration")
        parts = len(demonstrations)
        shown = [(task_key(trial), z) for trial, z in zip(demonstrations, embeddings[:parts], strict=True)]
        judged = [(task_key(t), bool(t.success), z) for t, z in zip(usable, embeddings[parts:], strict=True)]
        fitted, card = _fit(encoder.sha256, shown, judged, seed, notes)
        return cls(encoder, fitted, card)

    def judge(self, rollout: Rollout) -> Verdict:
        """A verdict, or an abstention with its reason; never an error for what a rollout shows."""
        return self.judge_trial(as_trial(rollout))

    def judge_trial(self, trial: LabelledTrial) -> Verdict:
        """`judge` for frames that are in no rollout. The trial's own `success` is not looked at."""
        task = task_key(trial)
        reference = self._fitted.references.get(task)
        if reference is None:
            known = ", ".join(sorted(self._fitted.references))
            return self._abstain(trial, f"no demonstration of {task!r}; there are some of: {known}")
        embedding = np.asarray(self._encoder.encode(trial.frames))
        if not np.isfinite(embedding).all():
            return self._abstain(trial, "the embedding of its frames holds NaN or infinite numbers")
        coordinates, rest = self._fitted.space.project(embedding)
        strangeness = novelty(coordinates, rest, self._fitted.seen) / self._fitted.novelty_limit
        if strangeness > 1:
            return self._abstain(trial, f"unlike all that was seen: {strangeness:.1f} times the limit of novelty")
        features = reference.features(coordinates)
        probability = None
        if self._fitted.logistic is not None:
            probability = float(self._fitted.logistic.probability(features[None], [task])[0])
        came, apart = 100 * float(np.clip(features[0], 0, 1)), float(np.exp(features[2]))
        reason = (
            f"came {came:.0f}% of the way of {len(reference.ends)} demonstrations "
            f"and ended {apart:.1f} of their spreads from where they end"
        )
        return Verdict(trial.id, self.name, self.sha256, probability, came, reason)

    def guess(self, rollout: Rollout) -> float | None:
        """The success probability that it would give if nothing were too strange for it, for audits.

        None where it is uncalibrated, has no demonstration of the task, or the frames have no finite embedding.
        """
        trial = as_trial(rollout)
        reference, logistic = self._fitted.references.get(task_key(trial)), self._fitted.logistic
        embedding = np.asarray(self._encoder.encode(trial.frames))
        if reference is None or logistic is None or not np.isfinite(embedding).all():
            return None
        features = reference.features(self._fitted.space.project(embedding)[0])
        return float(logistic.probability(features[None], [task_key(trial)])[0])

    def _abstain(self, trial: LabelledTrial, why: str) -> Verdict:
        return Verdict(trial.id, self.name, self.sha256, None, None, why, abstained=True)

    def save(self, path: Path) -> None:
        """Write one safetensors file, to a temporary name first."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".part")
        temporary.write_bytes(_payload(self._fitted, self.card))
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path, encoder: FrameEncoder) -> DemonstrationJudge:
        """Read what `save` wrote. Raises `InvalidInput` for another file, or one made with another encoder."""
        return cls(encoder, *_read(path, encoder.sha256))


def _embedding(encoder: FrameEncoder, trial: LabelledTrial) -> FloatArray:
    embedding = np.asarray(encoder.encode(trial.frames))
    if embedding.ndim != 2 or len(embedding) == 0 or not np.isfinite(embedding).all():
        raise InvalidInput(f"the frames of {trial.id} have no finite (T, D) embedding: {embedding.shape}")
    return embedding


def _fit(
    encoder: str,
    shown: Sequence[tuple[str, FloatArray]],
    judged: Sequence[tuple[str, bool, FloatArray]],
    seed: int,
    notes: list[str],
) -> tuple[_Fitted, DemonstrationCard]:
    """Everything from embeddings. The held-out trials shape nothing, not even the latent space."""
    success = np.array([outcome for _, outcome, _ in judged], dtype=bool)
    names = np.array([task for task, _, _ in judged])
    held = folds(success, np.unique(names, return_inverse=True)[1], seed, HELD_OUT) == 0
    calibration = [z for (_, _, z), out in zip(judged, held, strict=True) if not out]
    space = LatentSpace.fit([z for _, z in shown] + calibration, seed)
    references = {
        task: Demonstrations.of([space.project(z)[0] for name, z in shown if name == task])
        for task in sorted({task for task, _ in shown})
    }
    trials = [_measure(space, references, *each) for each in judged]
    inside = [trial for trial, out in zip(trials, held, strict=True) if not out]
    outside = [trial for trial, out in zip(trials, held, strict=True) if out]
    demonstrated = np.concatenate([reference.frames for reference in references.values()])
    card = DemonstrationCard(
        encoder=encoder, demonstrations={task: len(reference.ends) for task, reference in references.items()}
    )
    successes = sum(trial.success for trial in inside)
    if min(successes, len(inside) - successes) < LEAST_LABELS:
        notes.append(
            f"uncalibrated: {successes} successes and {len(inside) - successes} failures to calibrate on, "
            f"{LEAST_LABELS} of each are needed"
        )
        fitted = _Fitted(space, references, demonstrated, float("inf"), None)
        return fitted, dataclasses.replace(card, notes=tuple(notes))
    features, outcomes, tasks = _table(inside)
    ridge, out_of_fold = cross_validated(features, outcomes, tasks, seed)
    logistic = TaskLogistic.fit(features, outcomes, tasks, ridge)
    limit = _novelty_limit(inside, demonstrated)
    seen = _thinned(np.concatenate([demonstrated, *(trial.coordinates for trial in inside)]), seed)
    threshold = best_threshold(out_of_fold, outcomes)
    card = dataclasses.replace(card, calibrated_on=len(inside), threshold=threshold, notes=tuple(notes))
    return _Fitted(space, references, seen, limit, logistic), _scored(card, logistic, outside)


def _measure(
    space: LatentSpace, references: Mapping[str, Demonstrations], task: str, success: bool, embedding: FloatArray
) -> _Measured:
    coordinates, rest = space.project(embedding)
    return _Measured(task, success, coordinates, rest, references[task].features(coordinates))


def _table(trials: Sequence[_Measured]) -> tuple[FloatArray, NDArray[np.bool_], list[str]]:
    """Features `(N, F)`, outcomes `(N,)` and tasks of the trials."""
    features = np.stack([trial.features for trial in trials])
    return features, np.array([trial.success for trial in trials]), [trial.task for trial in trials]


def _novelty_limit(trials: Sequence[_Measured], demonstrated: FloatArray) -> float:
    """What counts as unlike all that was seen: beyond nearly every calibration trial, each measured without itself."""
    values = []
    for left_out in trials:
        others = [trial.coordinates for trial in trials if trial is not left_out]
        values.append(novelty(left_out.coordinates, left_out.rest, np.concatenate([demonstrated, *others])))
    return NOVELTY_SLACK * float(np.quantile(values, NOVELTY_QUANTILE))


def _thinned(frames: FloatArray, seed: int) -> FloatArray:
    if len(frames) <= MAX_SEEN:
        return frames
    return frames[np.sort(np.random.default_rng(seed).choice(len(frames), MAX_SEEN, replace=False))]


def _scored(card: DemonstrationCard, logistic: TaskLogistic, held_out: Sequence[_Measured]) -> DemonstrationCard:
    """`card` with the judge's measures on trials that it has not seen."""
    if not held_out:
        return card
    features, success, tasks = _table(held_out)
    probability = logistic.probability(features, tasks)
    right = (probability >= card.threshold) == success
    named = np.array(tasks)
    return dataclasses.replace(
        card,
        held_out=len(held_out),
        accuracy=float(right.mean()),
        base_rate=float(max(success.mean(), 1 - success.mean())),
        auc=auc(probability, success) if 0 < success.sum() < len(success) else None,
        calibration_error=calibration_error(probability, success),
        log_loss=log_loss(probability, success),
        task_accuracy={task: float(right[named == task].mean()) for task in sorted(set(tasks))},
    )


def _payload(fitted: _Fitted, card: DemonstrationCard) -> bytes:
    """The judge as the bytes of a safetensors file: arrays, and the rest as JSON in its metadata."""
    arrays = {
        "space.mean": fitted.space.mean,
        "space.basis": fitted.space.basis,
        "space.scale": fitted.space.scale,
        "seen": fitted.seen,
    }
    for index, reference in enumerate(fitted.references.values()):
        for name in ("frames", "position", "ends"):
            arrays[f"reference.{index}.{name}"] = getattr(reference, name)
    header: dict[str, Any] = {
        "judge": NAME,
        "version": VERSION,
        "features": FEATURES,
        "tasks": list(fitted.references),
        "spreads": [reference.spread for reference in fitted.references.values()],
        "card": dataclasses.asdict(card),
    }
    if fitted.logistic is not None:
        logistic = fitted.logistic
        arrays |= {"logistic.mean": logistic.mean, "logistic.scale": logistic.scale}
        rows = {"": logistic.common, **logistic.own}
        arrays["logistic.weights"] = np.stack([np.append(row.weights, row.intercept) for row in rows.values()])
        header |= {"logistic": list(rows), "novelty_limit": fitted.novelty_limit}
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return save(contiguous, metadata={"dreamarena": json.dumps(header, sort_keys=True)})


def _read(path: Path, encoder: str) -> tuple[_Fitted, DemonstrationCard]:
    """Raises `InvalidInput` for what `_payload` did not write, or what was fitted with another encoder."""
    try:
        with safe_open(path, "numpy") as file:
            header = json.loads((file.metadata() or {})["dreamarena"])
        arrays = load_file(path)
        if header["judge"] != NAME or header["version"] != VERSION:
            raise InvalidInput(f"{path} is a judge of another kind or version")
        card = DemonstrationCard(**{**header["card"], "notes": tuple(header["card"]["notes"])})
        fitted = _unpacked(header, arrays)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InvalidInput(f"{path} is not a readable demonstration judge: {error}") from error
    if any(not np.isfinite(array).all() for array in arrays.values()):
        raise InvalidInput(f"{path} holds NaN or infinite numbers")
    if card.encoder != encoder:
        raise InvalidInput(f"{path} was fitted with encoder {card.encoder[:12]}, not with {encoder[:12]}: fit it again")
    return fitted, card


def _unpacked(header: Mapping[str, Any], arrays: Mapping[str, FloatArray]) -> _Fitted:
    references = {}
    for index, (task, spread) in enumerate(zip(header["tasks"], header["spreads"], strict=True)):
        frames, position, ends = (arrays[f"reference.{index}.{name}"] for name in ("frames", "position", "ends"))
        references[task] = Demonstrations(frames, position, ends, spread)
    space = LatentSpace(arrays["space.mean"], arrays["space.basis"], arrays["space.scale"])
    if "logistic" not in header:
        return _Fitted(space, references, arrays["seen"], float("inf"), None)
    rows = [Logistic(row[:-1], float(row[-1])) for row in arrays["logistic.weights"]]
    own = dict(zip(header["logistic"][1:], rows[1:], strict=True))
    logistic = TaskLogistic(arrays["logistic.mean"], arrays["logistic.scale"], rows[0], own)
    return _Fitted(space, references, arrays["seen"], float(header["novelty_limit"]), logistic)
