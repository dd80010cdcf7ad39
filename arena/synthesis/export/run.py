"""One export from trajectories to a finished dataset: streamed, resumable, there whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arena.contracts import InvalidInput
from arena.episodes import lerobot_layout as layout
from arena.episodes.atomic import seal_directory
from arena.episodes.files import read_json
from arena.synthesis.export.card import CardNotes, Census, write_card
from arena.synthesis.export.datasets import Layout, write_v21, write_v30
from arena.synthesis.export.segments import Progress, Segment, Shape, segment_sha256, write_segments
from arena.synthesis.export.targets import ExportSpec
from arena.synthesis.export.trajectory import Trajectory

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CARD = "README.md"


@dataclass(frozen=True)
class ExportReport:
    """What an export made. `resumed` episodes were encoded by an earlier attempt."""

    path: Path
    episodes: int
    synthetic: int
    frames: int
    resumed: int
    seconds: float

    @property
    def frames_per_second(self) -> float:
        return self.frames / max(self.seconds, 1e-9)


def export_dataset(
    out: Path,
    trajectories: Iterable[Trajectory],
    spec: ExportSpec,
    notes: CardNotes | None = None,
    progress: Progress = lambda done, total, stage: None,
    total: int = 0,
) -> ExportReport:
    """Write `trajectories` (`total` of them, where that is known) as the dataset `out`.

    Everything is written to a hidden folder beside `out`, which is renamed when all is there; `manifest.json` with
    every file's sha256 comes last. Called again with the same trajectories after an interruption, it encodes only
    what is missing; called after it was done, it does nothing. Room is needed for the films twice.

    Raises `InvalidInput` where `out` holds anything else, a trajectory does not fit, another process is writing `out`,
    or the disk is full: then what was done stays, hidden, for the next attempt.
    """
    began = time.perf_counter()
    if out.exists():
        return _made_before(out, trajectories, spec)
    staging = out.parent / f".{out.name}.partial"
    with _locked(staging, out), _named_errors(staging, out):
        segments, shape, resumed = write_segments(staging / "segments", trajectories, spec, progress, total)
        census = Census()
        dataset = staging / "dataset"
        shutil.rmtree(dataset, ignore_errors=True)
        _assemble(dataset, segments, shape, spec, notes or CardNotes(), census, progress)
        seal_directory(dataset, out)
        shutil.rmtree(staging, ignore_errors=True)
    seconds = time.perf_counter() - began
    return ExportReport(out, len(segments), census.synthetic, census.frames, resumed, seconds)


def _assemble(
    dataset: Path,
    segments: Sequence[Segment],
    shape: Shape,
    spec: ExportSpec,
    notes: CardNotes,
    census: Census,
    progress: Progress,
) -> None:
    """Segments to a dataset's files; of its own, `info.json` is the last."""
    for segment in segments:
        census.add(segment.facts())
    write = write_v21 if spec.layout.version == layout.V21 else write_v30
    work = Layout(dataset, segments, shape, spec, lambda done: progress(done, len(segments), "assembling"))
    info = write(work)
    (dataset / CARD).write_text(write_card(census, shape, spec, notes))
    declared = _declaration(segments, shape, spec, census)
    (dataset / layout.DECLARATION).write_text(json.dumps(declared, indent=1))
    (dataset / layout.INFO).write_text(json.dumps(info, indent=1))


def _declaration(segments: Sequence[Segment], shape: Shape, spec: ExportSpec, census: Census) -> dict[str, Any]:
    """`meta/dreamarena.json`: what the numbers mean, because nothing else in a LeRobot dataset says it."""
    velocities = spec.layout.openpi and shape.action_space == "joint_velocity"
    return {
        "format": 1,
        "robot": shape.robot,
        "fps": shape.fps,
        "cameras": {name: list(size) for name, size in shape.cameras.items()},
        "action_space": shape.action_space,
        "velocity_scale": spec.velocity_scale if velocities else 1.0,
        "units": "m, rad, extrinsic-xyz Euler angles of the end effector in the robot's base frame",
        "gripper": "0 open, 1 closed",
        "target": spec.target,
        "synthetic_episodes": census.synthetic,
        "recorded_episodes": census.real,
        "export_sha256": _export_sha256(segment.sha256 for segment in segments),
    }


def _export_sha256(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\n")
    return digest.hexdigest()


def _made_before(out: Path, trajectories: Iterable[Trajectory], spec: ExportSpec) -> ExportReport:
    """What `out` holds, if it is this very export: a kill may have come between the rename and the caller's answer."""
    path = out / layout.DECLARATION
    known = read_json(path) if path.is_file() else {}
    if known.get("export_sha256") is not None:
        own = _export_sha256(segment_sha256(spec.prepared(each), spec) for each in trajectories)
        if known["export_sha256"] == own:
            info = read_json(out / layout.INFO)
            count = int(info["total_episodes"])
            return ExportReport(out, count, int(known["synthetic_episodes"]), int(info["total_frames"]), count, 0.0)
    raise InvalidInput(f"{out} already exists: choose another folder, or remove it")


@contextmanager
def _locked(staging: Path, out: Path) -> Iterator[None]:
    """One export at a time to one place; the lock goes when its process does, however that ends."""
    staging.mkdir(parents=True, exist_ok=True)
    with (staging.parent / f".{out.name}.lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InvalidInput(f"another process is writing {out}: wait for it, or choose another folder") from None
        try:
            yield
        finally:
            Path(stream.name).unlink(missing_ok=True)


@contextmanager
def _named_errors(staging: Path, out: Path) -> Iterator[None]:
    """A full disk is the user's to mend: it becomes one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        done = len(list((staging / "segments").glob("*/segment.json")))
        raise InvalidInput(
            f"there is no room left for {out}: {done} episodes are kept in {staging.name}; make room and run the same "
            "again to go on, or remove that folder"
        ) from error
