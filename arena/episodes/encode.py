"""Frames to H.264 files."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from arena.contracts import Frames, InvalidInput
from arena.episodes.atomic import atomic_file
from arena.episodes.errors import EmptyVideo


def write_video(
    path: Path,
    frames: Frames | Iterable[Frames],
    fps: float,
    *,
    crf: int = 18,
    codec: str = "libx264",
    preset: str = "veryfast",
    keyframe_interval: int = 10,
) -> None:
    """Encode `(T, H, W, 3)` uint8 RGB, or an iterable of `(H, W, 3)`, as H.264 (yuv420p) in an mp4.

    H and W have to be even. Key frames every `keyframe_interval` frames keep random access cheap. The file
    appears complete or not at all. Its bytes are not reproducible: the same frames were seen to give
    different packets within one process. Raises `InvalidInput` for other shapes and `EmptyVideo` for no frames.
    """
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise EmptyVideo(f"{path}: there are no frames to write")
    _check_frame(first, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial, av.open(str(partial), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(codec, rate=rate_of(fps))
        if not isinstance(stream, VideoStream):
            raise InvalidInput(f"{codec} is no video codec")
        stream.height, stream.width, stream.pix_fmt = first.shape[0], first.shape[1], "yuv420p"
        # One thread leaves the other cores to the simulator; without B-frames decoding order is display order.
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"crf": str(crf), "preset": preset, "bf": "0", "g": str(keyframe_interval)}
        for frame in chain([first], remaining):
            if frame.shape != first.shape or frame.dtype != np.uint8:
                raise InvalidInput(f"{path}: a frame is {frame.shape} {frame.dtype}, the first is {first.shape} uint8")
            container.mux(stream.encode(VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))


def rate_of(fps: float) -> Fraction:
    """A frame rate as encoders take it."""
    return Fraction(fps).limit_denominator(60_000)


def _check_frame(frame: Frames, path: Path) -> None:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise InvalidInput(f"{path}: a frame must be (H, W, 3) uint8, not {frame.shape} {frame.dtype}")
    if frame.shape[0] % 2 or frame.shape[1] % 2:
        raise InvalidInput(f"{path}: H.264 needs even sides, not {frame.shape[1]}x{frame.shape[0]}")
