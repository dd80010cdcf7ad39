"""An episode whose films were taken a little before or after its joints were read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from arena.contracts import Episode, FloatArray


def joint_velocity(episode: Episode) -> FloatArray:
    """`(T, J)` rad/s at the recorded frames."""
    return np.gradient(np.asarray(episode.joint_position, np.float64), 1 / episode.fps, axis=0)


def at_film_time(episode: Episode, lag: float) -> Episode:
    """The episode with joints and gripper as its films show them, `lag` s after they were recorded, which is less than
    the time between two frames. Its poses and its actions stay as they were recorded.

    Joints go on at their rate, as `RecordedJoints.later` has it; a gripper, which may close within a frame, is
    interpolated.
    """
    if lag == 0:
        return episode
    joints, gripper = (np.asarray(each, np.float64) for each in (episode.joint_position, episode.gripper_position))
    times = np.arange(len(episode)) / episode.fps
    return replace(
        episode,
        joint_position=joints + lag * joint_velocity(episode),
        gripper_position=np.interp(times + lag, times, gripper[:, 0])[:, None],
    )
