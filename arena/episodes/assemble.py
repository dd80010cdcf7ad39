"""Checks that every layout's episodes pass through, so that none of them can be ragged or hold NaN."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from arena.contracts import ActionChunk, ActionSpace, Episode, FloatArray, FrameSource
from arena.episodes.atomic import file_sha256
from arena.episodes.errors import InvalidStates, LengthMismatch, MissingCamera
from arena.episodes.video import VideoFrames, read_index

_GRIPPER_TOLERANCE = 0.05
_HASHED_WHOLE = 64 << 20
_SAMPLE = 1 << 20


@dataclass(frozen=True)
class Pending:
    """An episode that was found but not yet read. `load` raises `InvalidInput` for a bad one."""

    path: Path
    load: Callable[[], Episode]


def rows(path: Path, name: str, values: Any, width: int) -> FloatArray:
    """`values` as a finite `(T, width)` float64 array, T > 0; raises `InvalidStates` naming the file and the column."""
    try:
        array = np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidStates(f"{path}: {name} is not a table of numbers of shape (T, {width})") from None
    if width == 1 and array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] != width or len(array) == 0:
        raise InvalidStates(f"{path}: {name} has shape {array.shape}, not (T, {width})")
    if not (finite := np.isfinite(array)).all():
        raise InvalidStates(
            f"{path}: {name} holds NaN or infinite numbers, first in row {int(np.argmin(finite.all(1)))}"
        )
    return array


def check_gripper(path: Path, name: str, gripper: FloatArray) -> FloatArray:
    """`gripper` clipped to [0, 1]; raises `InvalidStates` where it is so far outside that its units must be others."""
    low, high = float(gripper.min()), float(gripper.max())
    if low < -_GRIPPER_TOLERANCE or high > 1 + _GRIPPER_TOLERANCE:
        raise InvalidStates(f"{path}: {name} is in [{low:.3g}, {high:.3g}], not in [0, 1] with 0 open and 1 closed")
    return np.clip(gripper, 0.0, 1.0)


def check_episode(episode: Episode) -> Episode:
    """`episode` with its `source.sha256` filled in, after checking that everything has as many rows as it has states.

    Raises `LengthMismatch`, `MissingCamera` or `InvalidStates`, naming the file.
    """
    path, length = episode.source.path, len(episode)
    if not episode.cameras:
        raise MissingCamera(f"{path}: the episode has no camera")
    if length < 2:
        raise LengthMismatch(f"{path}: the episode has {length} state; at least 2 are needed")
    lengths = {f"camera {name}": frames.shape[0] for name, frames in episode.cameras.items()}
    lengths["gripper_position"] = len(episode.gripper_position)
    if episode.joint_position is not None:
        lengths["joint_position"] = len(episode.joint_position)
    if episode.action is not None:
        lengths["action"] = len(episode.action)
    for name, found in lengths.items():
        if found != length:
            raise LengthMismatch(f"{path}: {name} has {found} rows, but the episode has {length} states")
    if not episode.fps > 0:
        raise InvalidStates(f"{path}: the frame rate is {episode.fps}; it must be positive")
    return replace(episode, source=replace(episode.source, sha256=episode_sha256(episode)))


def cartesian_action(path: Path, cartesian: Any, gripper: Any, fps: float) -> ActionChunk:
    """Commanded `(T, 6)` poses and `(T, 1)` gripper positions as one chunk at `fps`."""
    pose = rows(path, "action.cartesian_position", cartesian, 6)
    command = check_gripper(path, "action.gripper_position", rows(path, "action.gripper_position", gripper, 1))
    if len(pose) != len(command):
        raise LengthMismatch(f"{path}: {len(pose)} commanded poses but {len(command)} commanded gripper positions")
    return ActionChunk(np.concatenate([pose, command], axis=1), ActionSpace.CARTESIAN_POSITION, fps)


def episode_sha256(episode: Episode) -> str:
    """Content hash of an episode, the same wherever its files lie: numbers, instruction, outcome and video bytes.

    A video file of more than 64 MiB counts by its size and by 1 MiB from its beginning, middle and end.
    """
    digest = hashlib.sha256()
    described: dict[str, Any] = {
        "id": episode.id,
        "fps": episode.fps,
        "instruction": episode.instruction,
        "success": episode.success,
        "task": episode.task,
        "robot": episode.robot,
        "action_space": episode.action.space.value if episode.action else None,
    }
    digest.update(json.dumps(described, sort_keys=True).encode())
    arrays = (episode.cartesian_position, episode.gripper_position, episode.joint_position)
    for array in (*arrays, episode.action.values if episode.action else None):
        digest.update(b"-" if array is None else np.ascontiguousarray(array, dtype="<f8").tobytes())
    for name in sorted(episode.cameras):
        digest.update(f"{name}:{_frames_sha256(episode.cameras[name])}".encode())
    return digest.hexdigest()


def _frames_sha256(frames: FrameSource) -> str:
    if isinstance(frames, VideoFrames):
        selection = f"{frames.start}:{frames.shape}:{_file_fingerprint(frames.path)}"
        return hashlib.sha256(selection.encode()).hexdigest()
    digest = hashlib.sha256(str(frames.shape).encode())
    for index in range(frames.shape[0]):
        digest.update(np.ascontiguousarray(frames.read(index, index + 1)).tobytes())
    return digest.hexdigest()


def _file_fingerprint(path: Path) -> str:
    size = path.stat().st_size
    if size <= _HASHED_WHOLE:
        return file_sha256(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        for offset in (0, size // 2, size - _SAMPLE):
            stream.seek(offset)
            digest.update(stream.read(_SAMPLE))
    return digest.hexdigest()


def common_fps(path: Path, cameras: Mapping[str, VideoFrames]) -> float:
    """The rate that all of an episode's videos play at, by their presentation times.

    Raises `LengthMismatch` where they differ by more than 1%, or where a video's frames are unevenly spaced.
    """
    rates = {name: read_index(frames.path).info for name, frames in cameras.items()}
    for name, info in rates.items():
        if not info.regular or info.fps == 0:
            raise LengthMismatch(f"{cameras[name].path} has unevenly spaced frames: its rate cannot be told from it")
    fps = [info.fps for info in rates.values()]
    if max(fps) > 1.01 * min(fps):
        raise LengthMismatch(f"{path}: its videos play at different rates: {sorted(set(fps))} frames a second")
    return float(np.median(fps))
