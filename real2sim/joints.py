"""A model's joints, set from what a dataset holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from arena.contracts import FloatArray
from real2sim.robot_kind import Robot
from real2sim.robots import PANDA


class JointSetter:
    """Sets a model's joints from what a dataset holds. `prefix` is what the robot's names begin with."""

    def __init__(self, model: Any, robot: Robot = PANDA, prefix: str = "") -> None:
        self._arm = [model.joint(prefix + name).qposadr[0] for name in robot.joints]
        self._fingers = [model.joint(prefix + name).qposadr[0] for name in robot.gripper.closed]
        self._closed = np.array(list(robot.gripper.closed.values()))

    def __call__(self, data: Any, joint_position: FloatArray, gripper_position: float) -> None:
        """`(7,)` rad, and 0 open to 1 closed. Forward kinematics are not run."""
        data.qpos[self._arm] = joint_position
        data.qpos[self._fingers] = float(gripper_position) * self._closed
