"""Cartesian trajectories as a robot's joints have them, for formats and policies that know nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from arena.contracts import ActionChunk, ActionSpace, FloatArray, InvalidInput
from arena.synthesis.export.trajectory import Trajectory


class InverseKinematics(Protocol):
    """A robot's geometry, backwards."""

    def inverse(self, cartesian_position: FloatArray, start: FloatArray) -> FloatArray:
        """`(N, 6)` poses along a path to `(N, 7)` rad, from `start` `(7,)` on. Raises `InvalidInput` out of reach."""
        ...


def in_joints(trajectory: Trajectory, kinematics: InverseKinematics, start: FloatArray) -> Trajectory:
    """The same trajectory with joint positions and joint velocities in rad/s, from joints `start` `(7,)` on.

    The velocity of a frame is the one that, held for a frame, leads to the commanded pose: carried out as
    `arena.actions` does, it commands the poses of `trajectory`. Raises `InvalidInput` for actions that are not
    `cartesian_position`, and poses that the robot does not reach.
    """
    if trajectory.action.space is not ActionSpace.CARTESIAN_POSITION:
        raise InvalidInput(
            f"trajectory {trajectory.id} has {trajectory.action.space} actions: only cartesian_position becomes joints"
        )
    joints = kinematics.inverse(trajectory.state[:, :6], start)
    commanded = np.concatenate(
        [kinematics.inverse(pose[None, :6], now) for pose, now in zip(trajectory.action.values, joints, strict=True)]
    )
    velocity = (commanded - joints) * trajectory.action.control_hz
    values = np.concatenate([velocity, trajectory.action.values[:, 6:]], axis=1)
    action = ActionChunk(values, ActionSpace.JOINT_VELOCITY, trajectory.action.control_hz)
    return replace(trajectory, action=action, joint_position=joints)
