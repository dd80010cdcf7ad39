"""The Panda with the Robotiq 2F-85, as DROID uses it, with its meshes: from robosuite's MJCF files, put together."""

from __future__ import annotations

from typing import Any

import numpy as np

from arena.contracts import FloatArray
from real2sim.robot_files import load_robot, panda_with_robotiq

JOINTS = tuple(f"joint{i}" for i in range(1, 8))
HAND, LAST_LINK = "right_hand", "link7"
CLOSED_RADIANS = 0.8
"""The gripper's driving joint when it is closed."""
FINGERS = {
    "finger_joint": 1.0, "left_inner_knuckle_joint": 1.0, "left_inner_finger_joint": -1.0,
    "right_outer_knuckle_joint": 1.0, "right_inner_knuckle_joint": 1.0, "right_inner_finger_joint": -1.0,
}  # fmt: skip
"""How the six joints of the linkage follow the driving one, so that the pads stay parallel."""
VISUAL_GROUP = 1
"""robosuite's geoms that are looked at; those of group 0 collide."""


def panda_spec() -> Any:
    """The robot's `mujoco.MjSpec`: seven arm joints, six of the gripper, base at the origin, no motors.

    Raises `InvalidInput` where robosuite's files are not installed.
    """
    return load_robot(panda_with_robotiq())


class JointSetter:
    """Sets a model's joints from what a dataset holds. `prefix` is what the robot's names begin with."""

    def __init__(self, model: Any, prefix: str = "") -> None:
        self._arm = [model.joint(prefix + name).qposadr[0] for name in JOINTS]
        self._fingers = [model.joint(prefix + name).qposadr[0] for name in FINGERS]
        self._ratio = np.array(list(FINGERS.values()))

    def __call__(self, data: Any, joint_position: FloatArray, gripper_position: float) -> None:
        """`(7,)` rad, and 0 open to 1 closed. Forward kinematics are not run."""
        data.qpos[self._arm] = joint_position
        data.qpos[self._fingers] = CLOSED_RADIANS * float(gripper_position) * self._ratio
