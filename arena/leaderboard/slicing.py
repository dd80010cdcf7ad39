"""Parts of an evaluation: the rollouts of one task, one scene or one world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

AXES = {"task": "Task", "scene_id": "Scene", "world": "World"}
"""What an evaluation can be cut along. A perturbed scene is a world of its own, so worlds are perturbations too."""


class Placed(Protocol):
    """A rollout, as far as cutting needs it."""

    @property
    def task(self) -> str: ...
    @property
    def scene_id(self) -> str: ...
    @property
    def world(self) -> str: ...


P = TypeVar("P", bound=Placed)


def options(rollouts: Iterable[Placed], axis: str) -> tuple[str, ...]:
    """The values along `axis`, sorted; none where all rollouts have the same, since there is nothing to choose."""
    values = sorted({str(getattr(rollout, axis)) for rollout in rollouts})
    return tuple(values) if len(values) > 1 else ()


def sliced(rollouts: Iterable[P], chosen: Mapping[str, str]) -> Sequence[P]:
    """The rollouts that have all the `chosen` values, by axis."""
    return [rollout for rollout in rollouts if all(getattr(rollout, axis) == value for axis, value in chosen.items())]
