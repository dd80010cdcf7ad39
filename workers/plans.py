"""What a user asks for in an evaluation, and how it is kept, so that another policy can be asked for alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from arena.contracts import InvalidInput
from arena.policies.specs import ADAPTED, split_adapted
from arena.store import EvaluationRecord
from workers.registry import STAND_IN
from workers.settings import SAMPLER_STEPS

_PATHS = ("episodes", "layout", "demonstrations")
_TUPLES = ("policies", "keep")


@dataclass(frozen=True)
class EvaluationPlan:
    """What a user asks for; see `dreamarena evaluate --help`."""

    world: str
    policies: tuple[str, ...]
    episodes: Path
    layout: Path | None = None
    keep: tuple[str, ...] | None = None
    scenes: int | None = None
    beginnings: int = 1
    steps: int = 20
    seed: int = 0
    judge: str = "auto"
    batch: int = 8
    sampler_steps: int = SAMPLER_STEPS
    guidance: float = 1.0
    labelled: int = 48
    demonstrations: Path | None = None
    """The dataset that a judge by demonstrations is made from, where it is not `episodes`."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, with absolute paths: it may be read by a process that works elsewhere."""
        found = asdict(self)
        for name in _PATHS:
            if found[name] is not None:
                found[name] = str(Path(found[name]).resolve())
        if self.world != STAND_IN:
            found["world"] = absolute(self.world)
        found["policies"] = tuple(absolute_spec(policy) for policy in self.policies)
        found["judge"] = absolute_spec(self.judge)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> EvaluationPlan:
        """What `to_json` gave. Raises `InvalidInput` where it is of another version."""
        if set(kept) != {field.name for field in fields(cls)}:
            raise InvalidInput("this evaluation was planned by another version: run `dreamarena evaluate` again")
        values: dict[str, Any] = dict(kept)
        values |= {name: Path(kept[name]) for name in _PATHS if kept[name] is not None}
        values |= {name: tuple(kept[name]) for name in _TUPLES if kept[name] is not None}
        return cls(**values)


def absolute(path: str) -> str:
    """A path that exists, absolute; other text as it is."""
    return str(Path(path).resolve()) if Path(path).exists() else path


def absolute_spec(spec: str) -> str:
    """`bc:FOLDER`, `lerobot:FOLDER?...`, `adapted:FILE,...`, `learned:FOLDER` or a file, with an absolute path."""
    kind, colon, rest = spec.partition(":")
    if kind == ADAPTED:
        file, server = split_adapted(spec)
        return f"{kind}:{absolute(file)},{server}"
    path, mark, query = rest.partition("?")
    return f"{kind}:{absolute(path)}{mark}{query}" if colon and path else absolute(spec) if "." in spec else spec


def joined(record: EvaluationRecord, policy: str) -> EvaluationPlan:
    """The plan of an evaluation with one more policy: same world, scenes, seed and judge.

    Raises `InvalidInput` where the plan was not kept, as in evaluations of earlier versions.
    """
    policy = absolute_spec(policy)
    kept = record.config.get("plan")
    if not kept:
        raise InvalidInput(f"evaluation {record.id} does not say how it was asked for: run `dreamarena evaluate` again")
    plan = EvaluationPlan.of_json(kept)
    return plan if policy in plan.policies else replace(plan, policies=(*plan.policies, policy))
