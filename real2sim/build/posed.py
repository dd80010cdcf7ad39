"""An episode's frames with the cameras that were found, and masks of what stands still in them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from arena.contracts import Episode, FloatArray
from real2sim.build.gripper import GripperFilm, handled
from real2sim.build.moved import Changes, Moved
from real2sim.camera import Camera
from real2sim.cameras.exterior import farthest
from real2sim.robot import ArmKinematics
from real2sim.robots import Robot, robot_named
from real2sim.silhouette import RobotSilhouette
from real2sim.splats.planar import pixel_rays
from real2sim.splats.views import View
from real2sim.twin.pictures import mount_poses, wrist_camera_at

PLATE_FRAMES = 40
MOSTLY_FREE = 0.35
"""A pixel's median over time shows the scene where the robot stands less than this share of the time."""
LEAST_SEEN = 0.2
"""Of a wrist picture: what shows less of the scene is left out."""


def posed_views(episode: Episode, exterior: Mapping[str, Camera], wrist: Camera | None, count: int) -> list[View]:
    """Of each exterior camera its plate and two frames, and `count` frames of the wrist camera that are far apart.

    Masked are the robot, what it holds, and what other things were moved: views show the scene's beginning.
    """
    joints, gripper = np.asarray(episode.joint_position), np.asarray(episode.gripper_position)[:, 0]
    kind = robot_named(episode.robot)
    changes = {
        name: _changes(kind, episode.cameras[name].read(), camera, joints, gripper) for name, camera in exterior.items()
    }
    views = [view for name, each in changes.items() for view in _exterior_views(name, each)]
    if wrist is None:
        return views
    return views + _wrist_views(
        kind, episode.cameras["wrist"].read(), wrist, Moved(list(changes.values())), joints, gripper, count
    )


def _changes(kind: Robot, film: NDArray[np.uint8], camera: Camera, joints: FloatArray, gripper: FloatArray) -> Changes:
    spread = np.unique(np.linspace(0, len(film) - 1, PLATE_FRAMES).astype(int))
    robot = RobotSilhouette(camera.width, camera.height, kind)
    try:
        drawn = np.stack([np.isfinite(robot.depth(camera, joints[t], gripper[t])) for t in spread])
    finally:
        robot.close()
    return Changes.of(camera, film, spread, drawn)


def _exterior_views(name: str, seen: Changes) -> list[View]:
    """The plate, and the first and the last frame. What stood elsewhere in the beginning is masked but in the first."""
    moved = seen.moved_from_start
    last = ~(seen.robot[-1] | seen.apart[-1] | moved)
    return [
        View(seen.camera, seen.plate, ~((seen.robot.mean(0) > MOSTLY_FREE) | moved), f"{name}/plate"),
        View(seen.camera, seen.first, ~seen.robot[0], f"{name}/{seen.frames[0]}"),
        View(seen.camera, seen.last, last, f"{name}/{seen.frames[-1]}"),
    ]


def _wrist_views(
    kind: Robot, film: NDArray[np.uint8], wrist: Camera, moved: Moved, joints: FloatArray, gripper: FloatArray,
    count: int,
) -> list[View]:  # fmt: skip
    flange, shown = mount_poses(joints, ArmKinematics(kind)), GripperFilm(film, gripper)
    robot = RobotSilhouette(wrist.width, wrist.height, kind)
    views: list[View] = []
    try:
        for frame in np.sort(farthest(joints, count)):
            camera = wrist_camera_at(wrist, flange[frame])
            hidden = shown.mask(frame, np.isfinite(robot.depth(camera, joints[frame], gripper[frame])))
            if frame > moved.since:
                hidden |= moved.seen_by(camera)
            for middle, radius in handled(flange, gripper, frame):
                hidden |= _ball(camera, middle, radius)
            if hidden.mean() < 1 - LEAST_SEEN:
                views.append(View(camera, film[frame], ~hidden, f"wrist/{frame}"))
    finally:
        robot.close()
    return views


def _ball(camera: Camera, middle: FloatArray, radius: float) -> NDArray[np.bool_]:
    """`(H, W)`: the pixels whose rays meet a ball."""
    away = middle - camera.camera_to_base[:3, 3]
    rays = pixel_rays(camera)
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    along = rays @ away
    return np.asarray((along > 0) & (away @ away - along**2 < radius**2))
