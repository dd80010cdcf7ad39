"""Films that are in memory."""

from __future__ import annotations

from arena.contracts import Frames


class MemoryFrames:
    """Frames of one camera that are in memory already (`arena.contracts.FrameSource`)."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self._frames.shape

    def read(self, start: int = 0, stop: int | None = None) -> Frames:
        return self._frames[start:stop]
