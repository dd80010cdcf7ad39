"""What a robot makes of its commands: from commanded poses to the poses that it reaches.

Ctrl-World's action tokens are poses that were reached, while a policy gives commands, which a real arm lags behind
by centimetres. A small network learned from recordings that hold both closes that gap. It reports the state that
a policy is shown in imagination, and the tokens that the video model is given, so that the two agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from arena.contracts import Episode, FloatArray
from arena.learned.optimise import Progress, Schedule, optimise

LAGS = 3
ANGLES = slice(3, 6)
SMALLEST = (1e-3, 1e-3, 1e-3, 1e-2, 1e-2, 1e-2, 1e-2)
"""Metres, radians and gripper strokes below which a difference is noise."""
SCHEDULE = Schedule(steps=1500, batch=64, learning_rate=4e-3, warmup=20, ema=0.99)
LONGEST = 40
"""Frames that training rolls ahead: its errors are those of a rollout, not of one step."""


class Tracker(nn.Module):
    """The next state from the last three states and commands: a linear model and a small network on its residue."""

    HIDDEN = 64

    def __init__(self) -> None:
        super().__init__()
        features = 7 * (2 * LAGS + 1)
        self.register_buffer("scale", torch.ones(7))
        self.register_buffer("centre", torch.zeros(7))
        self.register_buffer("spread", torch.ones(7))
        self.linear = nn.Linear(features, 7)
        self.residue = nn.Sequential(
            nn.Linear(features, self.HIDDEN),
            nn.SiLU(),
            nn.Linear(self.HIDDEN, self.HIDDEN),
            nn.SiLU(),
            nn.Linear(self.HIDDEN, 7),
        )
        for layer in (self.linear, self.residue[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.linear.weight[range(7), range(7 * (LAGS - 1), 7 * LAGS)] = 0.3  # of the newest command

    def advance(self, states: Sequence[Tensor], commands: Sequence[Tensor]) -> Tensor:
        """The state after the last command, `(B, 7)`, from three states and three commands, oldest first."""
        now, before, earlier = states[-1], states[-2], states[-3]
        differences = [command - now for command in commands] + [now - before, before - earlier, earlier - now]
        scaled = [_wrapped(difference) / self.scale for difference in differences]
        features = torch.cat([*scaled, (now - self.centre) / self.spread], dim=-1)
        moved: Tensor = now + self.scale * (self.linear(features) + self.residue(features))
        return moved

    def unroll(self, start: Tensor, commands: Tensor) -> Tensor:
        """`(B, 7)` states at rest and `(B, N, 7)` commands to the `(B, N, 7)` states after each."""
        states, given = [start] * LAGS, [start] * (LAGS - 1)
        for command in commands.unbind(1):
            given.append(command)
            states.append(self.advance(states[-LAGS:], given[-LAGS:]))
        return torch.stack(states[LAGS:], dim=1)

    @torch.no_grad()
    def follow(self, states: FloatArray, commands: FloatArray) -> FloatArray:
        """States reached by new commands.

        states: `(k, 7)` so far. commands: `(k - 1 + n, 7)`, the first `k - 1` of which led to those states.
        Returns `(n, 7)`. Before the first state the robot is taken to have been at rest there.
        """
        reached = [torch.from_numpy(np.asarray(row, np.float32))[None] for row in states]
        given = [reached[0]] * (LAGS - 1)
        given += [torch.from_numpy(np.asarray(row, np.float32))[None] for row in commands]
        reached = [reached[0]] * (LAGS - 1) + reached
        for index in range(len(states) - 1, len(commands)):
            reached.append(self.advance(reached[-LAGS:], given[index : index + LAGS]))
        new = torch.cat(reached[LAGS - 1 + len(states) :])
        return new.numpy().astype(np.float64)


def fit_tracker(
    episodes: Sequence[Episode],
    seed: int,
    folder: Path,
    identity: str,
    progress: Progress | None = None,
    schedule: Schedule = SCHEDULE,
) -> Tracker:
    """Learn to follow commands from episodes that record them, over whole episodes at a time.

    Resumable in `folder`, where `identity` is the same: see `optimise`.
    """
    tracker = Tracker()
    states, commands, present = _padded(episodes)
    error, absolute = _wrapped(commands - states[:, :-1])[present], states[:, :-1][present]
    tracker.scale.copy_(torch.maximum(error.std(0), torch.tensor(SMALLEST)))
    tracker.centre.copy_(absolute.mean(0))
    tracker.spread.copy_(torch.maximum(absolute.std(0), torch.tensor(SMALLEST)))

    def loss(step: int, generator: torch.Generator) -> Tensor:
        picks = torch.randint(len(states), (schedule.batch,), generator=generator)
        # Short horizons first: over long ones an untrained model runs away.
        ahead = min(8 + step // 25, commands.shape[1])
        reached = tracker.unroll(states[picks, 0], commands[picks, :ahead])
        missed = _wrapped(reached - states[picks, 1 : ahead + 1]) / tracker.scale
        here = present[picks, :ahead]
        return (missed.square().mean(-1) * here).sum().div(here.sum()).sqrt()

    optimise("tracker", tracker, loss, schedule, seed, folder, identity, progress)
    return tracker.eval()


def _padded(episodes: Sequence[Episode]) -> tuple[Tensor, Tensor, Tensor]:
    """`(N, T + 1, 7)` states, `(N, T, 7)` commands and `(N, T)` which of them were recorded, cut at `LONGEST`."""
    longest = min(max(len(episode) for episode in episodes) - 1, LONGEST)
    states, commands, present = [], [], []
    for episode in episodes:
        assert episode.action is not None, f"{episode.id} records no commands"
        rows = np.minimum(np.arange(longest + 1), len(episode) - 1)
        states.append(episode.state[rows])
        commands.append(episode.action.values[rows[:-1]])
        present.append(np.arange(longest) < len(episode) - 1)
    stacked = (torch.from_numpy(np.stack(part)) for part in (states, commands))
    return *(part.float() for part in stacked), torch.from_numpy(np.stack(present))  # type: ignore[return-value]


def _wrapped(difference: Tensor) -> Tensor:
    """Differences of poses with their angles in [-pi, pi)."""
    angles = (difference[..., ANGLES] + torch.pi) % (2 * torch.pi) - torch.pi
    return torch.cat([difference[..., :3], angles, difference[..., 6:]], dim=-1)
