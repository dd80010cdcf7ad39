"""What an episode's films show of the robot's colours: those of its parts, and what each camera does to all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from arena.contracts import Episode, Frames, InvalidInput
from real2sim.frames import spread_over
from real2sim.mount import WRIST
from real2sim.reconstruct.gripper import GripperFilm
from real2sim.robot_parts import RGB
from real2sim.twin.bundle import Twin
from real2sim.twin.color import fit_color_response
from real2sim.twin.pictures import Instant, TwinPictures
from real2sim.twin.render import Look, RobotImages
from real2sim.twin.robot_colors import RobotFilm, fit_robot_colors

FRAMES, ROUNDS = 12, 3
LEAST_ROBOT = 100
"""Pixels of the robot, over all frames, that its colour response is fitted to."""


def sampled(twin: Twin, episode: Episode, count: int = FRAMES) -> tuple[NDArray[np.int64], list[Instant]]:
    """At most `count` frames over all of an episode `(K,)`, and the robot at these, things where they stood."""
    joints, gripper = np.asarray(episode.joint_position), np.asarray(episode.gripper_position)[:, 0]
    chosen = spread_over(len(episode), count)
    poses = {thing.name: thing.body_to_base for thing in twin.objects}
    return chosen, [Instant(joints[t], float(gripper[t]), poses) for t in chosen]


def dressed(twin: Twin, episode: Episode) -> Twin:
    """The twin with the colours that its robot has in twelve frames of the episode."""
    chosen, instants = sampled(twin, episode)
    pictures = TwinPictures(twin)
    try:
        films = {name: _Film.of(episode, name, chosen, pictures.robot_geoms(name, instants)) for name in twin.cameras}
    finally:
        pictures.close()
    looks, found = _seen(replace(twin, robot_colors={}), instants, films)
    colors: dict[str, RGB] = {}
    for _ in range(ROUNDS if found else 0):  # What a camera does was fitted to parts of other colours, too.
        colors |= found
        looks, found = _seen(replace(twin, robot_colors=colors), instants, films)
    return replace(twin, looks=looks, robot_colors=colors)


@dataclass(frozen=True)
class _Film:
    """A camera's `frames` `(K, H, W, 3)`, the robot's `geoms` `(K, H, W)` that are drawn in them, -1 beside it, and
    where frames show what is drawn: `trusted` `(K, H, W)`."""

    frames: Frames
    geoms: NDArray[np.int32]
    trusted: NDArray[np.bool_]

    @classmethod
    def of(cls, episode: Episode, name: str, chosen: NDArray[np.int64], geoms: NDArray[np.int32]) -> _Film:
        film = episode.cameras[name].read()
        if name != WRIST:
            return cls(film[chosen], geoms, np.ones(geoms.shape, bool))
        # So near, a few millimetres are many pixels: beside the true fingers a film shows the scene.
        gripper = GripperFilm(film, np.asarray(episode.gripper_position)[:, 0])
        return cls(film[chosen], geoms, np.stack([gripper.still(int(t)) for t in chosen]))


def _seen(
    twin: Twin, instants: Sequence[Instant], films: Mapping[str, _Film]
) -> tuple[dict[str, Look], dict[str, RGB]]:
    """What each camera does to the robot in its colours so far, and what colours its parts would rather have."""
    pictures, looks, shown = TwinPictures(twin), {}, []
    try:
        for name, film in films.items():
            drawn = pictures.robot(name, instants)
            trusted = film.trusted if (drawn.mask & film.trusted).sum() >= LEAST_ROBOT else np.ones_like(drawn.mask)
            looks[name] = look_of(replace(drawn, mask=drawn.mask & trusted), film.frames)
            geoms = np.where(trusted, film.geoms, -1)
            shown.append(RobotFilm(drawn.image, geoms, film.frames, looks[name].robot))
        return looks, fit_robot_colors(pictures.robot_alone, shown, twin.robot_colors)
    finally:
        pictures.close()


def look_of(robot: RobotImages, real: Frames) -> Look:
    """What the camera does to the robot's colours; nothing, where its film shows too little of them."""
    if robot.mask.sum() < LEAST_ROBOT:
        return Look()
    # Values in order, not pixel by pixel: the lights are not the real ones, so a link's bright side may be another one,
    # and a line through unlike pixels would make all of it grey.
    drawn, seen = (np.sort(frames[robot.mask] / 255.0, axis=0) for frames in (robot.image, real))
    try:
        return Look(robot=fit_color_response(drawn, seen, np.ones(len(drawn), bool)))
    except InvalidInput:  # Nearly all of it is too bright or too dark.
        return Look()
