"""What differs from robot to robot, as values: nothing asks for a robot's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from arena.contracts import FloatArray
from real2sim.robot_files import RobotFiles


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
    source: str = ""
    """Of one that its user describes, the hash of what it was read from."""

    @property
    def name(self) -> str:
        return self.names[0]
