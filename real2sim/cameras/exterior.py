"""A static exterior camera from the robot in its own film: plate, start, alignment, and a gate on frames held out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from arena.contracts import Episode, FloatArray, InvalidInput
from real2sim.camera import Camera
from real2sim.cameras.align import OFTEN, PRESENCE_FRAMES, SHARP, Shots, align, find_edges, outline_of, presence
from real2sim.cameras.features import FeatureFit, FeatureProblem
from real2sim.cameras.hovering import scene_behind, sharpened
from real2sim.cameras.masks import iou, mask_iou
from real2sim.cameras.plate import Plate
from real2sim.cameras.search import Evidence, find_starts
from real2sim.cameras.surface import surface_points
from real2sim.frames import spread_over
from real2sim.robots import robot_named
from real2sim.silhouette import RobotSilhouette

LEAST_FRAMES = 12
COARSE_FRAMES, COARSE_POINTS = 14, 700
FINE_FRAMES, HELD_OUT_FRAMES = 28, 14
EDGE_REACH = 4.0
LEAST_IOU, LEAST_EDGES_SEEN, MOST_EDGE_PIXELS = 0.7, 0.5, 0.6
"""Of frames held out: what silhouettes have to show to be believed by themselves."""
LEAST_MASK_IOU = 0.7
"""Of frames held out: what the robot that the film shows by itself (`masks`) has to share with the drawn one."""
LEAST_GAIN = 0.02
"""Of that IoU: what is gained less by a camera is no reason to leave the one that features agree on."""
NEAR = 10
"""Pixels at 160 columns around the robot."""
FEATURE_FRAMES, FEATURE_STARTS = 24, 3
LEAST_FEATURES = 0.5
"""Share of the features on the robot, where silhouettes decide nothing. On two cameras of DROID 0.72 and 0.75 where the
robot is drawn onto itself, and at most 0.37 at other optima; in known scenes with joints of other times below 0.25."""
RIVAL = 0.06
"""A start whose score is further below the best is not followed up."""

LEAST_CHANGED = 0.003
"""Share of a film's pixels that a robot changes as it moves."""

Progress = Callable[[int, int, str], None]


class RobotUnseen(InvalidInput):
    """A film that does not show the robot move: only `share` of it changes."""

    def __init__(self, message: str, share: float) -> None:
        super().__init__(message)
        self.share = share


@dataclass(frozen=True)
class ExteriorFit:
    """A camera and how well the frames that it was not fitted to bear it out.

    `iou` of where these frames should and do differ from the plate; `edge_pixels`, the median distance of the outline
    from the edge that is seen; `edges_seen`, the share of the outline at which one is. `position_error` is the
    standard error of where the camera stands, in m: a long lens from afar looks much like a short one from near.

    Where silhouettes alone decide nothing, features on the robot are asked (`features`), of which `feature_share` go
    where the camera says; else that is None. `mask_iou` is that of the robot as drawn and as the film shows it by
    itself, also where the arm hovers (`masks`).
    """

    camera: Camera
    iou: float
    edge_pixels: float
    edges_seen: float
    position_error: float
    feature_share: float | None = None
    mask_iou: float = 0.0

    @property
    def outlined(self) -> bool:
        """Whether silhouettes alone show the robot where it is drawn."""
        return self.iou >= LEAST_IOU and self.edges_seen >= LEAST_EDGES_SEEN and self.edge_pixels <= MOST_EDGE_PIXELS

    @property
    def followed(self) -> bool:
        """Whether features on the robot go where the camera says."""
        return self.feature_share is not None and self.feature_share >= LEAST_FEATURES

    @property
    def masked(self) -> bool:
        """Whether the film, before the scene that this camera knows behind the robot, shows it where it is drawn."""
        return self.mask_iou >= LEAST_MASK_IOU

    def borne_out(self) -> tuple[bool, float]:
        """What is more for the better one of two cameras of a film."""
        return self.followed, self.mask_iou


