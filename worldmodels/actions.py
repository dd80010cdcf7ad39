"""Poses to action tokens: a representation without jumps, normalised by what the training data spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from arena.contracts import Episode, FloatArray, InvalidInput
from arena.geometry import euler_xyz_to_matrix, matrix_to_rotation_6d, unwrap_euler
from worldmodels.config import ActionRepresentation

SMALLEST_SPAN = 1e-3
"""A number that hardly varies in the data (a wrist that never turns) is not blown up to [-1, 1]."""


class PoseSource(StrEnum):
    """Which pose an action token states."""

    COMMAND = "command"
    """The command in force when the frame was captured: what a policy decides."""
    STATE = "state"
    """The pose that the robot had reached: all that recordings without commands have, and the released choice."""


@dataclass(frozen=True)
class ActionStatistics:
    """What normalises actions; stored with every checkpoint.

    `low` and `high` are the 1st and 99th percentile of each of the `A` represented numbers.
    `euler_reference` `(3,)` is the mean orientation, near which Euler angles are unwrapped.
    `tracking` `(7,)` is how much of the way to its command the robot gets within one frame.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    euler_reference: tuple[float, ...]
    tracking: tuple[float, ...]
    source: PoseSource
    clip: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ActionStatistics:
        """Raises `InvalidInput` where a field is missing or not a number."""
        try:
            return cls(
                low=tuple(float(v) for v in values["low"]),
                high=tuple(float(v) for v in values["high"]),
                euler_reference=tuple(float(v) for v in values["euler_reference"]),
                tracking=tuple(float(v) for v in values["tracking"]),
                source=PoseSource(values["source"]),
                clip=float(values.get("clip", 1.0)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"statistics.json does not describe actions: {error!r}") from error


def poses_of(episode: Episode, source: PoseSource) -> FloatArray:
    """`(T, 7)`: for each frame the pose that its action token states.

    Frame 0 was captured before any recorded command: its pose is the state.
    """
    if source is PoseSource.STATE:
        return episode.state
    if episode.action is None:
        raise InvalidInput(f"episode {episode.id} records no commands: use pose source 'state'")
    return np.concatenate([episode.state[:1], episode.action.values[:-1]])


def represent(poses: FloatArray, representation: ActionRepresentation, euler_reference: Sequence[float]) -> FloatArray:
    """`(T, 7)` consecutive poses to `(T, A)` numbers that vary continuously along the trajectory.

    Euler angles are unwrapped over time, starting on the branch nearest to the reference.
    """
    poses = np.asarray(poses, dtype=np.float64)
    position, euler, gripper = poses[:, :3], poses[:, 3:6], poses[:, 6:]
    if representation is ActionRepresentation.EULER:
        rotation = unwrap_euler(euler, reference=np.asarray(euler_reference, dtype=np.float64))
    else:
        rotation = matrix_to_rotation_6d(euler_xyz_to_matrix(euler))
    return np.concatenate([position, rotation, gripper], axis=1)


def normalise(represented: FloatArray, statistics: ActionStatistics) -> FloatArray:
    """`(..., A)` to about [-1, 1]: the percentiles to -1 and 1, clipped at `statistics.clip`."""
    low, high = np.array(statistics.low), np.array(statistics.high)
    span = np.where(high - low < SMALLEST_SPAN, 2.0, high - low)
    middle = (low + high) / 2
    limit = statistics.clip
    return np.clip(2 * (represented - middle) / span, -limit, limit).astype(np.float32)


def action_tokens(poses: FloatArray, representation: ActionRepresentation, statistics: ActionStatistics) -> FloatArray:
    """`(T, 7)` consecutive poses to `(T, A)` normalised float32 actions."""
    return normalise(represent(poses, representation, statistics.euler_reference), statistics)


def measure_statistics(
    episodes: Sequence[Episode], representation: ActionRepresentation, clip: float = 1.5
) -> ActionStatistics:
    """Statistics of a training set. Commands are used where every episode has them, states otherwise.

    `clip` beyond 1 leaves room for actions a little outside the data. Raises `InvalidInput` for no episodes.
    """
    if not episodes:
        raise InvalidInput("no episodes to measure action statistics on")
    commanded = all(episode.action is not None for episode in episodes)
    source = PoseSource.COMMAND if commanded else PoseSource.STATE
    trajectories = [poses_of(episode, source) for episode in episodes]
    angles = np.concatenate(trajectories)[:, 3:6]
    reference = tuple(float(v) for v in np.arctan2(np.sin(angles).mean(0), np.cos(angles).mean(0)))
    represented = np.concatenate([represent(poses, representation, reference) for poses in trajectories])
    low, high = np.percentile(represented, [1, 99], axis=0)
    return ActionStatistics(
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        euler_reference=reference,
        tracking=_tracking(episodes) if commanded else (1.0,) * 7,
        source=source,
        clip=clip,
    )


def _tracking(episodes: Sequence[Episode]) -> tuple[float, ...]:
    """Least-squares gain `g` of `state[t + 1] - state[t] = g * (command[t] - state[t])`, in [0, 1] for each number."""
    errors, moves = [], []
    for episode in episodes:
        assert episode.action is not None
        error = episode.action.values[:-1] - episode.state[:-1]
        move = np.diff(episode.state, axis=0)
        for difference in (error, move):
            difference[:, 3:6] = (difference[:, 3:6] + np.pi) % (2 * np.pi) - np.pi
        errors.append(error)
        moves.append(move)
    error, move = np.concatenate(errors), np.concatenate(moves)
    gain = (error * move).sum(0) / np.maximum((error**2).sum(0), 1e-9)
    return tuple(np.clip(gain, 0.0, 1.0).tolist())


def track(state: FloatArray, command: FloatArray, statistics: ActionStatistics) -> FloatArray:
    """`(7,)` state to the `(7,)` state one frame after `command`, as the recorded robot followed its commands."""
    difference = command - state
    difference[3:6] = (difference[3:6] + np.pi) % (2 * np.pi) - np.pi
    reached: FloatArray = state + np.array(statistics.tracking) * difference
    return reached
