"""What a twin's cameras see of its scenes at some instant: robot, things and background together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray, Frames
from real2sim.camera import Camera
from real2sim.mount import WRIST, mount_poses, wrist_camera_at
from real2sim.robot import ArmKinematics
from real2sim.robots import robot_named
from real2sim.silhouette import RobotSilhouette
from real2sim.twin.bundle import Twin
from real2sim.twin.render import COATED, RobotImages, TwinRenderer

DETAIL = 0.002
"""Metres of the robot's meshes that are too fine for pictures of a hundred pixels."""


@dataclass(frozen=True)
class Instant:
    """A scene at one moment: joints `(7,)` rad, the gripper from 0 open to 1 closed, and where things are `(4, 4)`."""

    joint_position: FloatArray
    gripper_position: float
    body_to_base: Mapping[str, FloatArray]


class TwinPictures:
    """Draws scenes of one twin. Holds graphics memory until it is closed."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._kinematics = kinematics_of(twin)
        self._renderer = TwinRenderer(
            # What has backdrops has its things from outlines: their Gaussians are coats.
            twin.background, twin.splats, twin.looks, twin.backdrops, finer=COATED if twin.backdrops else 1
        )  # fmt: skip
        self._robots: dict[tuple[int, int], RobotSilhouette] = {}

    def draw(self, instants: Sequence[Instant], names: Sequence[str] | None = None) -> dict[str, Frames]:
        """`(B, H, W, 3)` for each camera (all of the twin's by default), one row for each instant."""
        poses = {
            thing.name: np.stack([instant.body_to_base[thing.name] for instant in instants])
            for thing in self._twin.objects
        }
        drawn = {}
        for name in self._twin.cameras if names is None else names:
            cameras = self._cameras(name, instants)
            drawn[name], _ = self._renderer.render(name, cameras, poses, self._robot(cameras, instants))
        return drawn

    def robot(self, name: str, instants: Sequence[Instant]) -> RobotImages:
        """The robot's meshes alone as a camera sees them, in MuJoCo's colours."""
        return self._robot(self._cameras(name, instants), instants)

    def robot_geoms(self, name: str, instants: Sequence[Instant]) -> NDArray[np.int32]:
        """`(B, H, W)`: the geom of the robot that each pixel of a camera shows, -1 beside it."""
        cameras = self._cameras(name, instants)
        meshes = self._meshes(cameras[0])
        shown = [
            meshes.geoms(camera, instant.joint_position, instant.gripper_position)[1]
            for camera, instant in zip(cameras, instants, strict=True)
        ]
        return np.stack(shown)

    @property
    def robot_alone(self) -> RobotSilhouette:
        """Of one picture size or another."""
        return self._meshes(self._twin.wrist or next(iter(self._twin.exterior.values())))

    def close(self) -> None:
        for robot in self._robots.values():
            robot.close()
        self._robots = {}

    def _cameras(self, name: str, instants: Sequence[Instant]) -> list[Camera]:
        """A camera in the base frame at each instant: the wrist's goes with the flange."""
        if name != WRIST:
            return [self._twin.exterior[name]] * len(instants)
        wrist, joint_position = self._twin.wrist, np.stack([instant.joint_position for instant in instants])
        assert wrist is not None, "only a camera that the twin has is asked for"
        return [wrist_camera_at(wrist, pose) for pose in mount_poses(joint_position, self._kinematics)]

    def _meshes(self, camera: Camera) -> RobotSilhouette:
        size = camera.width, camera.height
        if size not in self._robots:
            robot = robot_named(self._twin.beginning.robot)
            self._robots[size] = RobotSilhouette(*size, robot, DETAIL, self._twin.robot_colors)
        return self._robots[size]

    def _robot(self, cameras: Sequence[Camera], instants: Sequence[Instant]) -> RobotImages:
        meshes = self._meshes(cameras[0])
        drawn = [
            meshes.picture(camera, instant.joint_position, instant.gripper_position)
            for camera, instant in zip(cameras, instants, strict=True)
        ]
        depth = np.stack([each for _, each in drawn]).astype(np.float64)
        return RobotImages(np.stack([each for each, _ in drawn]), depth, np.isfinite(depth))


def kinematics_of(twin: Twin) -> ArmKinematics:
    """Of the robot that a twin's episode is of."""
    return ArmKinematics(robot_named(twin.beginning.robot))
