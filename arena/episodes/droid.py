"""Episodes in the annotation layout of the Ctrl-World release, made from DROID.

    ROOT/annotation/SPLIT/ID.json      states, joints, texts, success, and paths of the videos relative to ROOT
    ROOT/videos/SPLIT/ID/{0,1,2}.mp4   two exterior views and the wrist's

Some annotations also hold DROID's own numbers at 15 Hz (`observation.state.*`, `action.*`), of which frame `i` of the
video is row `stride * i`. The frame rate is what the videos' presentation times say, and where the 15 Hz
numbers are there, both have to agree.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from arena.contracts import ActionChunk, Episode, FloatArray, Source
from arena.episodes.assemble import Pending, cartesian_action, check_episode, check_gripper, common_fps, rows
from arena.episodes.errors import BadAnnotation, LengthMismatch, MissingCamera
from arena.episodes.files import read_json
from arena.episodes.video import VideoFrames

CAMERAS = ("exterior_1", "exterior_2", "wrist")
"""Names of videos 0, 1 and 2."""

ROBOT = "panda"
RECORDED_HZ = 15.0
"""Rate of DROID's own recordings."""
FILMED_AS = 16 / 9
"""Width by height of the pictures before this layout squeezes them (to 320x192)."""


def is_droid(root: Path) -> bool:
    """Whether `root` has the two folders of the layout."""
    return (root / "annotation").is_dir() and (root / "videos").is_dir()


def find_droid(root: Path) -> list[Pending]:
    """The episodes below `root`, by split and name."""
    annotations = sorted(
        (root / "annotation").glob("*/*.json"), key=lambda path: (path.parent.name, len(path.stem), path.stem)
    )
    return [Pending(path, functools.partial(read_droid_episode, root, path)) for path in annotations]


def read_droid_episode(root: Path, path: Path) -> Episode:
    """The episode that the annotation at `path` describes; raises a subclass of `InvalidInput` for a bad one."""
    annotation = read_json(path)
    states = rows(path, "states", _get(path, annotation, "states"), 7)
    cameras = _cameras(root, path, annotation, len(states))
    fps = common_fps(path, cameras)
    stride = _stride(path, annotation, states, fps)
    instruction = _instruction(path, annotation)
    return check_episode(
        Episode(
            id=f"{root.name}-{path.parent.name}-{path.stem}",
            cameras=cameras,
            fps=fps,
            cartesian_position=states[:, :6],
            gripper_position=check_gripper(path, "states", states[:, 6:]),
            instruction=instruction,
            source=Source("droid", str(path)),
            joint_position=_joints(path, annotation, stride),
            action=_action(path, annotation, stride, len(states), fps),
            success=_success(path, annotation),
            task=instruction,
            robot=ROBOT,
            metadata={
                "split": path.parent.name,
                "recorded_hz": RECORDED_HZ if stride else None,
                "filmed_as": FILMED_AS,
            },
        )
    )


def _cameras(root: Path, path: Path, annotation: Mapping[str, Any], length: int) -> dict[str, VideoFrames]:
    videos = _get(path, annotation, "videos")
    if not isinstance(videos, list) or len(videos) != len(CAMERAS):
        found = len(videos) if isinstance(videos, list) else 0
        raise MissingCamera(f"{path} lists {found} videos, not {len(CAMERAS)} ({', '.join(CAMERAS)})")
    cameras = {}
    for name, entry in zip(CAMERAS, videos, strict=True):
        if not isinstance(entry, dict) or not isinstance(entry.get("video_path"), str):
            raise BadAnnotation(f"{path}: the entry of camera {name} in 'videos' has no 'video_path'")
        video = root / entry["video_path"]
        if not video.resolve().is_relative_to(root.resolve()):
            raise BadAnnotation(f"{path}: the video path {entry['video_path']!r} leads out of {root}")
        if not video.is_file():
            raise MissingCamera(f"{video} (camera {name}) is missing")
        cameras[name] = VideoFrames(video, expected=length)
    return cameras


def _stride(path: Path, annotation: Mapping[str, Any], states: FloatArray, fps: float) -> int | None:
    """How many 15 Hz rows a frame takes, or None where there are no 15 Hz rows. All of it is checked, none assumed."""
    key = "observation.state.cartesian_position"
    if key not in annotation:
        return None
    recorded = rows(path, key, annotation[key], 6)
    stride = round(RECORDED_HZ / fps)
    if stride < 1 or abs(RECORDED_HZ / stride - fps) > 0.01 * fps:
        raise LengthMismatch(f"{path}: {fps:g} frames a second do not divide the {RECORDED_HZ:g} Hz of {key}")
    if len(recorded[::stride]) != len(states) or not np.allclose(recorded[::stride], states[:, :6], atol=1e-4):
        raise LengthMismatch(
            f"{path}: videos play at {fps:g} frames a second, but 'states' ({len(states)} rows) is not "
            f"every {stride}. row of {key} ({len(recorded)} rows at {RECORDED_HZ:g} Hz)"
        )
    return stride


def _joints(path: Path, annotation: Mapping[str, Any], stride: int | None) -> FloatArray | None:
    if "joints" in annotation:
        return rows(path, "joints", annotation["joints"], 8)[:, :7]
    key = "observation.state.joint_position"
    return rows(path, key, annotation[key], 7)[::stride] if stride and key in annotation else None


def _action(
    path: Path, annotation: Mapping[str, Any], stride: int | None, length: int, fps: float
) -> ActionChunk | None:
    """The last command before each next frame: what the robot was told to have reached there."""
    pose, gripper = annotation.get("action.cartesian_position"), annotation.get("action.gripper_position")
    if stride is None or pose is None or gripper is None:
        return None
    commands = cartesian_action(path, pose, gripper, fps).values
    last = np.minimum(np.arange(length) * stride + stride - 1, len(commands) - 1)
    return cartesian_action(path, commands[last, :6], commands[last, 6:], fps)


def _instruction(path: Path, annotation: Mapping[str, Any]) -> str:
    texts = annotation.get("texts", [""])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadAnnotation(f"{path}: 'texts' is not a list of instructions")
    return texts[0].strip() if texts else ""


def _success(path: Path, annotation: Mapping[str, Any]) -> bool | None:
    success = annotation.get("success")
    if success not in (None, 0, 1):
        raise BadAnnotation(f"{path}: 'success' is {success!r}, not 0 or 1")
    return None if success is None else bool(success)


def _get(path: Path, annotation: Mapping[str, Any], key: str) -> Any:
    if key not in annotation:
        raise BadAnnotation(f"{path} has no {key!r}, which this layout's annotations have")
    return annotation[key]
