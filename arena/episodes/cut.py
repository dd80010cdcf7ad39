"""The rest of an episode from some frame on, as an episode."""

from __future__ import annotations

from dataclasses import dataclass, replace

from arena.contracts import ActionChunk, Episode, Frames, FrameSource, InvalidInput


@dataclass(frozen=True)
class _LaterFrames:
    """Frames from `first` on; what comes before is neither decoded nor counted."""

    source: FrameSource
    first: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        frames, height, width, channels = self.source.shape
        return frames - self.first, height, width, channels

    def read(self, start: int = 0, stop: int | None = None) -> Frames:
        length = self.shape[0]
        begin, end, _ = slice(start, stop).indices(length)
        return self.source.read(self.first + begin, self.first + end)


def from_frame(episode: Episode, start: int) -> Episode:
    """`episode` without what came before frame `start`; its id says so.

    A simulator's reset seed goes, for it recreates the first frame only. Raises `InvalidInput` for no such frame.
    """
    if not 0 <= start < len(episode):
        raise InvalidInput(f"episode {episode.id} has frames 0 to {len(episode) - 1}, not {start}")
    if start == 0:
        return episode
    action, joints = episode.action, episode.joint_position
    return replace(
        episode,
        id=f"{episode.id}@{start}",
        cameras={name: _LaterFrames(source, start) for name, source in episode.cameras.items()},
        cartesian_position=episode.cartesian_position[start:],
        gripper_position=episode.gripper_position[start:],
        joint_position=None if joints is None else joints[start:],
        action=None if action is None else ActionChunk(action.values[start:], action.space, action.control_hz),
        metadata={name: value for name, value in episode.metadata.items() if name != "reset_seed"},
    )
