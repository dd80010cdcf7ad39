"""Where the recorded robot was seen there is nothing before it: what the scene has there belongs behind.

What only one static camera sees, mostly walls, has no depth of its own, and a fit may leave it anywhere along its
ray, also before the arm. The robot's own way through the pictures says where it cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena.contracts import Episode, FloatArray
from real2sim.camera import Camera
from real2sim.cameras.surface import surface_points
from real2sim.frames import spread_over
from real2sim.robot_kind import Robot
from real2sim.robots import robot_named
from real2sim.silhouette import RobotSilhouette
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.planar import pixel_rays
from real2sim.splats.views import View
from real2sim.twin.objects import TwinObject

FRAMES = 60
SURFACE_POINTS, MOVED = 1500, 0.05
"""Points that stand for the robot's surface, and metres that those of them move by which count as moving."""
BEFORE, BEHIND = 0.03, 0.15
"""Metres: what is this far before the robot is no part of the scene; what has no depth is this far behind it."""


def lowest_reached(episode: Episode) -> float:
    """Metres above the robot's base of the lowest point that a moving part of it reached: no table is higher there."""
    joints, gripper = np.asarray(episode.joint_position), np.asarray(episode.gripper_position)[:, 0]
    robot = RobotSilhouette(16, 16, robot_named(episode.robot))
    try:
        points = surface_points(robot, joints, gripper, SURFACE_POINTS, seed=0)
    finally:
        robot.close()
    moving = np.linalg.norm(np.ptp(points, axis=0), axis=1) > MOVED
    return float(points[:, moving, 2].min()) if moving.any() else float("inf")


def robot_depths(episode: Episode, camera: Camera) -> FloatArray:
    """`(H, W)` m: the farthest that the robot's surface was in each pixel of a static camera, 0 where it never was."""
    joints, gripper = np.asarray(episode.joint_position), np.asarray(episode.gripper_position)[:, 0]
    robot = RobotSilhouette(camera.width, camera.height, robot_named(episode.robot))
    farthest = np.zeros((camera.height, camera.width))
    try:
        for t in spread_over(len(joints), FRAMES):
            depth = robot.depth(camera, joints[t], gripper[t])
            farthest = np.maximum(farthest, np.where(np.isfinite(depth), depth, 0.0))
    finally:
        robot.close()
    return farthest


def behind_workspace(
    view: View, arm: Robot, robot: FloatArray, known: FloatArray, things: Sequence[TwinObject]
) -> FloatArray:
    """`(H, W)` m for a static camera: `known` where that is positive, elsewhere behind all that `arm` can reach, and
    0 (not known) where things are. `robot` is what `robot_depths` gives."""
    camera = view.camera
    rays, position = pixel_rays(camera), camera.camera_to_base[:3, 3] - arm.shoulder
    # Where each ray leaves the sphere around the shoulder; rays that pass it by are as deep as its middle.
    square, product = (rays**2).sum(axis=-1), rays @ position
    root = np.maximum(product**2 - square * (position @ position - arm.reach**2), 0.0)
    leaves = np.maximum((-product + np.sqrt(root)) / square, robot + BEHIND)
    return np.where(known > 0, known, np.where(_on_things(camera, things), 0.0, leaves))


def before_robot(scene: Gaussians, robots: Mapping[str, FloatArray], cameras: Mapping[str, Camera]) -> Tensor:
    """`(N,)` bool: which Gaussians stand where a static camera saw the arm behind them."""
    means = scene.means.detach().double().cpu().numpy()
    wrong = np.zeros(len(means), bool)
    for name, depths in robots.items():
        camera = cameras[name]
        row, column, depth = camera.cells(means)
        wrong |= (depth > 0) & (depth < depths[row, column] - BEFORE)
    return torch.from_numpy(wrong)


def _on_things(camera: Camera, things: Sequence[TwinObject]) -> NDArray[np.bool_]:
    """`(H, W)`: the boxes around what stands on the table, as a camera sees them."""
    on = np.zeros((camera.height, camera.width), bool)
    for thing in things:
        places = thing.mesh.vertices @ thing.body_to_base[:3, :3].T + thing.body_to_base[:3, 3]
        pixels, depth = camera.project(places)
        if (depth > 0).all():
            low, high = np.floor(pixels.min(axis=0)).astype(int) - 1, np.ceil(pixels.max(axis=0)).astype(int) + 1
            on[max(low[1], 0) : max(high[1], 0), max(low[0], 0) : max(high[0], 0)] = True
    return on
