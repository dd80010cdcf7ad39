"""From a rough camera to a sharp one: the drawn robot's outline is moved onto the edge that the pictures show.

At each point of the outline, a frame is unmixed along the outline's normal into the robot's colour (just inside) and
the plate's (at the same pixel); where half of each is left is the edge, to a fraction of a pixel. Gauss-Newton with
Tukey's weights then moves the camera, and the outline is drawn again (as in region-based tracking, e.g. Prisacariu and
Reid 2012, doi:10.1007/s11263-011-0514-3, and in iterated closest points).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, Frames
from real2sim.camera import Camera
from real2sim.cameras.certainty import covariance
from real2sim.cameras.plate import Plate
from real2sim.silhouette import RobotSilhouette

SHARP = 3
"""The outline is drawn with that many pixels for one of the film's: a pixel's staircase would bias it."""
ROUNDS = (
    (7.0, 7.0), (7.0, 5.0), (5.0, 3.0), (4.0, 2.0), (3.0, 1.5), (3.0, 1.0), (2.5, 0.8), (2.5, 0.6),
    (2.0, 0.5), (2.0, 0.5), (2.0, 0.5), (2.0, 0.5),
)  # fmt: skip
"""Round by round, film pixels on either side that an edge is looked for, and beyond which one counts for nothing.

Wrong edges lie inside (the robot has dark and light parts), so that only a tight bound is not biased by them.
"""
CONTRAST = 25.0
"""Grey levels between robot and plate without which an edge cannot be placed."""
STEP = 0.25
POINTS = 260
"""Outline points of a frame that are used."""
ALIKE = 100
"""Neighbouring edges, in the picture and over time, that err together."""
RIM = 0.3
"""Film pixels, a standard deviation, by which all edges may look displaced."""
OFTEN = 0.35
"""Share of frames beyond which the median may show the robot."""
INSIDE = (0.9, 1.2)
"""Film pixels inside an edge where the robot's colour is taken: shading makes it another colour further in."""
SETTLED_DEGREES = 0.003
PRESENCE_FRAMES = 40
"""Over all of a film, by which it is asked where in a picture the robot stands."""


@dataclass(frozen=True)
class Outline:
    """`N` outline points of all frames: where on the robot in m, where in the film, outward normals, and the frame."""

    points: FloatArray
    pixels: FloatArray
    normals: FloatArray
    frame: NDArray[np.intp]


@dataclass(frozen=True)
class Edges:
    """What the film showed at an outline: `offset` `(N,)` film pixels outwards, and which points show an edge."""

    offset: FloatArray
    seen: NDArray[np.bool_]


@dataclass(frozen=True)
class Shots:
    """Frames of one camera, `(T, H, W, 3)`, with the joints and gripper positions of the robot in them."""

    film: Frames
    joints: FloatArray
    gripper: FloatArray
    plate: Plate
    everywhere: tuple[FloatArray, FloatArray]
    """Joints and gripper positions of the frames that the plate was made from, or of enough of them."""

    def taken(self, rows: NDArray[np.intp]) -> Shots:
        return replace(self, film=self.film[rows], joints=self.joints[rows], gripper=self.gripper[rows])


@dataclass(frozen=True)
class Aligned:
    """A camera, and the standard error of its position in m; `edges` is what is left at its outline."""

    camera: Camera
    position_error: float
    edges: Edges | None = None


def align(
    robot: RobotSilhouette, shots: Shots, start: Camera, free_focal: bool, hidden: FloatArray | None = None
) -> Aligned:
    """The camera that the frames agree on best near `start`. `hidden` says where in what `robot` draws the plate does
    not show the scene, from 0 to 1; that is `presence` where it is not given."""
    camera = start
    often = presence(robot, shots, camera) if hidden is None else hidden
    for number, (reach, beyond) in enumerate(ROUNDS):
        if number and number % 4 == 0 and hidden is None:
            often = presence(robot, shots, camera)
        outline = outline_of(robot, shots, camera, often)
        edges = find_edges(shots, outline, reach)
        if edges.seen.sum() < 30:
            break
        moved = _gauss_newton(camera, outline, edges, beyond, free_focal)
        turn = Rotation.from_matrix(moved.camera_to_base[:3, :3].T @ camera.camera_to_base[:3, :3]).magnitude()
        camera = moved
        if (reach, beyond) == ROUNDS[-1] and np.rad2deg(turn) < SETTLED_DEGREES:
            break
    outline = outline_of(robot, shots, camera, often)
    edges = find_edges(shots, outline, ROUNDS[-1][0])
    return Aligned(camera, uncertainty(camera, outline, edges, free_focal), edges)


