"""A static camera from features that ride on the robot: each says where on a link it is, and where it goes.

Silhouettes need a plate that shows the scene without the robot, and a robot that alone moves. Real recordings often
have neither: the arm hovers, hoses swing, lids open. But what a feature of a link shows at one moment is a point of its
mesh, which the joints carry to a known place of the base frame at any other moment; where the picture shows the same
feature then says how wrong the camera is. A start is needed (`search`); wrong matches, most of them, are outvoted by
Cauchy's weights, ever narrower. The distance cannot hide in the focal length: the robot's size is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray, Frames
from real2sim.camera import Camera
from real2sim.cameras.certainty import clustered_errors
from real2sim.cameras.matching import Matches, match_frames
from real2sim.cameras.search import random_cameras
from real2sim.cameras.surface import surface_points
from real2sim.robot_kind import Robot
from real2sim.robots import PANDA
from real2sim.silhouette import RobotSilhouette
from real2sim.splats.planar import pixel_rays

MOVED_PIXELS, MOVED_METRES = 1.0, 0.01
"""Of 160 columns, and of the link: less says nothing about the camera."""
TOLERANCES = (*(8.0,) * 3, *(5.0,) * 4, *(3.0,) * 5, *(2.0,) * 6, *(1.0,) * 10)
"""Pixels at 160 columns, step by step."""
LEAST_FACING = 0.2
"""Cosine between a surface's normal and the ray: of what is seen edge-on, the place on the mesh is not known."""
LEAST_MATCHES = 300
LONGEST_STEP = 0.1
POINTS, SEARCHED, RANDOM, FAMILIES, CLIMBS, EACH, ELITE = 500, 3000, 3000, 8, 7, 60, 8
ROUGH = (8.0, 2.0)
"""Pixels at 160 columns, of the search: first and last."""
SPREAD = np.array([0.15, 0.15, 0.15, 0.15, 0.15, 0.15, 0.2])
CELL = 3
"""Pixels of 160 columns within which a point of the surface stands for the feature."""
FOCALS = (0.3, 1.6)
"""In picture widths."""
SETTLED = 1e-4


@dataclass(frozen=True)
class FeatureFit:
    """A camera, and the `share` of the features on the robot that go where it says, within a pixel at 160 columns.

    `median_pixels` is the distance of those in the film's pixels, `position_error` the standard error of where the
    camera stands in m, errors of one frame taken as one; `matches` is how many features were on the robot.
    """

    camera: Camera
    share: float
    median_pixels: float
    position_error: float
    matches: int


@dataclass(frozen=True)
class Ridden:
    """`N` matches that start on the robot: `surface` and `normal` `(N, 3)` of the base frame at the first moment,
    `carried` `(N, 3, 4)` from there to the second, `pixels` `(N, 2, 2)` at both, and the `frame` `(N, 2)` of each."""

    surface: FloatArray
    normal: FloatArray
    carried: FloatArray
    pixels: FloatArray
    frame: NDArray[np.int64]

    def residuals(self, camera: Camera) -> FloatArray:
        """`(N, 2)` pixels between where features should be at the second moment and where they are.

        As the camera moves, so does the point of the surface that it sees at a pixel of the first moment.
        """
        at, position = self.pixels[:, 0], camera.camera_to_base[:3, 3]
        ray = np.stack([(at[:, 0] - camera.cx) / camera.fx, (at[:, 1] - camera.cy) / camera.fy, np.ones(len(at))], 1)
        ray = ray @ camera.camera_to_base[:3, :3].T
        ahead = ((self.surface - position) * self.normal).sum(1) / (ray * self.normal).sum(1)
        seen = position + ahead[:, None] * ray
        moved = np.einsum("nij,nj->ni", self.carried[:, :, :3], seen) + self.carried[:, :, 3]
        return np.asarray(camera.project(moved)[0] - self.pixels[:, 1])


