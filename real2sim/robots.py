"""The robots that twins are made of: their own model files, and what a dataset of them calls joints, tool and gripper.

Two are here; others are what `DREAMARENA_ROBOTS` describes (`robot_described`).
"""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType

import numpy as np
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, InvalidInput
from real2sim.robot_described import FOLDER, robots_in
from real2sim.robot_files import panda_with_robotiq, sawyer_with_claws
from real2sim.robot_kind import Gripper, Mount, Robot

FLANGE_OFFSET = 0.107
"""Metres from the Panda's `link7` to its flange, along link7's z axis."""


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


def known_robots() -> tuple[Robot, ...]:
    """The robots here, and those that the user describes. Raises `InvalidInput` for a description that is none, and for
    two robots with one name."""
    folder = os.environ.get(FOLDER)
    robots = ROBOTS if not folder else (*ROBOTS, *robots_in(Path(folder)))
    names = [name for robot in robots for name in robot.names]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InvalidInput(f"two robots are called {twice[0]!r}: give the one described in {folder} other names")
    return robots


def robot_named(name: str) -> Robot:
    """The robot that a dataset calls `name`; the Panda where it does not say. Raises `InvalidInput` for any other."""
    robots = known_robots()
    for robot in robots:
        if name in robot.names:
            return robot
    if not name:
        return PANDA
    known = " and ".join(repr(robot.name) for robot in robots)
    raise InvalidInput(
        f"there is no model of a {name!r} here: twins are made of episodes of {known}, and of robots described in the "
        f"folder that {FOLDER} names (docs/twins.md)"
    )
