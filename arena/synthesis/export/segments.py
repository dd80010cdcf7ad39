"""The first half of an export: each trajectory to files of its own, several at once, and never twice.

A segment is a folder with one mp4 a camera, its numbers, and `segment.json`, which is written last and says of which
trajectory it is. An export that was interrupted finds it and does not decode or encode that trajectory again.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arena.contracts import FloatArray, Frames, FrameSource, InvalidInput
from arena.episodes.atomic import atomic_write
from arena.episodes.encode import write_video
from arena.episodes.errors import TruncatedVideo
from arena.episodes.files import read_json, read_npz
from arena.episodes.lerobot_stats import SAMPLED_FRAMES, Stats, image_stats, vector_stats
from arena.episodes.video import read_index
from arena.synthesis.export.targets import ExportSpec
from arena.synthesis.export.trajectory import Trajectory

Progress = Callable[[int, int, str], None]
FACTS, NUMBERS = "segment.json", "numbers.npz"
BLOCK = 32
"""Frames that are in memory at once for each camera that is being encoded."""


@dataclass(frozen=True)
class Shape:
    """What all trajectories of a dataset have in common: rate, robot, action space, widths and (H, W) by feature."""

    fps: float
    robot: str
    action_space: str
    widths: Mapping[str, int]
    cameras: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, trajectory: Trajectory, columns: Mapping[str, FloatArray]) -> Shape:
        cameras = {name: source.shape[1:3] for name, source in sorted(trajectory.cameras.items())}
        widths = {name: values.shape[1] for name, values in columns.items()}
        return cls(trajectory.fps, trajectory.robot, trajectory.action.space.value, widths, cameras)

    def check(self, other: Shape, id: str) -> None:
        """Raises `InvalidInput` naming the first thing in which another trajectory differs."""
        for name, own in asdict(self).items():
            if own != (theirs := getattr(other, name)):
                raise InvalidInput(f"trajectory {id} has {name} {theirs}, but those before it {own}: a dataset has one")


@dataclass(frozen=True)
class Segment:
    """A trajectory that is safely on disk, without what is large: that is read when it is asked for."""

    folder: Path
    sha256: str
    length: int
    instruction: str
    bytes: Mapping[str, int]
    """Of each camera's mp4."""

    def facts(self) -> dict[str, Any]:
        """Everything that is known of it, as JSON."""
        return read_json(self.folder / FACTS)

    def columns(self) -> dict[str, FloatArray]:
        """Its numbers by feature, `(T, D)` each."""
        return read_npz(self.folder / NUMBERS)

    def film(self, camera: str) -> Path:
        return self.folder / f"{camera}.mp4"


def write_segments(
    folder: Path, trajectories: Iterable[Trajectory], spec: ExportSpec, progress: Progress, total: int = 0
) -> tuple[list[Segment], Shape, int]:
    """Segments in the order of the trajectories, what they have in common, and how many were there already.

    Raises `InvalidInput` where there is none, two have one id, or one does not fit the others or the format.
    """
    workers = spec.workers or os.cpu_count() or 1
    found: list[Segment] = []
    shape: Shape | None = None
    ids: set[str] = set()
    kept = 0
    waiting: deque[Future[tuple[Segment, bool]]] = deque()

    def collect() -> None:
        nonlocal kept
        segment, was_there = waiting.popleft().result()
        found.append(segment)
        kept += was_there
        progress(len(found), max(total, len(found)), "encoding")

    pool = ThreadPoolExecutor(workers, thread_name_prefix="encode")
    try:
        for index, trajectory in enumerate(trajectories):
            if trajectory.id in ids:
                raise InvalidInput(f"two trajectories have the id {trajectory.id!r}")
            ids.add(trajectory.id)
            prepared = spec.prepared(trajectory)
            own = Shape.of(prepared, spec.columns(prepared))
            shape = shape or own
            shape.check(own, trajectory.id)
            waiting.append(pool.submit(_write_segment, folder / f"{index:06d}", prepared, spec))
            # Only so many are open at once: an iterable of a million trajectories takes no more memory than ten.
            if len(waiting) >= 2 * workers:
                collect()
        while waiting:
            collect()
    finally:
        pool.shutdown(cancel_futures=True)
    if shape is None:
        raise InvalidInput("there is no trajectory to export")
    _drop_others(folder, found)
    return found, shape, kept


def segment_sha256(prepared: Trajectory, spec: ExportSpec) -> str:
    """What a segment's files are made from."""
    return f"{prepared.sha256}:{json.dumps(spec.identity)}"


def _write_segment(folder: Path, prepared: Trajectory, spec: ExportSpec) -> tuple[Segment, bool]:
    sha256 = segment_sha256(prepared, spec)
    if (known := _read_segment(folder, sha256, len(prepared))) is not None:
        return known, True
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    columns = spec.columns(prepared)
    stats = {name: vector_stats(values) for name, values in columns.items()}
    sizes = {}
    for name, source in sorted(prepared.cameras.items()):
        path = folder / f"{name}.mp4"
        stats[spec.layout.prefix + name] = _write_film(path, source, prepared.fps, spec.crf)
        sizes[name] = path.stat().st_size
    buffer = io.BytesIO()
    np.savez(buffer, **columns)  # type: ignore[arg-type]
    atomic_write(folder / NUMBERS, buffer.getvalue())
    facts = {
        "sha256": sha256,
        "id": prepared.id,
        "length": len(prepared),
        "instruction": prepared.instruction,
        "task": prepared.task,
        "robot": prepared.robot,
        "origin": asdict(prepared.origin),
        "bytes": sizes,
        "stats": {name: {key: value.tolist() for key, value in part.items()} for name, part in stats.items()},
    }
    atomic_write(folder / FACTS, json.dumps(facts, allow_nan=False).encode())
    return Segment(folder, sha256, len(prepared), prepared.instruction, sizes), False


def _read_segment(folder: Path, sha256: str, length: int) -> Segment | None:
    """What an interrupted export left, where it is of the same trajectory and whole."""
    if not (folder / FACTS).is_file():
        return None
    facts = read_json(folder / FACTS)
    if facts["sha256"] != sha256:
        return None
    segment = Segment(folder, sha256, length, facts["instruction"], facts["bytes"])
    films = {name: segment.film(name) for name in segment.bytes}
    whole = all(path.is_file() and path.stat().st_size == segment.bytes[name] for name, path in films.items())
    return segment if whole and (folder / NUMBERS).is_file() else None


def _write_film(path: Path, source: FrameSource, fps: float, crf: int) -> Stats:
    """Encode a camera's frames block by block. Returns their statistics, over the frames that LeRobot would sample."""
    length = source.shape[0]
    wanted = set(np.linspace(0, length - 1, SAMPLED_FRAMES).round().astype(int).tolist())
    sampled: list[Frames] = []

    def frames() -> Iterator[Frames]:
        for start in range(0, length, BLOCK):
            block = source.read(start, min(start + BLOCK, length))
            for number, frame in enumerate(block, start=start):
                if number in wanted:
                    sampled.append(frame.copy())
                yield frame

    write_video(path, frames(), fps, crf=crf)
    # A muxer on a full disk may fail late and quietly: what is on disk is counted.
    if (written := read_index(path).info.frames) != length:
        raise TruncatedVideo(f"{path} holds {written} of {length} frames")
    return image_stats(np.stack(sampled))


def _drop_others(folder: Path, found: list[Segment]) -> None:
    """Segments of an earlier, longer attempt are no part of this export."""
    own = {segment.folder for segment in found}
    for path in folder.iterdir():
        if path not in own:
            shutil.rmtree(path)
