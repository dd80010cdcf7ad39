"""Recorded episodes among synthetic ones, at a given ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from arena.contracts import Episode, Frames, FrameSource, InvalidInput
from arena.episodes.video import check_range
from arena.synthesis.export.trajectory import Trajectory, episode_trajectory
from arena.synthesis.turns import in_turns


@dataclass(frozen=True)
class Resized:
    """Another source's frames at another size (`arena.contracts.FrameSource`)."""

    source: FrameSource
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(T, H, W, 3)`."""
        return self.source.shape[0], self.height, self.width, 3

    def read(self, start: int = 0, stop: int | None = None) -> Frames:
        """Frames `start` to `stop` (exclusive), `(stop - start, H, W, 3)` uint8."""
        first, last = check_range(start, stop, self.shape[0], "resized frames")
        size = (self.width, self.height)
        frames = [
            np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))
            for frame in self.source.read(first, last)
        ]
        return np.stack(frames) if frames else np.zeros((0, self.height, self.width, 3), dtype=np.uint8)


def recorded_beside(
    like: Trajectory, episodes: Sequence[Episode], synthetic: int, ratio: float, seed: int
) -> list[Trajectory]:
    """Recorded trajectories to go with `synthetic` ones that look like `like`: a share `ratio` of all.

    Drawn by `seed` among those that did not fail, equally many of each task as far as there are. They get the
    cameras, sizes and columns of `like`. Raises `InvalidInput` where there are too few, or one does not fit.
    """
    if not 0.0 < ratio < 1.0:
        raise InvalidInput(f"the ratio of recorded episodes must be above 0 and below 1, not {ratio}")
    count = max(1, round(synthetic * ratio / (1.0 - ratio)))
    usable = [episode for episode in episodes if episode.success is not False and episode.action is not None]
    if len(usable) < count:
        raise InvalidInput(
            f"a ratio of {ratio:g} beside {synthetic} synthetic episodes needs {count} recorded ones with actions that "
            f"did not fail; there are {len(usable)}: lower the ratio or give more"
        )
    return [fitted(episode_trajectory(episode), like) for episode in _spread(usable, count, seed)]


def fitted(recorded: Trajectory, like: Trajectory) -> Trajectory:
    """`recorded` with the cameras, picture sizes and columns of `like`. Raises `InvalidInput` where it cannot be."""
    own, other = recorded.action, like.action
    if (recorded.fps, own.space, own.control_hz) != (like.fps, other.space, other.control_hz):
        raise InvalidInput(
            f"recorded episode {recorded.id} has {own.space} actions at {recorded.fps:g} Hz, the synthetic ones "
            f"{other.space} at {like.fps:g} Hz: they cannot share a dataset"
        )
    if missing := sorted(set(like.cameras) - set(recorded.cameras)):
        raise InvalidInput(f"recorded episode {recorded.id} lacks the camera {missing[0]!r} of the synthetic ones")
    if recorded.robot != like.robot:
        raise InvalidInput(
            f"recorded episode {recorded.id} is of a {recorded.robot!r}, the synthetic ones of a {like.robot!r}"
        )
    cameras = {name: _sized(recorded.cameras[name], source.shape) for name, source in like.cameras.items()}
    joints = recorded.joint_position if like.joint_position is not None else None
    return replace(recorded, cameras=cameras, joint_position=joints)


def _sized(source: FrameSource, shape: tuple[int, int, int, int]) -> FrameSource:
    return source if source.shape[1:3] == shape[1:3] else Resized(source, shape[1], shape[2])


def _spread(episodes: Sequence[Episode], count: int, seed: int) -> list[Episode]:
    by_task: dict[str, list[Episode]] = {}
    for index in np.random.default_rng(seed).permutation(len(episodes)):
        by_task.setdefault(episodes[index].task or episodes[index].instruction, []).append(episodes[index])
    return in_turns([by_task[task] for task in sorted(by_task)])[:count]
