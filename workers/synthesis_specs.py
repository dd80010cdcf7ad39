"""What the steps of a synthesis are told: attempts, and what came of them, as JSON."""

from __future__ import annotations

from pydantic import Field

from arena.synthesis.diversity import Variation
from arena.synthesis.plan import Attempt, Beginning, Wording
from workers.evaluation import Dataset, WorldSpec
from workers.jobs import Inputs
from workers.judge_specs import JudgeSpec


class AttemptSpec(Inputs):
    """An `arena.synthesis.plan.Attempt`, flat."""

    id: str
    frame: int
    instruction: str
    task: str
    source: str
    told: str
    label: str
    noise: float
    chunk: int | None
    weight: float | None
    seed: int
    number: int

    @classmethod
    def of(cls, attempt: Attempt) -> AttemptSpec:
        start, wording, variation = attempt.beginning, attempt.wording, attempt.variation
        return cls(
            id=start.id, frame=start.frame, instruction=start.instruction, task=start.task, source=start.source,
            told=wording.told, label=wording.label, noise=variation.noise, chunk=variation.chunk,
            weight=variation.weight, seed=attempt.seed, number=attempt.number,
        )  # fmt: skip

    @property
    def attempt(self) -> Attempt:
        """Raises `InvalidInput` for a variation that cannot be."""
        return Attempt(
            Beginning(self.id, self.frame, self.instruction, self.task, self.source),
            Wording(self.told, self.label), Variation(self.noise, self.chunk, self.weight), self.seed, self.number,
        )  # fmt: skip


class ImagineInputs(Inputs):
    """A batch of attempts of one policy in one world, judged at once: what one worker does at a time."""

    world: WorldSpec
    world_sha256: str
    policy: str
    policy_sha256: str
    dataset: Dataset
    judge: JudgeSpec
    steps: int
    attempts: tuple[AttemptSpec, ...] = Field(min_length=1)


class JudgedAttempt(Inputs):
    """What came of an attempt. `rollout` is None where the policy broke off: `reason` says why.

    `joints` are those that it began with, in rad, where its scene knows them: formats with joints go on from them.
    """

    attempt: AttemptSpec
    rollout: str | None
    robot: str = ""
    judge_sha256: str = ""
    probability: float | None = None
    threshold: float = 0.5
    apart: float | None = None
    done: int | None = None
    joints: tuple[float, ...] | None = None
    reason: str = ""


class KeptAttempt(Inputs):
    """A judged attempt that goes into the dataset: `frames` of its frames, from `first` on. `reviewed` by a person."""

    judged: JudgedAttempt
    frames: int
    first: int = 0
    reviewed: bool = False


class ExportSyntheticInputs(Inputs):
    """What was selected, where it goes, and what is mixed in. `judging` and `selection` are lines for the card."""

    kept: tuple[KeptAttempt, ...] = Field(min_length=1)
    out: str
    format: str
    target: str | None
    blank_cameras: bool
    real: Dataset | None
    ratio: float
    seed: int
    judging: tuple[str, ...]
    selection: tuple[str, ...]
    dropped: tuple[tuple[str, int], ...]
