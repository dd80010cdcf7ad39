"""What is exported: one trajectory with lazily read frames, and where it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from arena.contracts import ActionChunk, Episode, FloatArray, Frames, FrameSource, InvalidInput
from arena.episodes.video import check_range


@dataclass(frozen=True)
class Origin:
    """Where a trajectory came from: kept with it for ever, because an imagined success is no recorded one.

    `success` is the judge's word where `synthetic`, else the recording's. `details` is JSON.
    """

    synthetic: bool
    success: bool | None = None
    world: str = ""
    world_sha256: str = ""
    policy: str = ""
    policy_sha256: str = ""
    judge: str = ""
    judge_sha256: str = ""
    success_probability: float | None = None
    progress: float | None = None
    """0 to 100, as the judge sees it."""
    seed: int | None = None
    rollout_id: str = ""
    scene_id: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trajectory:
    """One episode to be written, of `T` frames.

    `cameras` maps each camera to `T` frames; `state` is `(T, 7)`, `joint_position` `(T, 7)` rad or None. `action` has
    `T` rows, row `t` commanded at frame `t`. `id` names the content: where frames change, so must the id.
    Raises `InvalidInput` where the lengths differ or a number is not finite.
    """

    id: str
    cameras: Mapping[str, FrameSource]
    state: FloatArray
    action: ActionChunk
    instruction: str
    task: str
    fps: float
    robot: str
    origin: Origin
    joint_position: FloatArray | None = None

    def __post_init__(self) -> None:
        length = len(self.state)
        if length == 0 or np.shape(self.state) != (length, 7) or not np.isfinite(self.state).all():
            raise InvalidInput(
                f"trajectory {self.id}: states must be (T, 7) finite numbers, not {np.shape(self.state)}"
            )
        lengths = {"actions": len(self.action), **{name: source.shape[0] for name, source in self.cameras.items()}}
        if self.joint_position is not None:
            lengths["joint positions"] = len(self.joint_position)
        for name, count in lengths.items():
            if count != length:
                raise InvalidInput(f"trajectory {self.id} has {length} states, but {count} {name}")
        if not self.cameras:
            raise InvalidInput(f"trajectory {self.id} has no camera")

    def __len__(self) -> int:
        return len(self.state)

    @property
    def sha256(self) -> str:
        """Of everything but the frames, which the id stands for: decoding them would cost more than writing them."""
        sizes = {name: list(source.shape) for name, source in sorted(self.cameras.items())}
        facts = [self.id, sizes, self.instruction, self.task, self.fps, self.robot, asdict(self.origin)]
        digest = hashlib.sha256(json.dumps([*facts, self.action.space, self.action.control_hz]).encode())
        for array in (self.state, self.action.values, self.joint_position):
            digest.update(b"-" if array is None else np.ascontiguousarray(array, dtype=np.float64).tobytes())
        return digest.hexdigest()


def episode_trajectory(episode: Episode) -> Trajectory:
    """A recorded episode as it is, marked as not synthetic. Raises `InvalidInput` where it has no actions."""
    if episode.action is None:
        raise InvalidInput(
            f"episode {episode.id} has no recorded actions, so nothing can be learned to imitate from it"
        )
    return Trajectory(
        id=episode.id,
        cameras=episode.cameras,
        state=episode.state,
        action=episode.action,
        instruction=episode.instruction,
        task=episode.task,
        fps=episode.fps,
        robot=episode.robot,
        joint_position=episode.joint_position,
        origin=Origin(
            synthetic=False,
            success=episode.success,
            details={"source": episode.source.format, "source_index": episode.source.index},
        ),
    )


@dataclass(frozen=True)
class Slice:
    """Frames `start` to `stop` (exclusive) of another source (`arena.contracts.FrameSource`)."""

    source: FrameSource
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(T, H, W, 3)`."""
        _, height, width, channels = self.source.shape
        return self.stop - self.start, height, width, channels

    def read(self, start: int = 0, stop: int | None = None) -> Frames:
        """Frames `start` to `stop` (exclusive), `(stop - start, H, W, 3)` uint8."""
        first, last = check_range(start, stop, self.stop - self.start, "a slice")
        return self.source.read(self.start + first, self.start + last)


@dataclass(frozen=True)
class Blank:
    """Black frames for a camera that a target's config asks for and a robot lacks (`arena.contracts.FrameSource`)."""

    shape: tuple[int, int, int, int]

    def read(self, start: int = 0, stop: int | None = None) -> Frames:
        """Frames `start` to `stop` (exclusive), `(stop - start, H, W, 3)` uint8."""
        first, last = check_range(start, stop, self.shape[0], "a blank camera")
        return np.zeros((last - first, *self.shape[1:]), dtype=np.uint8)
