"""A person in the loop: what was selected waits in a file until each trial was accepted, rejected or trimmed.

The file belongs to one selection: other trials make another review. Whoever decides writes the whole file anew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from arena.contracts import InvalidInput
from arena.episodes.atomic import atomic_write

FORMAT = "dreamarena-review-1"
MAX_BYTES = 16 << 20


class Decision(StrEnum):
    WAITING = "waiting"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Item:
    """One selected trial. `length` frames were rolled out; `frames` of them, from `first` on, are kept if accepted."""

    rollout: str
    artifact: str
    task: str
    instruction: str
    probability: float | None
    length: int
    frames: int
    first: int = 0
    decision: Decision = Decision.WAITING

    def __post_init__(self) -> None:
        if not (self.first >= 0 and self.frames >= 2 and self.first + self.frames <= self.length):
            raise InvalidInput(
                f"{self.frames} frames from {self.first} on cannot be kept of {self.length} of {self.rollout[:12]}: "
                "two at least have to be, and all have to exist"
            )


@dataclass(frozen=True)
class Review:
    """All trials of one selection, in its order. `dataset` is where they will go."""

    dataset: str
    items: tuple[Item, ...]

    @property
    def waiting(self) -> int:
        """How many nobody has decided on."""
        return sum(item.decision is Decision.WAITING for item in self.items)

    @property
    def accepted(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.decision is Decision.ACCEPTED)

    def decided(self, rollout: str, decision: Decision, first: int | None = None, frames: int | None = None) -> Review:
        """With a decision on one trial. Raises `InvalidInput` where it is not in it, or the trim cannot be."""
        if rollout not in {item.rollout for item in self.items}:
            raise InvalidInput(f"the review of {self.dataset} has no trial {rollout[:12]!r}")
        return replace(self, items=tuple(_decided(item, rollout, decision, first, frames) for item in self.items))


def _decided(item: Item, rollout: str, decision: Decision, first: int | None, frames: int | None) -> Item:
    if item.rollout != rollout:
        return item
    start = item.first if first is None else first
    return replace(item, decision=decision, first=start, frames=item.frames if frames is None else frames)


def write_review(path: Path, review: Review) -> None:
    """Whole or not at all."""
    described = {"format": FORMAT, "dataset": review.dataset, "items": [asdict(item) for item in review.items]}
    atomic_write(path, json.dumps(described, indent=1, allow_nan=False).encode())


def read_review(path: Path) -> Review:
    """What `write_review` wrote. Raises `InvalidInput` for anything else."""
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise InvalidInput(f"there is no review in {path}")
    try:
        described: dict[str, Any] = json.loads(path.read_text())
        if described["format"] != FORMAT:
            raise InvalidInput(f"{path}: format {described['format']!r} is not {FORMAT!r}")
        items = tuple(_item(values) for values in described["items"])
        return Review(str(described["dataset"]), items)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(f"{path} is not a review: {error!r}") from None


def reviews(folder: Path) -> Sequence[Path]:
    """The reviews in a folder, newest first."""
    return sorted(folder.glob("*.json"), key=lambda path: -path.stat().st_mtime) if folder.is_dir() else ()


def _item(values: dict[str, Any]) -> Item:
    probability = values["probability"]
    return Item(
        rollout=str(values["rollout"]), artifact=str(values["artifact"]), task=str(values["task"]),
        instruction=str(values["instruction"]), probability=None if probability is None else float(probability),
        length=int(values["length"]), frames=int(values["frames"]), first=int(values["first"]),
        decision=Decision(values["decision"]),
    )  # fmt: skip