def solve_exterior(
    episode: Episode,
    name: str,
    *,
    seed: int = 0,
    focal: float | None = None,
    lens: float | None = None,
    aspect: float = 1.0,
    progress: Progress | None = None,
) -> ExteriorFit:
    """The camera `name` of an episode, in the robot's base frame, with no initial guess.

    The principal point is the picture's middle. `focal` in pixels across, where it is known, or `lens`, where it is
    likely: the start is searched for with that. `aspect` is that of its pixels, `fy / fx`, other than 1 in films that
    were squeezed. Raises `InvalidInput` for an episode without joints or with too few frames, and `RobotUnseen` for a
    film that does not show the robot move.
    """
    shots = _shots(episode, name)
    joints, gripper = shots.joints, shots.gripper
    coarse, fine, held_out = _chosen_frames(joints)
    changed = shots.plate.changed(shots.film[coarse])
    if (share := float(changed.mean())) < LEAST_CHANGED:
        raise RobotUnseen(f"camera {name} of {episode.id} does not show the robot move: choose another camera", share)
    height, width = shots.film.shape[1:3]
    kind = robot_named(episode.robot)
    robot = RobotSilhouette(SHARP * width, SHARP * height, kind)
    try:
        points = surface_points(robot, joints[coarse], gripper[coarse], COARSE_POINTS, seed)
        poses, grips = (each[::2] for each in shots.everywhere)
        everywhere = surface_points(robot, poses, grips, COARSE_POINTS // 2, seed)
        evidence = Evidence.of(points, changed, everywhere, kind.workspace, aspect)
        starts = find_starts(evidence, seed, focal=focal or lens, progress=progress)
        best = _by_outline(robot, shots, starts, fine, held_out, focal is None, progress)
        if best.outlined:
            return best
        return _hovering(robot, shots, [start for _, start in starts], best, seed, focal, lens, progress)
    finally:
        robot.close()


def _hovering(
    robot: RobotSilhouette,
    shots: Shots,
    likely: list[Camera],
    best: ExteriorFit,
    seed: int,
    focal: float | None,
    lens: float | None,
    progress: Progress | None,
) -> ExteriorFit:
    """Where silhouettes decide nothing: by features on the robot, then before the scene that is known behind it."""
    _, fine, held_out = _chosen_frames(shots.joints)
    rows = np.sort(farthest(shots.joints, FEATURE_FRAMES))
    with closing(FeatureProblem(shots.film[rows], shots.joints[rows], shots.gripper[rows], robot.kind)) as problem:
        fits = [best]
        if found := _by_features(problem, likely, seed, focal, lens, progress):
            fits.append(_measured(robot, shots, held_out, found.camera, found.position_error, found.share))
        chosen = max(fits, key=ExteriorFit.borne_out)
        sharp = sharpened(robot, shots, fine, held_out, chosen.camera, focal is None)
        again = problem.measured(sharp.camera, focal is None)
        error = max(sharp.position_error, again.position_error if again else 0.0)
        sharper = _measured(robot, shots, held_out, sharp.camera, error, again.share if again else None)
        followed_on = sharper.followed or not chosen.followed
        return sharper if followed_on and sharper.mask_iou > chosen.mask_iou + LEAST_GAIN else chosen


def _by_outline(
    robot: RobotSilhouette,
    shots: Shots,
    starts: list[tuple[float, Camera]],
    fine: NDArray[np.intp],
    held_out: NDArray[np.intp],
    free_focal: bool,
    progress: Progress | None,
) -> ExteriorFit:
    """The camera whose drawn outline frames held out bear out best."""
    rivals = [start for score, start in starts if score > starts[0][0] - RIVAL]
    found = []
    for number, start in enumerate(rivals):
        if progress is not None:
            progress(number, len(rivals), "aligning")
        aligned = align(robot, shots.taken(fine), _roughly(robot, shots, fine, start, free_focal), free_focal)
        found.append(_by_plate(robot, shots.taken(held_out), aligned.camera, aligned.position_error))
    return _shown(robot, shots, held_out, max(found, key=lambda fit: fit.iou))


def _by_features(
    problem: FeatureProblem,
    likely: list[Camera],
    seed: int,
    focal: float | None,
    lens: float | None,
    progress: Progress | None,
) -> FeatureFit | None:
    """The camera that most of the features on the robot agree on; None where the film has too few."""
    best: FeatureFit | None = None
    for start in problem.starts(likely, seed, FEATURE_STARTS, focal or lens):
        fit = problem.solve(start, focal is None, progress)
        if fit is not None and (best is None or fit.share > best.share):
            best = fit
        if best is not None and best.share >= LEAST_FEATURES:
            break
    return best


def _roughly(robot: RobotSilhouette, shots: Shots, rows: NDArray[np.intp], start: Camera, free_focal: bool) -> Camera:
    """A start brought nearer on a smaller film, where the same pixels of an outline's reach are more of the scene."""
    count, height, width = shots.film.shape[:3]
    factor = next((each for each in (8, 4, 3, 2) if not width % each and not height % each and width >= 160 * each), 1)
    if factor == 1:
        return start
    small = shots.film.reshape(count, height // factor, factor, width // factor, factor, 3)
    film = np.rint(small.mean((2, 4), dtype=np.float32)).astype(np.uint8)
    robot = RobotSilhouette(SHARP * width // factor, SHARP * height // factor, robot.kind)
    try:
        smaller = replace(shots, film=film, plate=Plate.of(film))
        begin = start.resized(width // factor, height // factor)
        return align(robot, smaller.taken(rows), begin, free_focal).camera.resized(width, height)
    finally:
        robot.close()


def check_exterior(episode: Episode, name: str, camera: Camera) -> ExteriorFit:
    """How well an episode bears out a camera of its films' size that its dataset knows. Raises `InvalidInput` as
    `solve_exterior` does."""
    shots = _shots(episode, name)
    robot = RobotSilhouette(SHARP * camera.width, SHARP * camera.height, robot_named(episode.robot))
    try:
        return _measured(robot, shots, _chosen_frames(shots.joints)[2], camera, 0.0)
    finally:
        robot.close()


def _shots(episode: Episode, name: str) -> Shots:
    """All frames of a camera, and its plate."""
    film, joints, gripper = recorded(episode, name)
    spread = spread_over(len(film), PRESENCE_FRAMES)
    return Shots(film, joints, gripper, Plate.of(film), (joints[spread], gripper[spread]))


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


def _measured(
    robot: RobotSilhouette,
    shots: Shots,
    held_out: NDArray[np.intp],
    camera: Camera,
    position_error: float,
    feature_share: float | None = None,
) -> ExteriorFit:
    """How frames that were `held_out` bear a camera out."""
    fit = replace(_by_plate(robot, shots.taken(held_out), camera, position_error), feature_share=feature_share)
    return _shown(robot, shots, held_out, fit)


def _by_plate(robot: RobotSilhouette, shots: Shots, camera: Camera, position_error: float) -> ExteriorFit:
    """How frames bear a camera out by where they differ from the plate."""
    drawn, often = _drawn(robot, shots, camera), presence(robot, shots, camera)
    _, height, width = drawn.shape
    # Where the plate shows the scene, a frame differs from it exactly where the robot is.
    scene = often.reshape(height, SHARP, width, SHARP).mean((1, 3)) < OFTEN
    expected, seen = drawn & scene, shots.plate.changed(shots.film) & scene
    edges = find_edges(shots, outline_of(robot, shots, camera, often), EDGE_REACH)
    pixels = float(np.median(np.abs(edges.offset[edges.seen]))) if edges.seen.any() else float("inf")
    share = float(edges.seen.mean()) if len(edges.seen) else 0.0
    return ExteriorFit(camera, iou(expected, seen), pixels, share, position_error)


def _shown(robot: RobotSilhouette, every: Shots, held_out: NDArray[np.intp], fit: ExteriorFit) -> ExteriorFit:
    """With how the frames `held_out` bear the camera out by what they show before the scene without the robot."""
    shots, scene = every.taken(held_out), scene_behind(robot.kind, every, held_out, fit.camera)
    near = round(NEAR * fit.camera.width / 160)
    return replace(fit, mask_iou=mask_iou(scene, shots.film, _drawn(robot, shots, fit.camera), near))


def _drawn(robot: RobotSilhouette, shots: Shots, camera: Camera) -> NDArray[np.bool_]:
    """`(K, H, W)`: the film's pixels of which the robot covers more than half."""
    count, height, width = shots.film.shape[:3]
    sharp = robot.masks(camera.resized(robot.width, robot.height), shots.joints, shots.gripper)
    return np.asarray(sharp.reshape(count, height, SHARP, width, SHARP).mean((2, 4)) > 0.5)
