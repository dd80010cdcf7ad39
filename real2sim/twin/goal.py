"""What a demonstration was after, by where it left things: how a twin tells a success without asking anybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from arena.contracts import FloatArray

WITHIN = 0.05
"""Metres: about a thing's own size, and set before any trial was run."""


@dataclass(frozen=True)
class Goal:
    """`thing` (the tool itself where that is empty) within `within` m of `place` `(3,)` m of the base frame."""

    thing: str
    place: tuple[float, float, float]
    within: float = WITHIN

    def distance(self, tool: FloatArray, body_to_base: Mapping[str, FloatArray]) -> float:
        """Metres that are left, of the tool's position `(3,)` and things' poses `(4, 4)`."""
        at = body_to_base[self.thing][:3, 3] if self.thing else tool[:3]
        return float(np.linalg.norm(at - np.array(self.place)))
