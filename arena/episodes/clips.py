"""Clips: one mp4 per camera and one npz of numbers per episode, described by a `dreamarena.toml`."""

from __future__ import annotations

import functools
from pathlib import Path

from arena.contracts import Episode, Kinematics, Source
from arena.episodes.assemble import Pending, check_episode
from arena.episodes.declaration import DECLARATION, Declaration
from arena.episodes.declared import declared_numbers
from arena.episodes.errors import BadAnnotation, MissingCamera, UnknownLayout
from arena.episodes.files import read_npz
from arena.episodes.video import VideoFrames


def is_clips(root: Path) -> bool:
    """Whether `root` has a declaration, or holds an mp4 and an npz of the same name, declared or not."""
    if (root / DECLARATION).is_file():
        return True
    return any(video.with_suffix(".npz").is_file() for video in root.glob("*.mp4"))


def find_clips(root: Path, declaration: Declaration, kinematics: Kinematics | None = None) -> list[Pending]:
    """The clips below `root`, sorted by id; one that lacks its npz or a video is there too, to be refused by name."""
    if declaration.format != "clips":
        raise BadAnnotation(f"{declaration.path} declares format {declaration.format!r}, but {root} holds clips")
    ids = set[str]()
    for pattern in (declaration.arrays, *declaration.cameras.values()):
        before, after = pattern.split("{id}")
        for path in root.glob(f"{before}*{after}"):
            name = path.relative_to(root).as_posix()
            ids.add(name[len(before) : len(name) - len(after)])
    if not ids:
        raise UnknownLayout(f"{root} has no files like {declaration.arrays}, which {declaration.path} declares")
    read = functools.partial(read_clip, root, declaration, kinematics)
    return [Pending(root / declaration.arrays.replace("{id}", id), functools.partial(read, id)) for id in sorted(ids)]


def read_clip(root: Path, declaration: Declaration, kinematics: Kinematics | None, id: str) -> Episode:
    """The clip `id`; raises a subclass of `InvalidInput` for a bad one."""
    path = root / declaration.arrays.replace("{id}", id)
    arrays = read_npz(path)
    fps = declaration.fps or 0.0
    numbers = declared_numbers(path, declaration, arrays, fps, kinematics)
    cameras = {}
    for name, pattern in declaration.cameras.items():
        video = root / pattern.replace("{id}", id)
        if not video.is_file():
            raise MissingCamera(f"{video} (camera {name}) is missing")
        cameras[name] = VideoFrames(video, expected=len(numbers.cartesian_position))
    success = arrays.get(declaration.success)
    return check_episode(
        Episode(
            id=f"{root.name}-{id}",
            cameras=cameras,
            fps=fps,
            cartesian_position=numbers.cartesian_position,
            gripper_position=numbers.gripper_position,
            instruction=declaration.instruction,
            source=Source("clips", str(path)),
            joint_position=numbers.joint_position,
            action=numbers.action,
            success=None if success is None or success.size == 0 else bool(success.flat[-1]),
            task=declaration.task or declaration.instruction,
            robot=declaration.robot,
            metadata={"state": declaration.state.kind, "declaration": str(declaration.path)},
        )
    )
