"""What one side, the evaluator or reality, says of each trial, checked once so that all after can rely on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from arena.contracts import InvalidInput

MAX_TRIALS = 200_000
MAX_POLICIES = 100
MAX_TASKS = 200
"""What one comparison takes at most: files are hostile, and the work grows with all three."""


@dataclass(frozen=True)
class TrialResult:
    """One trial of a policy. `success` is a probability in [0, 1], or None without a verdict: missing, no failure.

    `scene` is how the trial began: the evaluator's and reality's trials of one task are paired by it. `seed` tells
    repeated trials in a scene from each other, and pairs nothing.
    """

    policy: str
    task: str
    scene: str
    seed: int
    success: float | None

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What no two trials of one side share."""
        return self.policy, self.task, self.scene, self.seed


@dataclass(frozen=True)
class Results:
    """All trials of one side. `source` says where they came from, with its hash, for whoever wants to trace a number.

    Raises `InvalidInput` for no trials, too many, a trial that occurs twice, and a success outside [0, 1].
    """

    trials: tuple[TrialResult, ...]
    source: Mapping[str, str]

    def __post_init__(self) -> None:
        self._refuse_too_much()
        seen = set()
        for trial in self.trials:
            if trial.key in seen:
                raise InvalidInput(f"{self.name} has {describe(trial)} twice: give repeated trials different seeds")
            seen.add(trial.key)
            # Written so that NaN is refused too.
            if trial.success is not None and not 0 <= trial.success <= 1:
                raise InvalidInput(
                    f"{self.name} has success {trial.success} for {describe(trial)}: it must be in [0, 1]"
                )

    @property
    def name(self) -> str:
        """What to call this side's results in a message."""
        return next(iter(self.source.values()), "these results")

    def _refuse_too_much(self) -> None:
        if not self.trials:
            raise InvalidInput(f"{self.name} has no trials")
        counts = {
            "trials": (len(self.trials), MAX_TRIALS),
            "policies": (len({trial.policy for trial in self.trials}), MAX_POLICIES),
            "tasks": (len({trial.task for trial in self.trials}), MAX_TASKS),
        }
        for what, (count, most) in counts.items():
            if count > most:
                raise InvalidInput(f"{self.name} has {count} {what}: at most {most} can be compared at once")


def describe(trial: TrialResult) -> str:
    """A trial in words, for messages."""
    return f"policy {trial.policy!r}, task {trial.task!r}, scene {trial.scene!r}, seed {trial.seed}"
