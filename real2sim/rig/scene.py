"""One episode's twin: what stands in its rig at its first frame, what of it was moved, and where to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from arena.contracts import Episode, FloatArray, InvalidInput
from real2sim.mount import WRIST
from real2sim.reconstruct.scene import things_points
from real2sim.reconstruct.verify import Replay, replay
from real2sim.rig.rig import Rig
from real2sim.rig.shapes import Outlined, patch, placed
from real2sim.rig.shapes import outline as outline_of
from real2sim.rig.sights import Sight, Spotted, spot
from real2sim.robots import robot_named
from real2sim.silhouette import RobotSilhouette
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.raster import rasterize
from real2sim.splats.start import start_from_points
from real2sim.splats.views import View
from real2sim.twin.bundle import Beginning, Twin
from real2sim.twin.color import to_uint8
from real2sim.twin.goal import Goal
from real2sim.twin.objects import TwinObject
from real2sim.twin.support import plane_frame
from real2sim.twin.things import twin_object

OPAQUE, FINER = 0.97, 0.6
"""Of a thing's Gaussians: their opacity, and their size in parts of their distance."""
ALIKE = 0.35
"""Distance of colours in [0, 1] below which a pixel may show a thing."""
LEAST_MOVED = 0.03
"""Metres."""
LEAST_AGREEMENT, BETTER, STAYED = 0.35, 0.1, 0.5
"""Of a thing where it was left: intersection over union with what shows it, and by how much that is more than with
where it was. One that agrees with where it was by more than the last of them stayed."""


@dataclass(frozen=True)
class Standing:
    """Something in the rig as an episode begins, and where its last frame shows it `(3,)`, None where it stayed."""

    spotted: Spotted
    outlined: Outlined
    thing: TwinObject
    left: FloatArray | None
    agreement: float

    @property
    def place(self) -> FloatArray:
        return self.thing.body_to_base[:3, 3]


def twin_of(rig: Rig, episode: Episode, width: int, height: int) -> Twin:
    """The twin of an episode of a rig, with cameras of `width` by `height` pixels.

    What floats, and what a moved thing ended up inside of, is a mark: it is seen, and not touched. Success is the thing
    that was moved back where it was left; where none was moved, the tool where it ended. Raises `InvalidInput` for
    another robot than the rig's, and an episode without joints.
    """
    if robot_named(episode.robot) is not rig.robot:
        raise InvalidInput(f"{episode.id} is of a {episode.robot!r}, its rig has a {rig.robot.name!r}")
    if episode.joint_position is None:
        raise InvalidInput(f"{episode.id} has no joint positions: a twin needs the robot's joints in rad")
    robot = RobotSilhouette(rig.wrist.width, rig.wrist.height, rig.robot)
    try:
        first, last = (sights_at(rig, robot, episode, frame) for frame in (0, len(episode) - 1))
    finally:
        robot.close()
    standing = _standing(rig, episode, first, last)
    moved = [each for each in standing if each.left is not None]
    return Twin(
        background=rig.background,
        objects=tuple(replace(each.thing, solid=not _is_mark(each, moved)) for each in standing),
        splats={each.thing.name: _coat(each, first) for each in standing},
        plane=rig.plane,
        exterior={name: camera.resized(width, height) for name, camera in rig.exterior.items()},
        wrist=rig.wrist.resized(width, height),
        looks=rig.looks,
        beginning=Beginning.of(episode),
        servo=rig.servo,
        gripper=rig.gripper,
        backdrops=rig.backdrops(width, height),
        goal=_goal(episode, moved),
        origin={
            "episode": episode.id,
            "source": asdict(episode.source),
            "gates": [gate.facts() for gate in rig.gates],
        },
    )


def replays_of(twin: Twin, rig: Rig, episode: Episode) -> dict[str, Replay]:
    """The recorded joints in the twin, in pictures of the episode's own size."""
    backdrops = rig.backdrops(rig.wrist.width, rig.wrist.height)
    return replay(replace(twin, exterior=rig.exterior, wrist=rig.wrist, backdrops=backdrops), episode)


def sights_at(rig: Rig, robot: RobotSilhouette, episode: Episode, frame: int) -> dict[str, Sight]:
    """What all cameras show at a frame, with the empty rig as each sees it."""
    joints, grip = np.asarray(episode.joint_position)[frame], float(np.asarray(episode.gripper_position)[frame, 0])
    cameras = rig.cameras_at(joints)
    with torch.no_grad():
        below = to_uint8(rasterize(rig.background, [cameras[WRIST]]).color[0])
    sights = {}
    for name in (*sorted(rig.exterior), WRIST):
        film = episode.cameras[name].read(frame, frame + 1)[0]
        depth = robot.depth(cameras[name], joints, grip)
        sights[name] = Sight(cameras[name], film, below if name == WRIST else rig.empty[name], depth)
    return sights


