"""Robots that their users describe: a TOML file for each, beside the MJCF or URDF that it names."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, InvalidInput
from real2sim.engine import mujoco
from real2sim.robot_files import RobotFiles, load_robot
from real2sim.robot_kind import Gripper, Mount, Robot

FOLDER = "DREAMARENA_ROBOTS"
"""The environment variable that names the folder of descriptions."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Point = tuple[Number, Number, Number]
Span = tuple[Number, Number]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Pose(_Table):
    """`position` in m, `quaternion` wxyz."""

    position: Point = (0.0, 0.0, 0.0)
    quaternion: tuple[Number, Number, Number, Number] = (1.0, 0.0, 0.0, 0.0)

    def matrix(self) -> FloatArray:
        """`(4, 4)`."""
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_quat(self.quaternion, scalar_first=True).as_matrix()
        pose[:3, 3] = self.position
        return pose


class Model(_Table):
    """Files, as `RobotFiles` has them, relative to the description; `turn_deg` in degrees."""

    file: Path
    gripper: Path | None = None
    mount: str = "right_hand"
    turn_deg: Number = 0.0
    stand: tuple[str, ...] = ()


class DescribedGripper(_Table):
    """A `Gripper`."""

    closed: dict[str, Number]
    motors: Annotated[tuple[str, ...], Field(min_length=1)]
    stiffness: Positive
    damping: Positive
    force: Positive
    armature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    friction: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    paced: bool = False


class DescribedMount(Pose):
    """A `Mount`: the camera's pose on the flange."""

    focal_widths: Positive


class Description(_Table):
    """A `Robot`. Of arms with seven joints: that is what episodes' joint positions have."""

    names: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    model: Model
    joints: Annotated[tuple[str, ...], Field(min_length=7, max_length=7)]
    tool_body: str
    tool: Pose = Pose()
    fingertips: Point
    gripper: DescribedGripper
    torque: Annotated[tuple[Positive, ...], Field(min_length=7, max_length=7)]
    shoulder: Point
    reach: Positive
    workspace: tuple[Span, Span, Span]
    visual_group: Annotated[int, Field(ge=0, le=5)] = 1
    sites: bool = False
    level_camera: bool = False
    turn_weight: Positive = 1.0
    mounts: tuple[DescribedMount, ...] = ()

    def robot(self, folder: Path) -> Robot:
        """As the rest of the program knows it; its files lie in `folder`."""
        model = self.model
        gripper = None if model.gripper is None else folder / model.gripper
        files = RobotFiles(folder / model.file, gripper, model.mount, np.radians(model.turn_deg), model.stand)
        return Robot(
            names=self.names, files=lambda: files, joints=self.joints, tool_body=self.tool_body,
            tool=self.tool.matrix(), fingertips=np.array(self.fingertips), gripper=Gripper(**self.gripper.model_dump()),
            torque=np.array(self.torque), shoulder=np.array(self.shoulder), reach=self.reach, workspace=self.workspace,
            visual_group=self.visual_group, sites=self.sites, level_camera=self.level_camera,
            turn_weight=self.turn_weight, mounts=tuple(Mount(each.matrix(), each.focal_widths) for each in self.mounts),
        )  # fmt: skip


def robots_in(folder: Path) -> tuple[Robot, ...]:
    """Of every `*.toml` in a folder, read when a file of the folder has changed. Raises `InvalidInput` for one that is
    no robot, with what is wrong."""
    if not folder.is_dir():
        raise InvalidInput(f"{FOLDER} names {folder}, which is no folder")
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return _read(folder, tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files))


@cache
def _read(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> tuple[Robot, ...]:
    """As `robots_in`. What is read is known by all `files` of the folder: a model names others, and those more."""
    digest = hashlib.sha256()
    for file, _, _ in files:
        digest.update(str(file.relative_to(folder)).encode() + hashlib.sha256(file.read_bytes()).digest())
    found = sorted(folder.glob("*.toml"))
    return tuple(replace(described(file), source=digest.hexdigest()) for file in found)


def described(file: Path) -> Robot:
    """The robot of one description. Raises `InvalidInput` for what is missing, wrong, or not in its model."""
    try:
        robot = Description.model_validate(tomllib.loads(file.read_text())).robot(file.parent)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{file} describes no robot: {_first(error)}") from error
    try:
        model = load_robot(robot.files()).compile()
        arm = load_robot(replace(robot.files(), gripper=None)).compile()
    except (ValueError, mujoco.FatalError) as error:
        raise InvalidInput(f"the model that {file} names cannot be used: {_first(error)}") from error
    for kind, wanted, there in (
        ("joint", robot.joints, {arm.joint(index).name for index in range(arm.njnt)}),
        ("joint", robot.gripper.closed, {model.joint(index).name for index in range(model.njnt)}),
        ("body", (robot.tool_body,), {arm.body(index).name for index in range(arm.nbody)}),
        ("motor", robot.gripper.motors, {name for name, closed in robot.gripper.closed.items() if closed}),
    ):
        if missing := [name for name in wanted if name not in there]:
            among = "`closed` moves" if kind == "motor" else "its model has"
            raise InvalidInput(f"{file} names a {kind} {missing[0]!r}; {among} {', '.join(sorted(there))}")
    if not ((model.geom_group == robot.visual_group) & (model.geom_dataid >= 0)).any():
        raise InvalidInput(f"{file}: its model has no mesh in group {robot.visual_group} (visual_group) to look at")
    return robot


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        wrong = error.errors()[0]
        return f"{'.'.join(str(part) for part in wrong['loc'])}: {wrong['msg']}"
    return str(error).splitlines()[0]
