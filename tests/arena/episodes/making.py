"""Tiny datasets of every layout, and videos that are damaged in known ways."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from arena.episodes.encode import write_video


def moving_frames(count: int, height: int = 64, width: int = 96, seed: int = 0) -> NDArray[np.uint8]:
    """`(T, H, W, 3)` of a smooth pattern that moves two pixels a frame, so that neighbours can be told apart."""
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    x = np.arange(width)[None, None, :, None] - 2 * np.arange(count)[:, None, None, None]
    y = np.arange(height)[None, :, None, None]
    waves = np.sin(2 * np.pi * x / width + phase) * np.cos(2 * np.pi * y / height + phase)
    return (127 + 100 * waves).astype(np.uint8)


def states(count: int, seed: int = 0) -> NDArray[np.float64]:
    """`(T, 7)`: a smooth path, angles and a gripper in [0, 1]."""
    random = np.random.default_rng(seed)
    path = np.cumsum(random.normal(0, 0.01, (count, 6)), axis=0)
    return np.concatenate([path, np.linspace(0, 1, count)[:, None]], axis=1)


def droid_root(root: Path, names: tuple[str, ...] = ("0",), count: int = 6, fps: float = 5.0) -> Path:
    """A dataset of the Ctrl-World layout with the 15 Hz numbers; all episodes in the split `train`."""
    for seed, name in enumerate(names):
        recorded, command = states(3 * count - 2, seed), states(3 * count - 2, seed + 100)
        annotation: dict[str, Any] = {
            "texts": [f"task {name}"],
            "success": 1,
            "videos": [{"video_path": f"videos/train/{name}/{i}.mp4"} for i in range(3)],
            "states": recorded[::3].tolist(),
            "joints": np.zeros((count, 8)).tolist(),
            "observation.state.cartesian_position": recorded[:, :6].tolist(),
            "action.cartesian_position": command[:, :6].tolist(),
            "action.gripper_position": command[:, 6].tolist(),
        }
        write_json(root / f"annotation/train/{name}.json", annotation)
        for i in range(3):
            write_video(root / f"videos/train/{name}/{i}.mp4", moving_frames(count, seed=10 * seed + i), fps)
    return root


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, NaN included, making folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON object; None removes one."""
    value = json.loads(path.read_text()) | changes
    write_json(path, {key: item for key, item in value.items() if item is not None})


def encode(path: Path, frames: NDArray[np.uint8], codec: str, pix_fmt: str, **options: str) -> Path:
    """Encode with any codec and options, for the videos that `write_video` does not write."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=5)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
        stream.codec_context.options = options
        for frame in frames:
            container.mux(stream.encode(VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def huge_video(path: Path, side: int = 20_000) -> Path:
    """A motion-JPEG mp4 whose every header says `side` x `side`; nothing of that size is ever encoded."""
    encode(path, moving_frames(3, 32, 32), "mjpeg", "yuvj420p")
    data = path.read_bytes()
    # The picture's size is in each JPEG's start-of-frame segment and in the mp4's sample entry.
    data = re.sub(
        rb"(\xff\xc0..\x08)\x00\x20\x00\x20", lambda m: m[1] + struct.pack(">HH", side, side), data, flags=re.S
    )
    path.write_bytes(patched_sample_entry(data, b"mp4v", side, side))
    return path


def patched_sample_entry(data: bytes, kind: bytes, width: int, height: int) -> bytes:
    """An mp4's bytes with another size in its sample description."""
    entry = data.index(kind, data.index(b"stsd"))
    return data[: entry + 28] + struct.pack(">HH", width, height) + data[entry + 32 :]


def truncated(path: Path, fraction: float = 0.6) -> Path:
    """Cut the end of a file off."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    return path
