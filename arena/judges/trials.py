"""What judges are made from: trials whose frames, task and outcome are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from arena.contracts import Episode, Frames, InvalidInput, Rollout


@dataclass(frozen=True)
class LabelledTrial:
    """Frames `(T, H, W, 3)` per camera of one trial. `success` is None where it is not known."""

    id: str
    frames: Mapping[str, Frames]
    task: str
    instruction: str
    success: bool | None


Trial = Episode | Rollout | LabelledTrial
"""Anything that a judge can be fitted on: recorded, imagined (a replay of a labelled episode) or made up of parts."""


def as_trial(trial: Trial) -> LabelledTrial:
    """`trial` with its frames decoded."""
    if isinstance(trial, LabelledTrial):
        return trial
    if isinstance(trial, Rollout):
        return LabelledTrial(trial.id, trial.frames, trial.task, trial.instruction, trial.success)
    frames = {name: source.read() for name, source in trial.cameras.items()}
    return LabelledTrial(trial.id, frames, trial.task, trial.instruction, trial.success)


def task_key(trial: Trial) -> str:
    """What groups trials that want the same thing: the task where it is named, else the words of the instruction."""
    return trial.task or " ".join(trial.instruction.lower().split())


def split_demonstrations(trials: Sequence[Trial], seed: int, share: float = 0.5) -> tuple[list[Trial], list[Trial]]:
    """Part successful trials into demonstrations and the rest, which keeps all failures.

    Of each task's successes `share` (rounded up) become demonstrations. Raises `InvalidInput` where no
    trial is known to have succeeded.
    """
    random = np.random.default_rng(seed)
    chosen: set[int] = set()
    for key in sorted({task_key(trial) for trial in trials}):
        successes = [i for i, trial in enumerate(trials) if trial.success and task_key(trial) == key]
        chosen |= set(random.permutation(successes)[: int(np.ceil(share * len(successes)))].tolist())
    if not chosen:
        raise InvalidInput(f"none of {len(trials)} trials is labelled a success: a judge needs demonstrations")
    demonstrations = [trial for i, trial in enumerate(trials) if i in chosen]
    return demonstrations, [trial for i, trial in enumerate(trials) if i not in chosen]


def check_trials(demonstrations: Iterable[Trial], labelled: Iterable[Trial]) -> None:
    """Raises `InvalidInput` for a demonstration that failed, and for one that is also to be judged."""
    names = set()
    for trial in demonstrations:
        if trial.success is False:
            raise InvalidInput(f"{trial.id} failed and cannot be a demonstration")
        names.add(trial.id)
    for trial in labelled:
        if trial.id in names:
            raise InvalidInput(f"{trial.id} is a demonstration: judged against itself it would always succeed")
