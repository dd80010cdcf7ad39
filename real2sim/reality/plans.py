"""Which episodes a recording holds: decided before anything moves, so that it can be interrupted and shared out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from arena.contracts import InvalidInput
from real2sim.reality.experts import check_kind
from real2sim.reality.tasks import check_task

KINDS: Mapping[str, float] = MappingProxyType(
    {
        "expert": 24, "noisy": 18, "detour": 14, "near_miss": 28, "wrong_goal": 12, "early_stop": 10,
        "open_gripper": 6, "random": 18,
    }
)  # fmt: skip
"""What a recording is made of: weights of the kinds of driver. About half of the episodes fail."""


@dataclass(frozen=True)
class EpisodePlan:
    """One episode to be recorded. Everything in it follows from the recording's seed, the task and the index."""

    id: str
    task: str
    kind: str
    index: int
    seed: int
    """Of the driver's randomness, and of the placement: the trial's `reset_seed`."""


def plan(
    tasks: Sequence[str], episodes_per_task: int, seed: int, kinds: Mapping[str, float] = KINDS
) -> list[EpisodePlan]:
    """`episodes_per_task` episodes of each task, shared among `kinds` by weight.

    A longer plan extends a shorter one of the same seed and kinds: each task's episodes begin with the shorter one's.
    Raises `InvalidInput` for unknown tasks and kinds, repeated tasks, and numbers that make no sense.
    """
    if episodes_per_task < 1:
        raise InvalidInput(f"episodes per task must be at least 1, not {episodes_per_task}")
    if not tasks or len(set(tasks)) != len(tasks):
        raise InvalidInput(f"a recording needs one or more tasks, each once, not {list(tasks)}")
    names = _kinds_in_order(kinds, episodes_per_task)
    return [_planned(check_task(task), kind, index, seed) for task in tasks for index, kind in enumerate(names)]


def _kinds_in_order(kinds: Mapping[str, float], total: int) -> list[str]:
    """The kind of each index: always the one that is furthest behind its share, so that prefixes keep the shares."""
    whole = sum(kinds.values())
    if not whole > 0 or min(kinds.values()) < 0:
        raise InvalidInput(f"the weights of the kinds must be positive, not {dict(kinds)}")
    counts = {check_kind(kind): 0 for kind in kinds}
    order = []
    for number in range(1, total + 1):
        behind = {kind: number * weight / whole - counts[kind] for kind, weight in kinds.items()}
        chosen = max(behind, key=lambda kind: behind[kind])
        counts[chosen] += 1
        order.append(chosen)
    return order


def _planned(task: str, kind: str, index: int, seed: int) -> EpisodePlan:
    digest = hashlib.sha256(f"{seed}/{task}/{index}".encode()).digest()
    own = int.from_bytes(digest[:4], "big") >> 1
    return EpisodePlan(f"{task}-{seed}-{index:05d}-{kind}", task, kind, index, own)
