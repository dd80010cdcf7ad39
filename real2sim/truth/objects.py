"""How far the things found are from the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from arena.contracts import FloatArray
from real2sim.truth.scene import TrueObject

NEAR = 0.06
"""Metres within which a thing found is taken for a true one."""


class Found(Protocol):
    """What is compared: `real2sim.twin.objects.TwinObject` is one."""

    @property
    def body_to_base(self) -> FloatArray: ...

    @property
    def size(self) -> FloatArray: ...


@dataclass(frozen=True)
class ObjectErrors:
    """`pairs` `(P, 2)` are indices of found and true things; `position_cm` and `size_percent` `(P,)` theirs.

    A size's error is the mean over its horizontal extents, in order, and its height. `missed` and `stray` are indices
    of true and found things without another.
    """

    pairs: tuple[tuple[int, int], ...]
    position_cm: FloatArray
    size_percent: FloatArray
    missed: tuple[int, ...]
    stray: tuple[int, ...]


def object_errors(found: Sequence[Found], true_objects: Sequence[TrueObject]) -> ObjectErrors:
    """Pairs are made nearest first, within `NEAR`, each thing once."""
    places = [np.asarray(thing.body_to_base)[:3, 3] for thing in found]
    apart = [
        (float(np.linalg.norm(place - thing.pose[:3, 3])), i, j)
        for i, place in enumerate(places)
        for j, thing in enumerate(true_objects)
    ]
    pairs: list[tuple[int, int]] = []
    position, size = [], []
    for distance, i, j in sorted(apart):
        if distance > NEAR or any(i == a or j == b for a, b in pairs):
            continue
        pairs.append((i, j))
        position.append(100 * distance)
        ours, theirs = _ordered(found[i].size), _ordered(true_objects[j].size)
        size.append(100 * float(np.mean(np.abs(ours - theirs) / theirs)))
    missed = tuple(j for j in range(len(true_objects)) if all(j != b for _, b in pairs))
    stray = tuple(i for i in range(len(found)) if all(i != a for a, _ in pairs))
    return ObjectErrors(tuple(pairs), np.array(position), np.array(size), missed, stray)


def _ordered(size: FloatArray) -> FloatArray:
    """The two horizontal extents in order, then the height."""
    return np.array([*sorted(size[:2]), size[2]])
