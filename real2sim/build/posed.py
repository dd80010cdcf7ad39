"""An episode's frames with the cameras that were found, and masks of what stands still in them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from arena.contracts import Episode, FloatArray
from real2sim.camera import Camera
from real2sim.cameras.exterior import farthest
from real2sim.cameras.plate import Plate
from real2sim.robot import ArmKinematics
from real2sim.robots import Robot, robot_named
from real2sim.silhouette import RobotSilhouette
from real2sim.splats.views import View
from real2sim.twin.pictures import mount_poses, wrist_camera_at

PLATE_FRAMES = 40
MOSTLY_FREE = 0.35
"""A pixel's median over time shows the scene where the robot stands less than this share of the time."""
AROUND_ROBOT = 2
"""Pixels around the robot's silhouette that are not trusted."""


def posed_views(episode: Episode, exterior: Mapping[str, Camera], wrist: Camera | None, count: int) -> list[View]:
    """Of each exterior camera its plate and two frames, and `count` frames of the wrist camera that are far apart."""
    joints, gripper = np.asarray(episode.joint_position), np.asarray(episode.gripper_position)[:, 0]
    robot_kind = robot_named(episode.robot)
    views: list[View] = []
    for name, camera in exterior.items():
        views += _exterior_views(robot_kind, episode.cameras[name].read(), name, camera, joints, gripper)
    if wrist is None:
        return views
    film, flange = episode.cameras["wrist"].read(), mount_poses(joints, ArmKinematics(robot_kind))
    robot = RobotSilhouette(wrist.width, wrist.height, robot_kind)
    try:
        for frame in np.sort(farthest(joints, count)):
            camera = wrist_camera_at(wrist, flange[frame])
            mask = _free(np.isfinite(robot.depth(camera, joints[frame], gripper[frame])))
            if mask.mean() > 0.2:
                views.append(View(camera, film[frame], mask, f"wrist/{frame}"))
    finally:
        robot.close()
    return views


def _exterior_views(
    robot_kind: Robot, film: NDArray[np.uint8], name: str, camera: Camera, joints: FloatArray, gripper: FloatArray
) -> list[View]:
    robot = RobotSilhouette(camera.width, camera.height, robot_kind)
    try:
        spread = np.unique(np.linspace(0, len(film) - 1, PLATE_FRAMES).astype(int))
        drawn = np.stack([np.isfinite(robot.depth(camera, joints[t], gripper[t])) for t in spread])
        plate = np.rint(Plate.of(film).background).astype(np.uint8)
        views = [View(camera, plate, _free(drawn.mean(0) > MOSTLY_FREE), f"{name}/plate")]
        for t in (spread[0], spread[-1]):
            mask = _free(np.isfinite(robot.depth(camera, joints[t], gripper[t])))
            views.append(View(camera, film[t], mask, f"{name}/{t}"))
        return views
    finally:
        robot.close()


def _free(robot: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(~binary_dilation(robot, iterations=AROUND_ROBOT))
