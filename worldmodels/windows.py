"""Training windows: the frames that one call of the model sees, at the same frame step as in rollout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from arena.contracts import InvalidInput
from worldmodels.actions import ActionStatistics, action_tokens
from worldmodels.config import WorldModelConfig
from worldmodels.latents import EncodedEpisode


def history_indices(now: int, config: WorldModelConfig) -> list[int]:
    """The frames before `now` that the model is shown; before the start, the first frame again."""
    return [max(now + offset, 0) for offset in config.history_offsets]


@dataclass(frozen=True)
class WindowBatch:
    """`(B, F, C, h, w)` latents, `(B, F, A)` normalised actions, B instructions; history first, then now."""

    latents: Tensor
    actions: Tensor
    instructions: tuple[str, ...]


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
        return self.gather([self.starts[pick] for pick in picks])

    def gather(self, starts: Sequence[tuple[int, int]]) -> WindowBatch:
        """The windows at these (episode, now)."""
        latents, actions, instructions = [], [], []
        for index, now in starts:
            frames = [*history_indices(now, self.config), *range(now, now + self.config.num_frames)]
            latents.append(self.episodes[index].latents[frames].float())
            actions.append(self.actions[index][frames])
            instructions.append(self.episodes[index].instruction)
        return WindowBatch(torch.stack(latents), torch.stack(actions), tuple(instructions))
