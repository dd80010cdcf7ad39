"""Poses to action tokens: a representation without jumps, normalised by what the training data spans.

As in the released model, the token of a frame states the pose that the robot had reached in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from arena.contracts import Episode, FloatArray, InvalidInput
from arena.geometry import euler_xyz_to_matrix, matrix_to_rotation_6d, unwrap_euler
from worldmodels.config import ActionRepresentation

SMALLEST_SPAN = 1e-3
"""A number that hardly varies in the data (a wrist that never turns) is not blown up to [-1, 1]."""


@dataclass(frozen=True)
class ActionStatistics:
    """What normalises actions; stored with every checkpoint.

    `low` and `high` are the 1st and 99th percentile of each of the `A` represented numbers.
    `euler_reference` `(3,)` is the mean orientation, near which Euler angles are unwrapped.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    euler_reference: tuple[float, ...]
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
                clip=float(values.get("clip", 1.0)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"statistics.json does not describe actions: {error!r}") from error


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
    """Statistics of the states of a training set.

    `clip` beyond 1 leaves room for poses a little outside the data. Raises `InvalidInput` for no episodes.
    """
    if not episodes:
        raise InvalidInput("no episodes to measure action statistics on")
    angles = np.concatenate([episode.state for episode in episodes])[:, 3:6]
    reference = tuple(float(v) for v in np.arctan2(np.sin(angles).mean(0), np.cos(angles).mean(0)))
    represented = np.concatenate([represent(episode.state, representation, reference) for episode in episodes])
    low, high = np.percentile(represented, [1, 99], axis=0)
    return ActionStatistics(tuple(low.tolist()), tuple(high.tolist()), reference, clip)
