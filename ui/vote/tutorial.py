"""The first two pairs that anyone is shown: drawn here, so that their answers are certain, and there is always one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from arena.contracts import Choice, FloatArray, Frames
from arena.episodes.encode import write_video

SIZE = (144, 192)
FRAMES, FPS = 24, 10.0
INSTRUCTION = "push the ball into the ring"
TABLE, RING, BALL, HAND = (236, 233, 226), (46, 125, 50), (214, 69, 65), (70, 80, 95)
START, GOAL = np.array([60.0, 72.0]), np.array([142.0, 72.0])
RADIUS = 9.0


@dataclass(frozen=True)
class Lesson:
    """A pair with its answer, and what is said when that was found, or was not."""

    left: str
    right: str
    answer: Choice
    why: str

    def as_json(self) -> dict[str, Any]:
        films = {side: [f"vote/lesson/{getattr(self, side)}"] for side in ("left", "right")}
        return {"instruction": INSTRUCTION, "answer": self.answer.value, "why": self.why, **films}


LESSONS = (
    Lesson("lesson-1.mp4", "lesson-2.mp4", Choice.RIGHT, "Only on the right does the ball end up in the ring."),
    Lesson("lesson-3.mp4", "lesson-1.mp4", Choice.BOTH_BAD, "Neither ball gets anywhere near the ring: both are bad."),
)


def _film(reach: float, aside: float) -> bytes:
    """The hand moves right for the whole film; the ball goes with it for the share `reach` of the way."""
    frames = np.stack([_frame(t / (FRAMES - 1), reach, aside) for t in range(FRAMES)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_video(path, frames, FPS)
        return path.read_bytes()


def _frame(time: float, reach: float, aside: float) -> Frames:
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    picture = np.empty((*SIZE, 3))
    picture[:] = TABLE
    moved = min(time * 1.25, 1.0)
    ball = START + (GOAL - START) * min(moved, reach)
    hand = START + (GOAL - START) * moved + np.array([-2.2 * RADIUS, aside])
    ring = np.abs(np.hypot(columns - GOAL[0], rows - GOAL[1]) - 2 * RADIUS)
    _paint(picture, 2.5 - ring, RING)
    _paint(picture, RADIUS - np.hypot(columns - ball[0], rows - ball[1]), BALL)
    _paint(picture, 0.8 * RADIUS - np.hypot(columns - hand[0], rows - hand[1]), HAND)
    return picture.round().astype(np.uint8)


def _paint(picture: FloatArray, inside: FloatArray, colour: tuple[int, int, int]) -> None:
    """`inside` in pixels: what is half a pixel in or out is painted half."""
    cover = np.clip(inside + 0.5, 0, 1)[:, :, None]
    picture[:] = picture * (1 - cover) + np.array(colour) * cover


FILMS: Mapping[str, Callable[[], bytes]] = MappingProxyType(
    {
        name: cache(partial(_film, reach, aside))
        for name, reach, aside in (
            ("lesson-1.mp4", 0.25, 26.0),
            ("lesson-2.mp4", 1.0, 0.0),
            ("lesson-3.mp4", 0.0, -30.0),
        )
    }
)
"""By name; drawn when they are first asked for."""
