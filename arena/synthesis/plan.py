"""What is tried, in which order, and when it is enough: decided from a seed, so that it can be interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from arena.contracts import InvalidInput
from arena.synthesis.diversity import Diversity, Variation
from arena.synthesis.turns import in_turns

SEED_BITS = 32
RECORDING, ROLLOUT, TWIN = "recording", "rollout", "twin"
"""Whose frame a trial begins at: a recorded episode's, an earlier rollout's, or a digital twin's own first one."""


@dataclass(frozen=True)
class Beginning:
    """Where trials begin: frame `frame` of what has the id `id` and is a `source`, one of those above.

    `instruction` is what it was told there, and what the judge is asked about.
    """

    id: str
    frame: int
    instruction: str
    task: str = ""
    source: str = RECORDING

    @property
    def key(self) -> str:
        return f"{self.id}@{self.frame}"


@dataclass(frozen=True)
class Wording:
    """What the policy and the world are told, and under which words the trajectory is kept.

    They differ where a policy should learn new words for what it can do when told as it was taught.
    """

    told: str
    label: str


@dataclass(frozen=True)
class Attempt:
    """One trial to be had. `number` counts the attempts at its beginning, from 0 on."""

    beginning: Beginning
    wording: Wording
    variation: Variation
    seed: int
    number: int


@dataclass(frozen=True)
class Budget:
    """When it is enough: `wanted` trajectories, `attempts` trials, or `minutes`; at most `per_scene` from a scene."""

    wanted: int = 40
    attempts: int = 160
    minutes: float | None = 8.0
    per_scene: int = 3

    def __post_init__(self) -> None:
        if min(self.wanted, self.attempts, self.per_scene) < 1:
            raise InvalidInput("a synthesis wants at least one trajectory, in one attempt, of one a scene")
        if self.minutes is not None and not self.minutes > 0:
            raise InvalidInput(f"a synthesis needs more than {self.minutes} minutes")


@dataclass(frozen=True)
class SynthesisPlan:
    """`wordings` maps what beginnings are told to how they are told and kept; others keep their own words."""

    beginnings: tuple[Beginning, ...]
    diversity: Diversity = field(default_factory=Diversity)
    budget: Budget = field(default_factory=Budget)
    wordings: Mapping[str, tuple[Wording, ...]] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.beginnings:
            raise InvalidInput("there is no scene to begin at")
        keys = [beginning.key for beginning in self.beginnings]
        if len(set(keys)) < len(keys):
            raise InvalidInput(f"{max(keys, key=keys.count)} occurs twice among the scenes")

    def round(self, number: int, found: Mapping[str, int] | None = None) -> list[Attempt]:
        """The `number`-th attempt at every beginning that has not `found` enough yet, by its key.

        What is tried at a beginning does not depend on the others.
        """
        enough = found or {}
        return [
            self._attempt(index, beginning, number)
            for index, beginning in enumerate(self.beginnings)
            if enough.get(beginning.key, 0) < self.budget.per_scene
        ]

    def _attempt(self, index: int, beginning: Beginning, number: int) -> Attempt:
        own = Wording(beginning.instruction, beginning.instruction)
        wordings = self.wordings.get(beginning.instruction, (own,))
        return Attempt(
            beginning=beginning,
            wording=wordings[(index + number) % len(wordings)],
            variation=self.diversity.variation(number),
            seed=attempt_seed(self.seed, beginning.key, number),
            number=number,
        )


def attempt_seed(seed: int, key: str, number: int) -> int:
    """The seed of one attempt: whatever the batch and the other beginnings."""
    digest = hashlib.sha256(f"{seed}\n{key}\n{number}".encode()).digest()
    return int.from_bytes(digest[: SEED_BITS // 8], "big")


def interleaved(beginnings: Sequence[Beginning]) -> list[Beginning]:
    """The same with tasks taking turns, so that a budget that ends early has served all."""
    by_task: dict[str, list[Beginning]] = {}
    for beginning in beginnings:
        by_task.setdefault(beginning.task or beginning.instruction, []).append(beginning)
    return in_turns(by_task.values())
