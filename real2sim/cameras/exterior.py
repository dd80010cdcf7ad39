"""A static exterior camera from the robot in its own film: plate, start, alignment, and a gate on frames held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arena.contracts import Episode, FloatArray, InvalidInput
from real2sim.camera import Camera
from real2sim.cameras.align import OFTEN, SHARP, Aligned, Edges, Shots, align, find_edges, outline_of, presence
from real2sim.cameras.plate import Plate
from real2sim.cameras.search import Evidence, find_starts
from real2sim.cameras.surface import surface_points
from real2sim.robots import robot_named
from real2sim.silhouette import RobotSilhouette

LEAST_FRAMES = 12
COARSE_FRAMES, COARSE_POINTS = 14, 700
FINE_FRAMES, HELD_OUT_FRAMES, PRESENCE_FRAMES = 28, 14, 40
EDGE_REACH = 4.0
RIVAL = 0.06
"""A start whose score is further below the best is not followed up."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ExteriorFit:
    """A camera and how well the frames that it was not fitted to bear it out.

    `iou` of where these frames should and do differ from the plate; `edge_pixels`, the median distance of the outline
    from the edge that is seen; `edges_seen`, the share of the outline at which one is. `position_error` is the
    standard error of where the camera stands, in m: a long lens from afar looks much like a short one from near.
    """

    camera: Camera
    iou: float
    edge_pixels: float
    edges_seen: float
    position_error: float
    start_score: float


def solve_exterior(
    episode: Episode, name: str, *, seed: int = 0, focal: float | None = None, progress: Progress | None = None
) -> ExteriorFit:
    """The camera `name` of an episode, in the robot's base frame, with no initial guess.

    The principal point is the picture's middle and pixels are square. `focal` in pixels, where it is known. Raises
    `InvalidInput` for an episode without joints, with too few frames, or whose film does not show the robot move.
    """
    film, joints, gripper = recorded(episode, name)
    plate = Plate.of(film)
    coarse, fine, held_out = _chosen_frames(joints)
    changed = plate.changed(film[coarse])
    if changed.mean() < 0.003:
        raise InvalidInput(f"camera {name} of {episode.id} does not show the robot move: choose another camera")
    height, width = film.shape[1:3]
    kind = robot_named(episode.robot)
    robot = RobotSilhouette(SHARP * width, SHARP * height, kind)
    try:
        spread = np.unique(np.linspace(0, len(film) - 1, PRESENCE_FRAMES).astype(int))
        points = surface_points(robot, joints[coarse], gripper[coarse], COARSE_POINTS, seed)
        everywhere = surface_points(robot, joints[spread[::2]], gripper[spread[::2]], COARSE_POINTS // 2, seed)
        evidence = Evidence.of(points, changed, everywhere, kind.workspace)
        starts = find_starts(evidence, seed, focal=focal, progress=progress)
        shots = Shots(film, joints, gripper, plate, (joints[spread], gripper[spread]))
        found = []
        likely = [each for each in starts if each[0] > starts[0][0] - RIVAL]
        for i, (score, start) in enumerate(likely):
            if progress is not None:
                progress(i, len(likely), "aligning")
            aligned = align(robot, shots.taken(fine), start, focal is None)
            found.append(_measured(robot, shots.taken(held_out), aligned, score))
        return max(found, key=lambda fit: fit.iou)
    finally:
        robot.close()


def check_exterior(episode: Episode, name: str, camera: Camera) -> ExteriorFit:
    """How well an episode bears out a camera that its dataset knows. Raises `InvalidInput` as `solve_exterior` does."""
    film, joints, gripper = recorded(episode, name)
    robot = RobotSilhouette(SHARP * camera.width, SHARP * camera.height, robot_named(episode.robot))
    spread = np.unique(np.linspace(0, len(film) - 1, PRESENCE_FRAMES).astype(int))
    shots = Shots(film, joints, gripper, Plate.of(film), (joints[spread], gripper[spread]))
    try:
        nothing = Edges(np.zeros(0), np.zeros(0, bool))
        return _measured(robot, shots.taken(_chosen_frames(joints)[2]), Aligned(camera, nothing, 0.0), 0.0)
    finally:
        robot.close()


def recorded(episode: Episode, name: str) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
    if episode.joint_position is None:
        raise InvalidInput(f"{episode.id} has no joint positions: a twin needs the robot's joints in rad")
    if name not in episode.cameras:
        raise InvalidInput(f"{episode.id} has no camera {name!r}, only {', '.join(sorted(episode.cameras))}")
    if len(episode) < LEAST_FRAMES:
        raise InvalidInput(f"{episode.id} has {len(episode)} frames: a camera is found from {LEAST_FRAMES} or more")
    joints = np.asarray(episode.joint_position, dtype=np.float64)
    if np.abs(joints).max() > 2 * np.pi:
        raise InvalidInput(f"{episode.id} has joint positions up to {np.abs(joints).max():.0f}: they must be in rad")
    return episode.cameras[name].read(), joints, np.asarray(episode.gripper_position)[:, 0]


def _chosen_frames(joints: FloatArray) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Frames to start from, to align on and to hold out: far apart in joint space, the last two disjoint."""
    order = farthest(joints, FINE_FRAMES + HELD_OUT_FRAMES)
    held_out = order[2::3][:HELD_OUT_FRAMES]
    fine = np.array([i for i in order if i not in set(held_out.tolist())][:FINE_FRAMES])
    return order[:COARSE_FRAMES], fine, held_out


def farthest(points: FloatArray, count: int) -> NDArray[np.intp]:
    """Farthest-point sampling (Gonzalez 1985), from the row farthest from the mean."""
    chosen = [int(np.linalg.norm(points - points.mean(0), axis=1).argmax())]
    near = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(near.argmax()))
        near = np.minimum(near, np.linalg.norm(points - points[chosen[-1]], axis=1))
        near[chosen] = -1
    return np.array(chosen)


def _measured(robot: RobotSilhouette, shots: Shots, aligned: Aligned, score: float) -> ExteriorFit:
    camera = aligned.camera
    sharp = camera.resized(robot.width, robot.height)
    drawn = np.stack([np.isfinite(robot.depth(sharp, q, g)) for q, g in zip(shots.joints, shots.gripper, strict=True)])
    count, height, width = shots.film.shape[:3]
    drawn = drawn.reshape(count, height, SHARP, width, SHARP).mean((2, 4)) > 0.5
    often = presence(robot, shots, camera)
    # Where the plate shows the scene, a frame differs from it exactly where the robot is.
    scene = often.reshape(height, SHARP, width, SHARP).mean((1, 3)) < OFTEN
    expected, seen = drawn & scene, shots.plate.changed(shots.film) & scene
    both, either = (expected & seen).sum(), (expected | seen).sum()
    edges = find_edges(shots, outline_of(robot, shots, camera, often), EDGE_REACH)
    pixels = float(np.median(np.abs(edges.offset[edges.seen]))) if edges.seen.any() else float("inf")
    share = float(edges.seen.mean()) if len(edges.seen) else 0.0
    return ExteriorFit(camera, float(both / max(either, 1)), pixels, share, aligned.position_error, score)
