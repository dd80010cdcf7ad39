"""A film in which the arm hovers, so that the median over time shows it: what is behind it by a camera that is known,
and that camera again by the robot's outline before that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from real2sim.camera import Camera
from real2sim.cameras.align import PRESENCE_FRAMES, SHARP, Aligned, Shots, align
from real2sim.cameras.masks import EmptyScene
from real2sim.cameras.plate import Plate
from real2sim.frames import spread_over
from real2sim.robot_kind import Robot
from real2sim.silhouette import RobotSilhouette


def scene_behind(kind: Robot, shots: Shots, held_out: NDArray[np.intp], camera: Camera) -> EmptyScene:
    """The scene without the robot as frames of a film that are not `held_out` show it, if `camera` is its camera."""
    seen = shots.taken(np.setdiff1d(spread_over(len(shots.film), PRESENCE_FRAMES), held_out))
    robot = RobotSilhouette(camera.width, camera.height, kind)
    try:
        return EmptyScene.of(seen.film, robot.masks(camera, seen.joints, seen.gripper))
    finally:
        robot.close()


def sharpened(
    robot: RobotSilhouette,
    shots: Shots,
    fine: NDArray[np.intp],
    held_out: NDArray[np.intp],
    start: Camera,
    free_focal: bool,
) -> Aligned:
    """The camera near `start`, already within a few pixels, before the scene which that knows behind the robot.

    What features on the robot agree on follows its motion, and leaves open where it is: a hand may be drawn beside
    itself all the time.
    """
    scene = scene_behind(robot.kind, shots, held_out, start)
    plate = Plate(scene.background, np.ones(scene.known.shape))
    hidden = np.kron(~scene.known, np.ones((SHARP, SHARP)))
    return align(robot, replace(shots, plate=plate).taken(fine), start, free_focal, hidden)