def _standing(rig: Rig, episode: Episode, first: Mapping[str, Sight], last: Mapping[str, Sight]) -> list[Standing]:
    exterior = {name: sight for name, sight in first.items() if name != WRIST}
    spotted = spot(exterior)
    tool = np.asarray(episode.cartesian_position)[-1, :3]
    found = []
    for number, each in enumerate(spotted):
        outlined = outline_of(each, exterior, rig.plane)
        thing = twin_object(f"object_{number + 1}", outlined.fit)
        left, agreement = _left(each, outlined, thing, spotted, last, rig, tool)
        found.append(Standing(each, outlined, thing, left, agreement))
    return found


def _left(
    spotted: Spotted, outlined: Outlined, thing: TwinObject, others: Sequence[Spotted], last: Mapping[str, Sight],
    rig: Rig, tool: FloatArray,
) -> tuple[FloatArray | None, float]:  # fmt: skip
    """Where the last frame shows a thing to be, if it was moved, and how well that agrees."""
    frame = plane_frame(spotted.place, rig.plane)
    rival = [other.colour for other in others if other is not spotted]
    patches = []
    for sight in last.values():
        mine = _shows(sight, spotted.colour, rival)
        if mine.sum() >= 6:
            silent = ~sight.known | (sight.changed & ~mine & ~binary_dilation(mine))
            patches.append(patch(sight.camera, frame, mine, silent))
    if not patches:
        return None, 0.0
    solid = outlined.fit.solid
    start = thing.body_to_base[:3, 3]
    at = frame[:3, :3].T @ (start - frame[:3, 3])
    here = replace(solid, x=float(at[0]), y=float(at[1]))
    unmoved = float(np.mean([each.agreement(here, float(at[2]) - solid.height / 2) for each in patches]))
    if unmoved > STAYED:
        return None, unmoved
    # What was moved is most likely in or under the gripper; else it was pushed.
    starts = [tool - [0, 0, 0.04], start]
    place, agreement = max((placed(solid, each, patches, frame) for each in starts), key=lambda found: found[1])
    moved = np.linalg.norm(place - start) > LEAST_MOVED and agreement > max(LEAST_AGREEMENT, unmoved + BETTER)
    return (place, agreement) if moved else (None, unmoved)


def _shows(sight: Sight, colour: FloatArray, rivals: Sequence[FloatArray]) -> NDArray[np.bool_]:
    """`(H, W)`: changed pixels of a thing's colour, nearer to it than to the colours of others."""
    apart = np.linalg.norm(sight.frame / 255 - colour, axis=-1)
    mine = sight.changed & (apart < ALIKE)
    for rival in rivals:
        mine &= apart < np.linalg.norm(sight.frame / 255 - rival, axis=-1)
    return np.asarray(mine)


def _is_mark(each: Standing, moved: Sequence[Standing]) -> bool:
    if each.left is not None:
        return False
    if each.outlined.floating:
        return True
    return any(
        np.linalg.norm(other.left - each.place) < (other.thing.size[0] + each.thing.size[0]) / 2
        for other in moved
        if other.left is not None
    )


def _goal(episode: Episode, moved: Sequence[Standing]) -> Goal:
    left = [(each, each.left) for each in moved if each.left is not None]
    if left:
        furthest, (x, y, z) = max(left, key=lambda pair: float(np.linalg.norm(pair[1] - pair[0].place)))
        return Goal(furthest.thing.name, (float(x), float(y), float(z)))
    x, y, z = np.asarray(episode.cartesian_position)[-1, :3]
    return Goal("", (float(x), float(y), float(z)))


def _coat(each: Standing, sights: Mapping[str, Sight]) -> Gaussians:
    """A thing's Gaussians in its own frame, coloured by the first frame's pictures of it."""
    views = [
        View(sight.camera, sight.frame, each.spotted.blobs[name].pixels if name in each.spotted.blobs else
             _shows(sight, each.spotted.colour, []), name)
        for name, sight in sights.items()
    ]  # fmt: skip
    points, colors = things_points([each.thing], views)
    base_to_body = np.linalg.inv(each.thing.body_to_base)
    local = points @ base_to_body[:3, :3].T + base_to_body[:3, 3]
    coat = start_from_points(local, colors, degree=0, opacity=OPAQUE)
    coat = replace(coat, log_scales=coat.log_scales + float(np.log(FINER)))
    # Together, Gaussians cover up to three of their deviations beyond their middles: those are that far inside.
    inside = 1 - 6 * float(coat.scales.median()) / float(each.thing.size.min())
    return replace(coat, means=coat.means * max(inside, 0.5))
