"""The robots that twins are made of: their own model files, and what a dataset of them calls joints, tool and gripper.

Everything that differs from robot to robot is a value here; nothing else asks for a robot's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, InvalidInput
from real2sim.robot_files import RobotFiles, panda_with_robotiq, sawyer_with_claws

FLANGE_OFFSET = 0.107
"""Metres from the Panda's `link7` to its flange, along link7's z axis."""


@dataclass(frozen=True)
class Gripper:
    """`closed` has the position of each of the gripper's joints when it is closed, in rad or m; open, all are 0.

    `motors` are those of them with a motor of their own; the others follow the first motor. A motor pulls with
    `stiffness` and `damping` (N or Nm per m or rad), by at most `force`. `armature` and `friction` are each joint's own
    inertia and damping: a finger's are too small for contacts' steps, or stand for a gear that a contact must not feel.
    One that is `paced` may be told how hard to close, not where to.
    """

    closed: Mapping[str, float]
    motors: tuple[str, ...]
    stiffness: float
    damping: float
    force: float
    armature: float
    friction: float
    paced: bool = False


@dataclass(frozen=True)
class Mount:
    """Where a wrist camera is mostly fixed: `camera_to_flange` `(4, 4)`, and its focal length in picture widths."""

    camera_to_flange: FloatArray
    focal_widths: float


@dataclass(frozen=True)
class Robot:
    """One kind of robot, as its datasets know it.

    `names` is what datasets call it. `joints` are its arm's, in the order of `joint_position`. `cartesian_position` is
    the pose `tool` `(4, 4)` in the frame of the body `tool_body`. Geoms of `visual_group` are looked at; `sites` says
    whether its sites are, too. `torque` `(7,)` Nm is what its motors give. `shoulder` `(3,)` and `reach` m are the
    middle and the radius of all that it can touch; `workspace` `((x, x), (y, y), (z, z))` is where its hand mostly is.
    `fingertips` `(3,)` m are where it grasps, in the tool's frame.
    The wrist camera goes with the tool, mostly on one of `mounts`; a `level_camera` does not turn with it. Of a pose
    out of reach, a rad counts as `turn_weight` m.
    """

    names: tuple[str, ...]
    files: Callable[[], RobotFiles]
    joints: tuple[str, ...]
    tool_body: str
    tool: FloatArray
    fingertips: FloatArray
    gripper: Gripper
    torque: FloatArray
    shoulder: FloatArray
    reach: float
    workspace: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    visual_group: int = 1
    sites: bool = False
    level_camera: bool = False
    turn_weight: float = 1.0
    mounts: tuple[Mount, ...] = ()

    @property
    def name(self) -> str:
        return self.names[0]


def _pose(rotation: FloatArray, position: tuple[float, float, float]) -> FloatArray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, position
    return pose


_CLOSED_2F85 = 0.8
"""Rad of the driving joint when it is closed. The linkage keeps the pads parallel."""
_LINKAGE = {
    "finger_joint": 1.0, "left_inner_knuckle_joint": 1.0, "left_inner_finger_joint": -1.0,
    "right_outer_knuckle_joint": 1.0, "right_inner_knuckle_joint": 1.0, "right_inner_finger_joint": -1.0,
}  # fmt: skip

_ZED_MINI = Mount(
    _pose(Rotation.from_euler("xyz", [-21.0, 1.5, -88.0], degrees=True).as_matrix(), (-0.08, 0.05, 0.03)), 0.6
)
"""DROID's bracket, about: what its episodes in which everything but the robot stands still say by themselves."""

PANDA = Robot(
    names=("panda", "droid"),
    files=panda_with_robotiq,
    joints=tuple(f"joint{i}" for i in range(1, 8)),
    tool_body="link7",
    tool=_pose(np.eye(3), (0.0, 0.0, FLANGE_OFFSET)),
    fingertips=np.array([0.0, 0.0, 0.15]),
    gripper=Gripper(
        closed=MappingProxyType({name: _CLOSED_2F85 * ratio for name, ratio in _LINKAGE.items()}),
        motors=("finger_joint",),
        # About 40 N at the pads, the lower end of what a 2F-85 presses with.
        stiffness=20.0,
        damping=1.0,
        force=5.0,
        armature=0.002,
        friction=0.05,
    ),
    # Franka Emika's data sheet.
    torque=np.array([87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0]),
    shoulder=np.array([0.0, 0.0, 0.333]),
    # The flange reaches 0.855 m, the gripper and what it holds the rest.
    reach=1.2,
    workspace=((-0.1, 0.7), (-0.35, 0.35), (0.0, 0.6)),
    mounts=(_ZED_MINI,),
)
"""DROID's: robosuite's Franka Panda with its Robotiq 2F-85."""

SAWYER = Robot(
    names=("sawyer",),
    files=sawyer_with_claws,
    joints=tuple(f"right_j{i}" for i in range(7)),
    tool_body="hand",
    # Its states are the hand's, without rotation where the gripper points straight down.
    tool=_pose(Rotation.from_quat([0.0, 1.0, 0.0, 1.0]).inv().as_matrix(), (0.0, 0.0, 0.0)),
    fingertips=np.array([0.0, 0.0, -0.045]),
    gripper=Gripper(
        # As far as its claws go, which is not equally far: 7 cm of the 10 between them.
        closed=MappingProxyType({"r_close": 0.04, "l_close": -0.03}),
        motors=("r_close", "l_close"),
        stiffness=20_000.0,
        damping=80.0,
        # Rethink's electric parallel gripper: 35 N.
        force=35.0,
        armature=0.2,
        friction=1.0,
        paced=True,
    ),
    # Rethink Robotics' data sheet.
    torque=np.array([80.0, 80.0, 40.0, 40.0, 9.0, 9.0, 9.0]),
    shoulder=np.array([0.0, 0.0, 0.317]),
    # Of 1.26 m, and what its claws reach further.
    reach=1.4,
    workspace=((-0.4, 0.4), (0.4, 0.9), (0.0, 0.5)),
    # Its claws' tips are marked by them.
    sites=True,
    level_camera=True,
    # What puts it where its recordings come to rest that were told to go too far: within 5 mm and 0.6 degrees.
    turn_weight=0.4,
)
"""Meta-World's: Rethink's Sawyer with two sliding claws."""

ROBOTS = (PANDA, SAWYER)


def robot_named(name: str) -> Robot:
    """The robot that a dataset calls `name`; the Panda where it does not say. Raises `InvalidInput` for any other."""
    for robot in ROBOTS:
        if name in robot.names:
            return robot
    if not name:
        return PANDA
    known = " and ".join(repr(robot.name) for robot in ROBOTS)
    raise InvalidInput(f"there is no model of a {name!r} here: twins are made of episodes of {known}")