class FeatureProblem:
    """One film's features, matched once. `film` `(T, H, W, 3)` are frames at `joints` `(T, 7)` rad."""

    def __init__(self, film: Frames, joints: FloatArray, gripper: FloatArray, robot: Robot = PANDA) -> None:
        self._joints, self._gripper = joints, gripper
        height, width = film.shape[1:3]
        self.unit = width / 160.0
        self._robot = RobotSilhouette(width, height, robot)
        self._poses = np.stack([self._link_poses(q, float(g)) for q, g in zip(joints, gripper, strict=True)])
        found = match_frames(film)
        apart = np.linalg.norm(found.pixels[:, 0] - found.pixels[:, 1], axis=1)
        moving = found.subset(apart > MOVED_PIXELS * self.unit)
        self._matches = Matches(
            np.concatenate([moving.first, moving.second]),
            np.concatenate([moving.second, moving.first]),
            np.concatenate([moving.pixels, moving.pixels[:, ::-1]]),
            np.concatenate([moving.feature, moving.feature[:, ::-1]]),
        )

    def starts(self, likely: Sequence[Camera], seed: int, best: int, focal: float | None = None) -> list[Camera]:
        """The `best` cameras, unlike each other, by where they would have the features go: cross-entropy from `likely`
        ones and random ones, on `POINTS` points of the robot's surface instead of its meshes. `focal` in pixels across,
        if all shall have that."""
        rng = np.random.default_rng([seed, 13])
        points = surface_points(self._robot, self._joints, self._gripper, POINTS, seed)
        chosen = rng.permutation(len(self._matches))[:SEARCHED]
        first = likely[0]
        poses, focals = random_cameras(rng, RANDOM, first.width, self._robot.kind.workspace)
        if focal is not None:
            focals[:] = focal
        tried = list(likely)
        for pose, fx in zip(poses, focals, strict=True):
            tried.append(replace(first, camera_to_base=pose, fx=fx, fy=fx * first.fy / first.fx))
        scores = np.array([self._rides(each, points, chosen, ROUGH[0]) for each in tried])
        families: list[Camera] = []
        for index in np.argsort(-scores):
            if all(_apart(tried[index], other) for other in families):
                families.append(tried[index])
            if len(families) == FAMILIES:
                break
        found = [self._climbed(rng, each, points, chosen, focal is None) for each in families]
        return [camera for _, camera in sorted(found, key=lambda each: -each[0])[:best]]

    def _climbed(
        self, rng: np.random.Generator, start: Camera, points: FloatArray, chosen: NDArray[np.int64], free_focal: bool
    ) -> tuple[float, Camera]:
        kept, spread = [start], SPREAD * np.array([1, 1, 1, 1, 1, 1, float(free_focal)])
        for tolerance in np.geomspace(*ROUGH, CLIMBS):
            drawn = [_stepped(kept[rng.integers(len(kept))], spread * rng.standard_normal(7)) for _ in range(EACH)]
            tried = [*kept, *drawn]
            scores = np.array([self._rides(each, points, chosen, tolerance) for each in tried])
            order = np.argsort(-scores)[:ELITE]
            kept, spread = [tried[index] for index in order], spread * 0.75
        return float(scores.max()), kept[0]

    def _rides(self, camera: Camera, points: FloatArray, chosen: NDArray[np.int64], tolerance: float) -> float:
        """Mean bell of by how far `chosen` features miss where the nearest point of `points` `(T, N, 3)` goes."""
        frames, count = points.shape[:2]
        pixels, depth = camera.project(points.reshape(-1, 3))
        cell = CELL * self.unit
        rows, columns = int(camera.height // cell) + 1, int(camera.width // cell) + 1
        place = np.floor(np.clip(pixels, -1, 1e5) / cell).astype(int)
        inside = (depth > 0.05) & (place >= 0).all(1) & (place[:, 0] < columns) & (place[:, 1] < rows)
        flat = (np.repeat(np.arange(frames), count) * rows + place[:, 1]) * columns + place[:, 0]
        nearest = np.full(frames * rows * columns, -1)
        order = np.flatnonzero(inside)[np.argsort(-depth[inside])]
        nearest[flat[order]] = order % count  # the last one written is the nearest
        matches = self._matches
        first, second = matches.first[chosen], matches.second[chosen]
        at = np.floor(matches.pixels[chosen, 0] / cell).astype(int)
        at = at.clip(0, [columns - 1, rows - 1])
        point = nearest[(first * rows + at[:, 1]) * columns + at[:, 0]]
        on = point >= 0
        before, after = first[on] * count + point[on], second[on] * count + point[on]
        miss = matches.pixels[chosen][on, 0] + pixels[after] - pixels[before] - matches.pixels[chosen][on, 1]
        off = np.linalg.norm(miss, axis=1) / (tolerance * self.unit)
        return float((np.exp(-(off**2)) * (depth[after] > 0.05)).sum() / len(chosen))

    def close(self) -> None:
        self._robot.close()

    def solve(
        self, start: Camera, free_focal: bool, progress: Callable[[int, int, str], None] | None = None
    ) -> FeatureFit | None:
        """The camera near `start` that most features agree on; None where too few are on the robot."""
        camera = start
        for number, tolerance in enumerate(TOLERANCES):
            if progress is not None:
                progress(number, len(TOLERANCES), "features followed")
            ridden = self.ridden(camera)
            if len(ridden.frame) < LEAST_MATCHES:
                return None
            step = _gauss_newton(camera, ridden, tolerance * self.unit, free_focal)
            camera = _stepped(camera, step)
            if tolerance == TOLERANCES[-1] and np.abs(step).max() < SETTLED:
                break
        return self.measured(camera, free_focal)

    def measured(self, camera: Camera, free_focal: bool) -> FeatureFit | None:
        ridden = self.ridden(camera)
        if len(ridden.frame) < LEAST_MATCHES:
            return None
        off = np.linalg.norm(ridden.residuals(camera), axis=1)
        borne_out = off < self.unit
        if not borne_out.any():
            return FeatureFit(camera, 0.0, float("inf"), float("inf"), len(off))
        error = _position_error(camera, ridden, borne_out, free_focal)
        return FeatureFit(camera, float(borne_out.mean()), float(np.median(off[borne_out])), error, len(off))

    def ridden(self, camera: Camera) -> Ridden:
        """The matches whose first place is on the robot as `camera` sees it, on a link that moved."""
        parts = [self._in_frame(camera, frame) for frame in np.unique(self._matches.first)]
        return Ridden(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _in_frame(self, camera: Camera, frame: int) -> tuple[FloatArray, ...]:
        rows = np.flatnonzero(self._matches.first == frame)
        depth, link = self._robot.links(camera, self._joints[frame], float(self._gripper[frame]))
        points, normals = _surface(camera, depth)
        column, row = np.floor(self._matches.pixels[rows, 0]).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
        rows, column, row = rows[inside], column[inside], row[inside]
        there, normal = points[row, column], normals[row, column]
        toward = there - camera.camera_to_base[:3, 3]
        facing = np.abs((toward * normal).sum(1)) / np.maximum(np.linalg.norm(toward, axis=1), 1e-9)
        good = (link[row, column] > 0) & (facing > LEAST_FACING)
        rows, there, normal, link_of = rows[good], there[good], normal[good], link[row, column][good]
        carried = self._carried(frame, self._matches.second[rows], link_of)
        moved = np.einsum("nij,nj->ni", carried[:, :, :3], there) + carried[:, :, 3] - there
        far = np.linalg.norm(moved, axis=1) > MOVED_METRES
        frames = np.stack([self._matches.first[rows], self._matches.second[rows]], axis=1)
        return there[far], normal[far], carried[far], self._matches.pixels[rows][far], frames[far]

    def _carried(self, first: int, second: NDArray[np.int64], link: NDArray[np.int32]) -> FloatArray:
        """`(N, 3, 4)`: from where links' points are in one frame to where they are in others, in the base frame."""
        before, after = self._poses[first, link], self._poses[second, link]
        rotation = np.einsum("nij,nkj->nik", after[:, :, :3], before[:, :, :3])
        shift = after[:, :, 3] - np.einsum("nij,nj->ni", rotation, before[:, :, 3])
        return np.concatenate([rotation, shift[:, :, None]], axis=2)

    def _link_poses(self, joints: FloatArray, gripper: float) -> FloatArray:
        """`(L, 3, 4)` in the base frame."""
        self._robot.pose(joints, gripper)
        data = self._robot.data
        return np.concatenate([data.xmat.reshape(-1, 3, 3), data.xpos[:, :, None]], axis=2).copy()


def _apart(first: Camera, second: Camera) -> bool:
    return bool(np.linalg.norm(first.camera_to_base[:3, 3] - second.camera_to_base[:3, 3]) > 0.3)


def _surface(camera: Camera, depth: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Points and unit normals `(H, W, 3)` of the base frame; NaN beside the robot and at its outline."""
    known = np.where(np.isfinite(depth), depth, np.nan)
    points = pixel_rays(camera) * known[..., None] + camera.camera_to_base[:3, 3]
    down, across = np.gradient(points, axis=(0, 1))
    normal = np.cross(across, down)
    return points, normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)


def _slopes(camera: Camera, ridden: Ridden, free_focal: bool) -> FloatArray:
    """`(N, 2, P)`: how residuals move with the camera's turn (3, rad), shift (3, m) and log focal length."""
    step, columns = 1e-5, []
    for index in range(7 if free_focal else 6):
        nudge = step * np.eye(7)[index]
        columns.append((ridden.residuals(_stepped(camera, nudge)) - ridden.residuals(_stepped(camera, -nudge))) / step)
    return np.stack(columns, axis=-1) / 2


def _gauss_newton(camera: Camera, ridden: Ridden, tolerance: float, free_focal: bool) -> FloatArray:
    """One step `(7,)` with Cauchy's weights, nothing beyond six tolerances."""
    off, slope = ridden.residuals(camera), _slopes(camera, ridden, free_focal)
    distance = np.linalg.norm(off, axis=1)
    weight = np.where(distance < 6 * tolerance, 1 / (1 + (distance / tolerance) ** 2) ** 2, 0.0)
    usable = np.isfinite(slope).all((1, 2)) & np.isfinite(distance)
    slope, off, weight = slope[usable], off[usable], weight[usable]
    normal = np.einsum("nij,n,nik->jk", slope, weight, slope)
    # What the features do not tell must not run away.
    normal += max(float(weight.sum()), 1.0) * 1e-3 * np.diag(np.full(len(normal), 100.0))
    step = -np.linalg.solve(normal, np.einsum("nij,n,ni->j", slope, weight, off))
    return np.pad(np.clip(step, -LONGEST_STEP, LONGEST_STEP), (0, 7 - len(step)))


def _stepped(camera: Camera, step: FloatArray) -> Camera:
    """By `(7,)`: turn, shift, and log focal length, which stays one of `FOCALS`."""
    low, high = (camera.width * each / camera.fx for each in FOCALS)
    return camera.stepped(step[:3], step[3:6], float(np.clip(np.exp(step[6]), low, high)))


def _position_error(camera: Camera, ridden: Ridden, chosen: NDArray[np.bool_], free_focal: bool) -> float:
    """m."""
    slope, off = _slopes(camera, ridden, free_focal)[chosen], ridden.residuals(camera)[chosen]
    return float(np.linalg.norm(clustered_errors(slope, off, ridden.frame[chosen])[3:6]))
