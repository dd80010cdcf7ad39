"""An episode whose films were taken a little before or after its joints were read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from arena.contracts import Episode, FloatArray


def at_film_time(episode: Episode, lag: float) -> Episode:
    """The episode with joints and gripper as its films show them, `lag` s after they were recorded (to first order:
    for less than the time between two frames). Its poses and its actions stay as they were recorded."""
    if lag == 0:
        return episode

    def moved_on(values: FloatArray) -> FloatArray:
        return values + lag * np.gradient(values, 1 / episode.fps, axis=0)

    joints, gripper = (np.asarray(each, np.float64) for each in (episode.joint_position, episode.gripper_position))
    return replace(episode, joint_position=moved_on(joints), gripper_position=moved_on(gripper).clip(0, 1))
