"""The Panda with the Robotiq 2F-85, as DROID uses it, with its meshes: from robosuite's MJCF files, put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from arena.contracts import FloatArray, InvalidInput
from real2sim.engine import mujoco
from real2sim.robot import panda_mjcf

JOINTS = tuple(f"joint{i}" for i in range(1, 8))
HAND, LAST_LINK = "right_hand", "link7"
ROBOT = "robot_"
"""What names of the robot's parts begin with in a model that holds more."""
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
    """The robot's `mujoco.MjSpec`: seven arm joints, six of the gripper, base at the origin.

    Raises `InvalidInput` where robosuite's files are not installed.
    """
    arm = panda_mjcf()
    spec = mujoco.MjSpec.from_string(_with_absolute_files(arm))
    gripper_file = arm.parents[2] / "grippers" / "robotiq_gripper_85.xml"
    if not gripper_file.is_file():
        raise InvalidInput(f"{gripper_file} is missing: pip install --no-deps robosuite==1.5.2")
    gripper = mujoco.MjSpec.from_string(_with_absolute_files(gripper_file))
    frame = spec.body(HAND).add_frame()
    spec.attach(gripper, frame=frame, prefix="", suffix="")
    return spec


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


def _with_absolute_files(path: Path) -> str:
    """An MJCF as text that can be read from anywhere: absolute files, and no mesh name twice (the first counts, as in
    robosuite). Without what drives it: joints are set.
    """
    tree = ElementTree.parse(path).getroot()
    for asset in tree.findall("asset"):
        seen: set[str] = set()
        for item in list(asset):
            name = f"{item.tag}:{item.get('name')}"
            if name in seen:
                asset.remove(item)
                continue
            seen.add(name)
            if item.get("file"):
                item.set("file", str((path.parent / str(item.get("file"))).resolve()))
    for tag in ("actuator", "sensor", "tendon", "equality"):
        for section in tree.findall(tag):
            tree.remove(section)
    return ElementTree.tostring(tree, encoding="unicode")
