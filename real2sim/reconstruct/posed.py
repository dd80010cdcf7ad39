"""An episode's frames with the cameras that were found, and masks of what stands still in them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from arena.contracts import Episode, FloatArray, Frames
from real2sim.camera import Camera
from real2sim.cameras.exterior import farthest
from real2sim.frames import spread_over
from real2sim.mount import WRIST, flange_poses, mount_poses, wrist_camera_at
from real2sim.reconstruct.gripper import THINGS, GripperFilm, Handling
from real2sim.reconstruct.handled import handled_places
from real2sim.reconstruct.moved import Changes, Moved, ball_in
from real2sim.robot import ArmKinematics
from real2sim.robots import robot_named
from real2sim.silhouette import RobotSilhouette
from real2sim.splats.views import View
from real2sim.twin.support import SupportPlane

PLATE_FRAMES = 40
MOSTLY_FREE = 0.35
"""A pixel's median over time shows the scene where the robot stands less than this share of the time."""
LEAST_SEEN = 0.2
"""Of a wrist picture: what shows less of the scene is left out."""


class Footage:
    """An episode's films with its cameras: where they show what was moved, the robot aside.

    Reads and compares the static cameras' films once.
    """

    def __init__(self, episode: Episode, exterior: Mapping[str, Camera], wrist: Camera) -> None:
        self.joints, self.gripper = np.asarray(episode.joint_position), np.asarray(episode.gripper_position)[:, 0]
        self.kind = robot_named(episode.robot)
        self._episode, self.exterior, self.wrist = episode, dict(exterior), wrist
        kinematics = ArmKinematics(self.kind)
        self.mount = mount_poses(self.joints, kinematics)
        self.changes = {name: self._changes(name, camera) for name, camera in exterior.items()}
        tips = (flange_poses(self.joints, kinematics) @ np.append(self.kind.fingertips, 1))[:, :3]
        self._handling = Handling(
            tips,
            self.gripper,
            lambda turn: any(each.still_in(turn.tips, THINGS, turn.frame) for each in self.changes.values()),
        )
        self._moved = Moved(list(self.changes.values()), tips, self._handling.closed)

    def moved(self, name: str, frame: int) -> NDArray[np.bool_]:
        """`(H, W)`: where a camera shows, at a frame, what was moved by then, or, a static one, is moved at all."""
        camera = self.camera(name, frame)
        if name in self.changes:
            hidden = self.changes[name].moved.copy()
        elif frame > self._moved.since:
            hidden = self._moved.seen_by(camera)
        else:
            hidden = np.zeros((camera.height, camera.width), bool)
        for middle, radius in self._handling.balls(frame):
            hidden |= ball_in(camera, middle, radius)
        return hidden

    def handled(self, plane: SupportPlane) -> FloatArray:
        """`(K, 3)` m: where on a plane something may have stood that the episode moved."""
        return handled_places(plane, self._moved, self._handling.taken)

    def camera(self, name: str, frame: int) -> Camera:
        if name in self.exterior:
            return self.exterior[name]
        return wrist_camera_at(self.wrist, self.mount[frame])

    def film(self, name: str) -> Frames:
        return self._episode.cameras[name].read()

    def _changes(self, name: str, camera: Camera) -> Changes:
        film = self.film(name)
        spread = spread_over(len(film), PLATE_FRAMES)
        robot = RobotSilhouette(camera.width, camera.height, self.kind)
        try:
            drawn = robot.masks(camera, self.joints[spread], self.gripper[spread])
        finally:
            robot.close()
        return Changes.of(camera, film, spread, drawn)


def posed_views(footage: Footage, count: int) -> list[View]:
    """Of each exterior camera its plate and two frames, and `count` frames of the wrist camera that are far apart.

    Masked are the robot, what it holds, and what other things were moved: views show the scene's beginning.
    """
    views = [view for name, each in footage.changes.items() for view in _exterior_views(name, each)]
    return views + _wrist_views(footage, count)


def gripper_overlap(footage: Footage) -> float | None:
    """The median over frames of `GripperFilm.overlap`: how a wrist camera's film and its picture of the gripper agree.

    None where no frame tells. Links further up, which pass through the picture, do not count.
    """
    film, wrist = footage.film(WRIST), footage.wrist
    shown, frames = GripperFilm(film, footage.gripper), spread_over(len(film), PLATE_FRAMES)
    robot = RobotSilhouette(wrist.width, wrist.height, footage.kind)
    try:
        poses = [(footage.camera(WRIST, t), footage.joints[t], footage.gripper[t]) for t in frames]
        drawn = np.stack([np.isfinite(robot.depth(*pose)) for pose in poses])
    finally:
        robot.close()
    found: list[float | None] = []
    for opening in np.unique(shown.opening[frames]):
        alike = shown.opening[frames] == opening
        usual = drawn[alike].mean(axis=0) > 0.5
        found += [shown.overlap(int(frame), usual) for frame in frames[alike]]
    told = [each for each in found if each is not None]
    return float(np.median(told)) if told else None


def _exterior_views(name: str, seen: Changes) -> list[View]:
    """The plate, and the first and the last frame. What stood elsewhere in the beginning is masked but in the first."""
    moved = seen.moved_from_start
    last = ~(seen.robot[-1] | seen.apart[-1] | moved)
    return [
        View(seen.camera, seen.plate, ~((seen.robot.mean(0) > MOSTLY_FREE) | moved), f"{name}/plate"),
        View(seen.camera, seen.first, ~seen.robot[0], f"{name}/{seen.frames[0]}"),
        View(seen.camera, seen.last, last, f"{name}/{seen.frames[-1]}"),
    ]


def _wrist_views(footage: Footage, count: int) -> list[View]:
    film, wrist = footage.film(WRIST), footage.wrist
    shown = GripperFilm(film, footage.gripper)
    robot = RobotSilhouette(wrist.width, wrist.height, footage.kind)
    views: list[View] = []
    try:
        for frame in np.sort(farthest(footage.joints, count)):
            camera = footage.camera(WRIST, frame)
            drawn = np.isfinite(robot.depth(camera, footage.joints[frame], footage.gripper[frame]))
            hidden = shown.mask(frame, drawn) | footage.moved(WRIST, frame)
            if hidden.mean() < 1 - LEAST_SEEN:
                views.append(View(camera, film[frame], ~hidden, f"{WRIST}/{frame}"))
    finally:
        robot.close()
    return views
