"""Which frames of a rollout a model is shown, and as what pictures."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from arena.contracts import Frames, InvalidInput

ENCODINGS = {"png": ("PNG", {}), "jpeg": ("JPEG", {"quality": 90})}
GAP = 4
"""White columns between cameras, so that two views are not taken for one."""


@dataclass(frozen=True)
class Picture:
    """One instant, all cameras side by side: `(H, W, 3)` uint8, and its time in s since the rollout began."""

    pixels: Frames
    seconds: float
    max_edge: int
    encoding: str

    @cached_property
    def sha256(self) -> str:
        """Of what is shown, before any encoder: an encoder's next version is no reason to ask again."""
        facts = f"{self.pixels.shape}\n{self.max_edge}\n{self.encoding}\n"
        return hashlib.sha256(facts.encode() + np.ascontiguousarray(self.pixels).tobytes()).hexdigest()

    @cached_property
    def data_url(self) -> str:
        """As a `data:` URL, shrunk so that neither edge is longer than `max_edge` pixels."""
        from PIL import Image

        image = Image.fromarray(self.pixels)
        image.thumbnail((self.max_edge, self.max_edge), Image.Resampling.LANCZOS)
        kind, options = ENCODINGS[self.encoding]
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        return f"data:image/{self.encoding};base64,{base64.b64encode(stream.getvalue()).decode()}"


@dataclass(frozen=True)
class FramePlan:
    """How frames are chosen: the first, then `rate_hz` a second of the rollout, then the last.

    Where that is more than `max_frames`, the rate is lowered until it is not. They are judged in windows of `window`
    frames; each window is shown after the first frame and the last `context` frames of the window before, with what was
    said of them. `cameras` are put side by side; all, in the order of their names, where none are given.
    Raises `InvalidInput` for what cannot be.
    """

    rate_hz: float = 2.0
    max_frames: int = 32
    window: int = 8
    context: int = 2
    cameras: tuple[str, ...] = ()
    max_edge: int = 512
    encoding: str = "png"

    def __post_init__(self) -> None:
        if not (0 < self.rate_hz <= 1000 and 2 <= self.max_frames <= 512):
            raise InvalidInput("frames: rate_hz must be in (0, 1000] and max_frames from 2 to 512")
        if not (1 <= self.window <= 128 and 0 <= self.context <= 32):
            raise InvalidInput("frames: window must be from 1 to 128 and context from 0 to 32")
        if not 16 <= self.max_edge <= 4096:
            raise InvalidInput("frames: max_edge must be from 16 to 4096 pixels")
        if self.encoding not in ENCODINGS:
            raise InvalidInput(f"frames: encoding must be one of {', '.join(ENCODINGS)}, not {self.encoding!r}")

    def indices(self, frames: int, fps: float, most: int | None = None) -> tuple[int, ...]:
        """Which of `frames` frames at `fps` are shown, ascending, at most `most` (`max_frames` unless given)."""
        most = min(most or self.max_frames, self.max_frames)
        step = max(1.0, fps / self.rate_hz)
        chosen = np.unique(np.append(np.arange(0, frames - 1, step).astype(int), frames - 1))
        if len(chosen) > most:
            chosen = np.unique(np.linspace(0, frames - 1, most).round().astype(int))
        return tuple(int(index) for index in chosen)

    def pictures(self, frames: Mapping[str, Frames], fps: float, most: int | None = None) -> list[Picture]:
        """The chosen frames of `(T, H, W, 3)` uint8 cameras.

        Raises `InvalidInput` where a camera is missing, or is not of that shape, or cameras differ in length.
        """
        names = self.cameras or tuple(sorted(frames))
        if missing := [name for name in names if name not in frames]:
            raise InvalidInput(f"there is no camera {missing[0]!r}, only {', '.join(sorted(frames)) or 'none'}")
        films = {name: np.asarray(frames[name]) for name in names}
        for name, film in films.items():
            if film.ndim != 4 or film.shape[3] != 3 or film.dtype != np.uint8 or 0 in film.shape:
                raise InvalidInput(f"camera {name!r} must show (T, H, W, 3) uint8, not {film.shape} {film.dtype}")
        if not films or len({len(film) for film in films.values()}) > 1:
            shown = ", ".join(str(len(film)) for film in films.values())
            raise InvalidInput(f"the cameras show {shown or 'no'} frames")
        return [
            Picture(_beside([film[index] for film in films.values()]), index / fps, self.max_edge, self.encoding)
            for index in self.indices(len(next(iter(films.values()))), fps, most)
        ]


def _beside(views: list[Frames]) -> Frames:
    """Pictures of any height in a row, the lower ones on white."""
    height = max(len(view) for view in views)
    columns = []
    for view in views:
        padded = np.full((height, view.shape[1], 3), 255, np.uint8)
        padded[: len(view)] = view
        columns += [np.full((height, GAP, 3), 255, np.uint8), padded]
    return np.concatenate(columns[1:], axis=1)
