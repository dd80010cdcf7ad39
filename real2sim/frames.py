"""Films that are in memory, and which of a film's frames are looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arena.contracts import Frames


def spread_over(length: int, most: int) -> NDArray[np.int64]:
    """`(K,)`: at most `most` of `length` indices, evenly from the first to the last."""
    return np.unique(np.linspace(0, length - 1, most).astype(np.int64))


class MemoryFrames:
    """Frames of one camera that are in memory already (`arena.contracts.FrameSource`)."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self._frames.shape

    def read(self, start: int = 0, stop: int | None = None) -> Frames:
        return self._frames[start:stop]
