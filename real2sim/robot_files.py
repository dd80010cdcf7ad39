"""Maintained robot models, read from their own files: never hand-written, never changed on disk."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arena.contracts import InvalidInput
from real2sim.engine import mujoco


@dataclass(frozen=True)
class RobotFiles:
    """A maintained robot model, MJCF or URDF, and a gripper's that is mounted on its body `mount`, turned by `turn` rad
    about that body's z axis.

    Of its own motors, tendons and equalities none is kept: what drives its joints is the twin's.
    Bodies of `stand` are left out: what a robot stands on is for the scene to show, which may hide it behind a table.
    """

    model: Path
    gripper: Path | None = None
    mount: str = "right_hand"
    turn: float = 0.0
    stand: tuple[str, ...] = ()


def panda_mjcf() -> Path:
    """robosuite's Panda. robosuite itself is not imported: its own dependencies hold numpy below 2."""
    file = "models/assets/robots/panda/robot.xml"
    return _installed("robosuite", file, "the Panda", "pip install --no-deps robosuite==1.5.2")


def sawyer_with_claws() -> RobotFiles:
    """Meta-World's own Sawyer, gripper included."""
    file = _installed("metaworld", "assets/objects/xyz_base.xml", "the Sawyer", "pip install metaworld")
    return RobotFiles(file, stand=("controller_box", "pedestal_feet", "torso", "pedestal"))


def _installed(package: str, file: str, whose: str, install: str) -> Path:
    """A file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    for root in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(root) / file).is_file():
            return path
    raise InvalidInput(f"{whose}'s model is missing ({file} of {package}): {install}")


def panda_with_robotiq() -> RobotFiles:
    """DROID's arm: robosuite's Panda with its Robotiq 2F-85.

    robosuite mounts it as Franka mounts its own hand, turned by 45 degrees; DROID's fingers open along the flange's y
    axis, as its wrist cameras show.
    """
    arm = panda_mjcf()
    return RobotFiles(arm, arm.parents[2] / "grippers" / "robotiq_gripper_85.xml", turn=math.pi / 4)


def load_robot(files: RobotFiles) -> Any:
    """The robot's `MjSpec`, base at the origin, without motors: what drives it is for its user to add.

    Raises `InvalidInput` for files that MuJoCo cannot read, and for a body that is not there.
    """
    robot = _read_model(files.model)
    for name in files.stand:
        if robot.body(name) is None:
            raise InvalidInput(f"{files.model} has no body {name!r} to leave out")
        robot.detach_body(robot.body(name))
    if files.gripper is not None:
        body = robot.body(files.mount)
        if body is None:
            names = ", ".join(body.name for body in robot.bodies)
            raise InvalidInput(f"{files.model} has no body {files.mount!r} to mount a gripper on; it has {names}")
        robot.attach(_read_model(files.gripper), prefix="", suffix="", frame=_turned(body, files.turn))
    return robot


def _turned(body: Any, turn: float) -> Any:
    frame = body.add_frame()
    frame.quat = [math.cos(turn / 2), 0.0, 0.0, math.sin(turn / 2)]
    return frame


def _read_model(path: Path) -> Any:
    """A file's model. Of meshes with one name the first is kept, which is what geometries that name it mean:
    robosuite's Robotiq lists one twice, and its second file does not exist. Mocap bodies are handles, not parts."""
    if not path.is_file():
        raise InvalidInput(f"the robot model {path} is missing")
    try:
        model = mujoco.MjSpec.from_file(str(path))
    except (ValueError, mujoco.FatalError) as error:
        raise InvalidInput(f"{path} is no robot model that MuJoCo can read: {str(error).splitlines()[0]}") from error
    seen: set[str] = set()
    for mesh in list(model.meshes):
        if mesh.name and mesh.name in seen:
            mesh.delete()
        else:
            seen.add(mesh.name)
    for body in [body for body in model.bodies if body.mocap]:
        model.detach_body(body)
    for each in [*model.sensors, *model.actuators, *model.tendons, *model.equalities]:
        each.delete()
    return model
