"""Trials as the judge's network sees them: films at its size, and what is known of each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from arena.contracts import Episode, FloatArray, Frames, InvalidInput, Rollout
from arena.learned.demonstrations import to_images
from arena.learned.judging.network import POSITION, JudgingConfig

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Film:
    """One trial. `frames` is `(T, V, 3, H, W)` uint8, a view for each of the judge's cameras.

    `track` is `(T, 4)`: the hand's position in m in the robot's base frame and the gripper in [0, 1], as recorded or as
    commanded; None where unknown. `success` is None where unknown. `imagined` films came out of a world model.
    """

    id: str
    frames: Tensor
    track: Tensor | None
    task: str
    instruction: str
    success: bool | None
    imagined: bool = False

    def __len__(self) -> int:
        return len(self.frames)


def wording(instruction: str) -> str:
    """What makes two instructions the same: their words."""
    return " ".join(instruction.lower().split())


def film_of_episode(episode: Episode, config: JudgingConfig) -> Film:
    """Raises `InvalidInput` where a camera is missing, or a video cannot be read."""
    _check_cameras(episode.id, episode.cameras, config)
    frames = {camera: episode.cameras[camera].read() for camera in config.cameras}
    return Film(
        episode.id, stacked(frames, config), track_of(episode.state), episode.task, episode.instruction, episode.success
    )


def film_of_rollout(rollout: Rollout, config: JudgingConfig) -> Film:
    """Raises `InvalidInput` where a camera is missing, or frames are not of one length with the states."""
    _check_cameras(rollout.id, rollout.frames, config)
    frames = stacked(rollout.frames, config)
    if len(rollout.state) != len(frames):
        raise InvalidInput(f"rollout {rollout.id} has {len(frames)} frames and {len(rollout.state)} states")
    track = track_of(rollout.state)
    return Film(rollout.id, frames, track, rollout.task, rollout.instruction, rollout.success, imagined=True)


def stacked(frames: Mapping[str, Frames], config: JudgingConfig) -> Tensor:
    """Cameras of `(T, H, W, 3)` uint8 of any size to `(T, V, 3, height, width)` uint8.

    Raises `InvalidInput` for frames of another shape, none at all, or cameras of different lengths.
    """
    views = [_resized(np.asarray(frames[camera]), camera, config) for camera in config.cameras]
    if len({len(view) for view in views}) > 1 or not len(views[0]):
        raise InvalidInput(f"the cameras show {', '.join(str(len(view)) for view in views)} frames")
    return torch.stack(views, dim=1)


def track_of(state: FloatArray) -> Tensor:
    """`(T, 7)` states in m and rad to `(T, 4)`: positions and gripper."""
    return torch.from_numpy(np.concatenate([state[:, :POSITION], state[:, 6:]], axis=1)).float()


def read_films(
    episodes: Sequence[Episode], config: JudgingConfig, progress: Progress | None = None
) -> tuple[Film, ...]:
    """The films of the episodes whose outcome is known: 37 kB a frame with two cameras at 64 x 96, held in memory."""
    labelled = [episode for episode in episodes if episode.success is not None]
    films = []
    for done, episode in enumerate(labelled, start=1):
        films.append(film_of_episode(episode, config))
        if progress is not None:
            progress(done, len(labelled), "reading labelled episodes")
    return tuple(films)


def films_sha256(films: Sequence[Film]) -> str:
    """Of everything that a judge learns from."""
    digest = hashlib.sha256()
    for film in films:
        digest.update(f"{film.id}\n{film.task}\n{film.instruction}\n{film.success}\n{film.imagined}\n".encode())
        digest.update(film.frames.contiguous().numpy().data)
        if film.track is not None:
            digest.update(film.track.contiguous().numpy().data)
    return digest.hexdigest()


def _check_cameras(id: str, cameras: Mapping[str, object], config: JudgingConfig) -> None:
    if missing := [camera for camera in config.cameras if camera not in cameras]:
        raise InvalidInput(f"{id} has no camera {missing[0]!r}: it has {', '.join(sorted(cameras)) or 'none'}")


def _resized(frames: Frames, camera: str, config: JudgingConfig) -> Tensor:
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise InvalidInput(f"camera {camera!r} must show (T, H, W, 3) uint8, not {frames.shape} {frames.dtype}")
    return to_images(frames, (config.height, config.width))