def presence(robot: RobotSilhouette, shots: Shots, camera: Camera) -> FloatArray:
    """In which share of the frames the robot covers each pixel of the picture that `robot` draws."""
    sharp = camera.resized(robot.width, robot.height)
    return np.asarray(robot.masks(sharp, *shots.everywhere).mean(axis=0))


def outline_of(robot: RobotSilhouette, shots: Shots, camera: Camera, often: FloatArray) -> Outline:
    """The drawn robot's outline where it borders on the plate's own background, in every frame.

    `robot` draws at `SHARP` times the film's size. Where the robot stands `often` (`presence`) the plate shows the
    robot: such points are left out.
    """
    sharp = camera.resized(robot.width, robot.height)
    depths = [robot.depth(sharp, q, g) for q, g in zip(shots.joints, shots.gripper, strict=True)]
    parts = [_frame_outline(depth, often, sharp) for depth in depths]
    frame = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    points, pixels, normals = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return Outline(points, pixels / SHARP, normals, frame)


def _frame_outline(depth: FloatArray, often: FloatArray, camera: Camera) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points in the base frame, sharp pixels and normals of one frame's outline."""
    mask = np.isfinite(depth)
    edge = mask & ~binary_erosion(mask, border_value=1)
    margin = 2 * SHARP
    edge[:margin] = edge[-margin:] = False
    edge[:, :margin] = edge[:, -margin:] = False
    soft = gaussian_filter(mask.astype(np.float32), 2.0)
    down, across = np.asarray(np.gradient(soft))
    row, column = np.nonzero(edge)
    slope = -np.stack([across[row, column], down[row, column]], axis=1)
    length = np.linalg.norm(slope, axis=1)
    outside_row = np.clip(row + np.rint(3 * SHARP * slope[:, 1] / np.maximum(length, 1e-9)), 0, len(mask) - 1)
    outside_column = np.clip(column + np.rint(3 * SHARP * slope[:, 0] / np.maximum(length, 1e-9)), 0, mask.shape[1] - 1)
    free = (often[outside_row.astype(int), outside_column.astype(int)] < OFTEN) & (often[row, column] < OFTEN)
    # Thin parts have no inside; corners no normal.
    good = (length > 0.1) & free
    chosen = np.flatnonzero(good)
    if len(chosen) > POINTS:
        chosen = chosen[np.linspace(0, len(chosen) - 1, POINTS).astype(int)]
    row, column, normal = row[chosen], column[chosen], slope[chosen] / length[chosen, None]
    centres = np.stack([column + 0.5, row + 0.5], axis=1)
    far = depth[row, column]
    ray = (centres - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    seen = np.concatenate([ray, np.ones((len(ray), 1))], axis=1) * far[:, None]
    points = seen @ camera.camera_to_base[:3, :3].T + camera.camera_to_base[:3, 3]
    return points, centres + 0.5 * normal, normal


def find_edges(shots: Shots, outline: Outline, reach: float) -> Edges:
    """Where along each normal the frame turns from robot to plate."""
    along = np.arange(-reach, reach + STEP, STEP)
    count = len(outline.frame)
    offset, seen = np.zeros(count), np.zeros(count, dtype=bool)
    background = shots.plate.background.astype(np.float32)
    for t in range(len(shots.film)):
        rows = np.flatnonzero(outline.frame == t)
        if not len(rows):
            continue
        at = outline.pixels[rows, None] + along[None, :, None] * outline.normals[rows, None]
        frame = shots.film[t].astype(np.float32)
        plate, shown = _sampled(background, at), _sampled(frame, at)
        # First the colour from well inside, then from just inside the edge that this gives.
        edge, depths = np.full(len(rows), -reach), np.array([0.8, 1.6])
        for _ in range(3):
            inwards = (edge[:, None] - depths)[..., None] * outline.normals[rows, None]
            robot = _sampled(frame, outline.pixels[rows, None] + inwards).mean(1, keepdims=True)
            gap = robot - plate
            strength = (gap**2).sum(-1)
            mixed = ((shown - plate) * gap).sum(-1) / np.maximum(strength, 1e-6)
            edge, clear = _crossing(mixed, np.sqrt(strength / 3) > CONTRAST, along)
            depths = np.array(INSIDE)
        offset[rows], seen[rows] = edge, clear
    return Edges(offset, seen)


def _crossing(
    mixed: FloatArray, contrast: NDArray[np.bool_], along: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Where the robot's share falls through one half for the last time, and whether it does so clearly."""
    above = mixed > 0.5
    falls = above[:, :-1] & ~above[:, 1:]
    seen = falls.any(1)
    last = falls.shape[1] - 1 - falls[:, ::-1].argmax(1)
    row = np.arange(len(mixed))
    high, low = mixed[row, last], mixed[row, last + 1]
    offset = along[last] + STEP * (high - 0.5) / np.maximum(high - low, 1e-6)
    # Inside it is all robot, outside all plate: otherwise another thing's edge is near.
    columns = np.arange(mixed.shape[1])[None]
    inner, outer = columns <= last[:, None] - 3, columns >= last[:, None] + 4
    clean_in = np.where(inner, mixed > 0.55, True).mean(1) > 0.9
    clean_out = np.where(outer, np.abs(mixed) < 0.35, True).mean(1) > 0.9
    return offset, seen & clean_in & clean_out & contrast[row, last]


def _sampled(picture: FloatArray, at: FloatArray) -> FloatArray:
    """Bilinear colours `(..., 3)` at film pixels `(..., 2)`; a pixel's centre is at a half."""
    places = [at[..., 1].ravel() - 0.5, at[..., 0].ravel() - 0.5]
    out = np.stack([map_coordinates(picture[..., i], places, order=1, mode="nearest") for i in range(3)], axis=-1)
    return np.asarray(out.reshape(*at.shape[:-1], 3))


def _gauss_newton(camera: Camera, outline: Outline, edges: Edges, beyond: float, free_focal: bool) -> Camera:
    """One step of pose and (where free) focal length, with Tukey's weights: none at `beyond` pixels."""
    slope, weight, wanted = _equations(camera, outline, edges, beyond, free_focal)
    # What the frames do not tell must not run away.
    prior = np.diag(1.0 / np.array([0.3] * (slope.shape[1] - 1) + [RIM]) ** 2)
    normal = slope.T @ (weight[:, None] * slope) + prior
    step = np.linalg.solve(normal, slope.T @ (weight * wanted))
    # All but the common displacement of the edges.
    stretch = float(np.exp(np.clip(step[6], -0.2, 0.2))) if free_focal else 1.0
    return camera.stepped(step[:3], step[3:6], stretch)


def uncertainty(camera: Camera, outline: Outline, edges: Edges, free_focal: bool) -> float:
    """The standard error of the camera's position in m, as far as the edges tell.

    Edges err together: along an outline, and at the same place of the robot in frame after frame. `ALIKE` of them count
    as one.
    """
    beyond = ROUNDS[-1][1]
    slope, weight, wanted = _equations(camera, outline, edges, beyond, free_focal)
    if len(weight) < slope.shape[1] or not weight.sum():
        return float("inf")
    rim = np.zeros((slope.shape[1], slope.shape[1]))
    rim[-1, -1] = 1 / RIM**2
    spread = covariance(slope.T @ (weight[:, None] * slope) + rim)
    if not np.isfinite(spread).all():
        return float("inf")
    variance = float((weight * wanted**2).sum() / weight.sum())
    return float(np.sqrt(ALIKE * variance * np.trace(spread[3:6, 3:6])))


def _equations(
    camera: Camera, outline: Outline, edges: Edges, beyond: float, free_focal: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`slope` `(M, P)`, `weight` `(M,)` and `wanted` `(M,)` of the edges that are seen: by how many pixels an outline
    point moves outwards with the camera's turn (3, rad), shift (3, m), log focal length (where free) and the edges'
    common displacement, and by how many it should.
    """
    rows = edges.seen
    points, normals, wanted = outline.points[rows], outline.normals[rows], edges.offset[rows]
    seen = points @ camera.base_to_camera[:3, :3].T + camera.base_to_camera[:3, 3]
    x, y, z = seen.T
    across, down = camera.fx, camera.fy
    # How a pixel moves with the point in the camera's frame.
    toward = np.zeros((len(seen), 2, 3))
    toward[:, 0, 0], toward[:, 0, 2] = across / z, -across * x / z**2
    toward[:, 1, 1], toward[:, 1, 2] = down / z, -down * y / z**2
    # The camera turns by w and shifts by v in its own frame: the point moves by the opposite.
    turned = np.stack([np.cross(seen, axis) for axis in np.eye(3)], axis=-1)
    moves = np.concatenate([np.matmul(toward, turned), -toward], axis=2)
    if free_focal:
        moves = np.concatenate([moves, np.stack([across * x / z, down * y / z], axis=1)[..., None]], axis=2)
    slope = np.einsum("ni,nij->nj", normals, moves)
    # Shading at the rim makes all edges look a little further in (or out): one number takes that up, so that the
    # robot's thickness does not pass for its distance.
    slope = np.concatenate([slope, np.ones((len(slope), 1))], axis=1)
    return slope, (1 - np.clip(np.abs(wanted) / beyond, 0, 1) ** 2) ** 2, wanted
