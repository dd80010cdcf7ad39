"""Training windows: the frames that one call of the model sees, at the same frame step as in rollout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor

from arena.contracts import FloatArray, InvalidInput
from worldmodels.actions import ActionStatistics, action_tokens
from worldmodels.config import WorldModelConfig
from worldmodels.latents import EncodedEpisode

HAND_AND_GRIP = [0, 1, 2, 6]
RECENCY = 1e-3
"""m of distance that one frame more of age weighs."""


def history_indices(now: int, config: WorldModelConfig) -> list[int]:
    """The frames before `now` that the model is shown; before the start, the first frame again."""
    return [max(now + offset, 0) for offset in config.history_offsets]


def history_by_pose(now: int, positions: FloatArray, config: WorldModelConfig) -> list[int]:
    """As many frames before `now`, those whose hand was nearest to where it is going to be.

    positions: `(T, 3)` in m, of every frame to the end of the window. The newest history frame stays as released,
    for it shows how things move; each other one is the frame nearest to one of the poses to come, the later
    ones preferred (an instant that is long past shows a scene that may have changed since). Oldest first; before
    the start, the first frame again. Ctrl-World's retrieval (arXiv 2510.10125) lets attention choose instead.
    """
    newest = max(now + config.history_offsets[-1], 0)
    wanted = np.linspace(now + 1, now + config.num_frames - 1, config.num_history - 1).round().astype(int)
    if newest == 0:
        return [0] * config.num_history
    past = np.arange(newest)
    chosen = []
    for target in wanted:
        apart = np.linalg.norm(positions[past] - positions[min(target, len(positions) - 1)], axis=1)
        chosen.append(int(past[np.argmin(apart - RECENCY * past)]))
    return [*sorted(chosen), newest]


@dataclass(frozen=True)
class WindowBatch:
    """`(B, F, C, h, w)` latents, `(B, F, A)` normalised actions, B instructions; history first, then now.

    `poses` is `(B, F, 4)`: the hand's position in m and the gripper.
    """

    latents: Tensor
    actions: Tensor
    instructions: tuple[str, ...]
    poses: Tensor


class Windows:
    """All windows of a set of encoded episodes, drawn in batches that depend on seed and step alone.

    So training resumes at any step without a sampler's state. Raises `InvalidInput` where no episode
    is long enough for one window.
    """

    def __init__(
        self, episodes: Sequence[EncodedEpisode], config: WorldModelConfig, statistics: ActionStatistics
    ) -> None:
        self.config = config
        self.episodes = episodes
        self.actions = [
            torch.from_numpy(action_tokens(e.poses, config.action_representation, statistics)) for e in episodes
        ]
        self.starts = [(i, now) for i, e in enumerate(episodes) for now in range(len(e) - config.num_frames + 1)]
        if not self.starts:
            longest = max((len(e) for e in episodes), default=0)
            raise InvalidInput(
                f"no episode is long enough: a window of {config.name} needs {config.num_frames} frames, "
                f"the longest of {len(episodes)} episodes has {longest}"
            )

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, size: int, generator: torch.Generator) -> WindowBatch:
        """`size` windows drawn uniformly over all windows."""
        picks = torch.randint(len(self.starts), (size,), generator=generator).tolist()
        by_pose = torch.rand(size, generator=generator) < self.config.pose_history
        return self.gather([self.starts[pick] for pick in picks], by_pose.tolist())

    def gather(self, starts: Sequence[tuple[int, int]], by_pose: Sequence[bool] = ()) -> WindowBatch:
        """The windows at these (episode, now); `by_pose` says whose history is chosen by pose."""
        latents, actions, instructions, poses = [], [], [], []
        for (index, now), posed in zip_longest(starts, by_pose, fillvalue=False):
            ahead = range(now, now + self.config.num_frames)
            if posed:
                past = history_by_pose(now, self.episodes[index].poses[: ahead.stop, :3], self.config)
            else:
                past = history_indices(now, self.config)
            frames = [*past, *ahead]
            latents.append(self.episodes[index].latents[frames].float())
            actions.append(self.actions[index][frames])
            instructions.append(self.episodes[index].instruction)
            poses.append(torch.from_numpy(self.episodes[index].poses[frames][:, HAND_AND_GRIP]).float())
        return WindowBatch(torch.stack(latents), torch.stack(actions), tuple(instructions), torch.stack(poses))
