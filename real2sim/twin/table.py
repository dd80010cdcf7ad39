"""The table by its own texture: the plane, and the cameras above it, for which all photographs of it agree best.

A point of the table has the same colour in every photograph that shows it, whatever the photograph's angle. So the
plane's height and tilt, and small errors of the cameras' poses, show as disagreement between a photograph and what all
others say of the same points (photo-consistency; for planes, Szeliski 1996).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, InvalidInput
from real2sim.camera import Camera
from real2sim.splats.views import View, check_views
from real2sim.twin.photos import MIN_DEPTH, Photo, others
from real2sim.twin.support import MAX_TILT, SupportPlane

UNLIKE = 0.12
"""Difference between colours in [0, 1] (root of summed squares) beyond which they say no more than that they differ."""
TIGHT = 0.5
"""Of `UNLIKE`, once the plane is roughly known: what stands on the table, and the floor beside it, then say less."""
NOISE = 0.05
"""Of a colour in [0, 1], standard deviation."""
LEVEL = 3e-6
"""Cost of a tilt, per square degree: a robot's base and its table are level within a degree or two, and a table with
little texture would leave its tilt to chance."""
MIN_CELLS = 200
"""Points of a table that two photographs or more have to show."""
_RIGHT, _DOWN = np.array([1.0, 0.0]), np.array([0.0, 1.0])


@dataclass(frozen=True)
class TableSettings:
    """The plane is looked for at heights from `lowest` to `highest` m, `step` m apart, within `reach` m of the robot's
    base, on a grid of `cell` m. Cameras are trusted to `camera_metres` and `camera_degrees` (standard deviations); each
    is moved in `rounds` steps, after the plane. Neighbouring points err together: `together` count as one. `level` is
    what a square degree of tilt costs.
    """

    lowest: float = -0.3
    highest: float = 0.3
    step: float = 0.01
    reach: float = 1.1
    cell: float = 0.01
    camera_metres: float = 0.005
    camera_degrees: float = 0.3
    rounds: int = 4
    together: float = 10.0
    level: float = LEVEL

    def __post_init__(self) -> None:
        if not (self.lowest <= self.highest and self.step > 0 and self.cell > 0 and self.reach > 10 * self.cell):
            raise InvalidInput("a table is looked for between two heights, with positive steps and cells")
        if not (self.camera_metres > 0 and self.camera_degrees > 0 and self.together >= 1 and self.rounds >= 0):
            raise InvalidInput("cameras are trusted to a positive distance and angle")

    def below(self, height: float) -> TableSettings:
        """The same, where no table is higher than `height` m."""
        highest = min(self.highest, height)
        return replace(self, highest=highest, lowest=min(self.lowest, highest - 2 * self.step))


@dataclass(frozen=True)
class Table:
    """The `plane`, the `views` with their cameras moved to agree about it, and `cost`: the mean squared disagreement
    of colours in [0, 1], at most `UNLIKE` squared.
    """

    plane: SupportPlane
    views: tuple[View, ...]
    cost: float


def find_table(
    views: Sequence[View], start: SupportPlane | None = None, settings: TableSettings | None = None
) -> Table:
    """The support plane and the cameras by photo-consistency, from `start`, else from the best level plane.

    `start` needs to be right within 2 cm and 3 degrees. Raises `InvalidInput` for fewer than three views, and where
    nothing level within reach is shown by two of them.
    """
    settings = settings or TableSettings()
    check_views(views, 3)
    pictures = [Photo.of(view, settings.cell) for view in views]
    coarse = replace(settings, cell=2 * settings.cell)
    if start is None:
        heights = np.arange(settings.lowest, settings.highest + settings.step / 2, settings.step)
        parameters = np.array([min(heights, key=lambda h: _cost(np.array([h, 0.0, 0.0]), pictures, coarse)), 0.0, 0.0])
    else:
        parameters = np.array([start.height / start.normal[2], *(-start.normal[:2] / start.normal[2])])
    # Not again after each move of the cameras: the plane would slide away together with them.
    for unlike in (UNLIKE, TIGHT * UNLIKE):
        parameters = _refined_plane(parameters, pictures, coarse, unlike)
    for _ in range(settings.rounds):
        pictures = _moved_cameras(parameters, pictures, settings)
    plane = _support(parameters, pictures, settings)
    moved = tuple(replace(view, camera=picture.camera) for view, picture in zip(views, pictures, strict=True))
    return Table(plane, moved, _cost(parameters, pictures, settings))


def _grid(parameters: FloatArray, settings: TableSettings) -> FloatArray:
    """`(N, 3)` m: points of the plane z = height + a x + b y within reach."""
    axis = np.arange(-settings.reach, settings.reach, settings.cell)
    x, y = (side.ravel() for side in np.meshgrid(axis, axis, indexing="ij"))
    near = x**2 + y**2 < settings.reach**2
    x, y = x[near], y[near]
    return np.stack([x, y, parameters[0] + parameters[1] * x + parameters[2] * y], axis=1)


def _samples(parameters: FloatArray, pictures: Sequence[Photo], settings: TableSettings) -> FloatArray:
    """`(V, N, 3)`: each photograph's colours of the plane's points."""
    points = _grid(parameters, settings)
    return np.stack([picture.colors(points) for picture in pictures])


def _cost(parameters: FloatArray, pictures: Sequence[Photo], settings: TableSettings, unlike: float = UNLIKE) -> float:
    """Mean squared disagreement, capped; a plane that few see in common is no better than one of many colours."""
    samples = _samples(parameters, pictures, settings)
    squared = ((samples - others(samples)) ** 2).sum(axis=-1)
    known = np.isfinite(squared)
    if known.any(axis=0).sum() < MIN_CELLS:
        return unlike**2
    return float(np.minimum(squared[known], unlike**2).mean())


def _refined_plane(
    parameters: FloatArray, pictures: Sequence[Photo], settings: TableSettings, unlike: float
) -> FloatArray:
    """Height and slopes of least disagreement nearby."""
    if _cost(parameters, pictures, settings, unlike) >= unlike**2:
        raise InvalidInput("no table: fewer than two photographs show the same part of a level plane within reach")
    simplex = parameters + np.array([[0, 0, 0], [0.01, 0, 0], [0, 0.02, 0], [0, 0, 0.02]])

    def cost(values: FloatArray) -> float:
        tilt = np.degrees(np.arctan(np.hypot(*values[1:])))
        return _cost(values, pictures, settings, unlike) + settings.level * float(tilt**2)

    options: Any = {"initial_simplex": simplex, "xatol": 2e-4, "fatol": 1e-7, "maxfev": 80}
    found = minimize(cost, parameters, method="Nelder-Mead", options=options)
    return np.asarray(found.x)


def _moved_cameras(parameters: FloatArray, pictures: Sequence[Photo], settings: TableSettings) -> list[Photo]:
    """Each camera one Gauss-Newton step towards what all other photographs say of the table."""
    points = _grid(parameters, settings)
    expected = others(np.stack([picture.colors(points) for picture in pictures]))
    return [_moved(picture, points, mean, settings) for picture, mean in zip(pictures, expected, strict=True)]


def _moved(picture: Photo, points: FloatArray, expected: FloatArray, settings: TableSettings) -> Photo:
    camera = picture.camera
    pixels, depth = camera.project(points)
    ahead = (depth > MIN_DEPTH) & (pixels > 0).all(axis=1) & (pixels < [camera.width, camera.height]).all(axis=1)
    ahead &= np.isfinite(expected[:, 0])
    points, pixels, depth, expected = (part[ahead] for part in (points, pixels, depth, expected))
    every = np.ones(len(points), bool)
    residual = picture.at(pixels, every) - expected
    across = picture.at(pixels + _RIGHT, every) - picture.at(pixels - _RIGHT, every)
    down = picture.at(pixels + _DOWN, every) - picture.at(pixels - _DOWN, every)
    used = np.isfinite(residual + across + down).all(axis=1)
    if used.sum() < MIN_CELLS:
        return picture
    residual, across, down = residual[used], across[used] / 2, down[used] / 2
    weight = 1 / (1 + (residual**2).sum(axis=1) / UNLIKE**2) ** 2
    columns, rows = _pixel_motion(camera, points[used])
    jacobian = across[:, :, None] * columns[:, None] + down[:, :, None] * rows[:, None]
    # Of a grid finer than the pixels, neighbours say the same.
    arm = points[used] - camera.camera_to_base[:3, 3]
    slant = np.abs(camera.camera_to_base[2, :3] @ (arm @ camera.camera_to_base[:3, :3]).T)
    area = (settings.cell * camera.fx / depth[used]) ** 2 * slant / np.linalg.norm(arm, axis=1)
    weight = weight * np.minimum(area, 1.0)
    weighted = weight[:, None, None] * jacobian / (settings.together * NOISE**2)
    trust = np.repeat([np.radians(settings.camera_degrees), settings.camera_metres], 3) / np.sqrt(3)
    so_far = _difference(picture.view.camera, camera)
    normal = np.einsum("nci,ncj->ij", weighted, jacobian) + np.diag(trust**-2)
    step = -np.linalg.solve(normal, np.einsum("nci,nc->i", weighted, residual) + so_far / trust**2)
    return replace(picture, camera=_shifted(picture.view.camera, so_far + step))


def _pixel_motion(camera: Camera, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`(N, 6)` each: how a point's column and row move as the camera is turned (rad, axes of the base frame, about its
    own position) and shifted (m)."""
    rotation = camera.camera_to_base[:3, :3]
    arm = points - camera.camera_to_base[:3, 3]
    x, y, z = (arm @ rotation).T[..., None]
    # A camera that turns by w sees a point move by -w x arm; one that is shifted, by minus the shift.
    turned = np.cross(arm[:, None], np.eye(3)).transpose(0, 2, 1)
    motion = np.concatenate([turned, -np.tile(np.eye(3), (len(arm), 1, 1))], axis=2)
    in_camera = rotation.T @ motion
    columns = camera.fx * (in_camera[:, 0] - x / z * in_camera[:, 2]) / z
    rows = camera.fy * (in_camera[:, 1] - y / z * in_camera[:, 2]) / z
    return columns, rows


def _difference(first: Camera, second: Camera) -> FloatArray:
    """`(6,)`: turn (rad) and shift (m) from one camera to the other."""
    turn = second.camera_to_base[:3, :3] @ first.camera_to_base[:3, :3].T
    shift = second.camera_to_base[:3, 3] - first.camera_to_base[:3, 3]
    return np.concatenate([Rotation.from_matrix(turn).as_rotvec(), shift])


def _shifted(camera: Camera, move: FloatArray) -> Camera:
    pose = camera.camera_to_base.copy()
    pose[:3, :3] = Rotation.from_rotvec(move[:3]).as_matrix() @ pose[:3, :3]
    pose[:3, 3] += move[3:]
    return replace(camera, camera_to_base=pose)


def _support(parameters: FloatArray, pictures: Sequence[Photo], settings: TableSettings) -> SupportPlane:
    """The outline is of what two photographs or more agree about."""
    points = _grid(parameters, settings)
    samples = np.stack([picture.colors(points) for picture in pictures])
    squared = ((samples - others(samples)) ** 2).sum(axis=-1)
    agreeing = (squared < UNLIKE**2).sum(axis=0)
    known = np.isfinite(squared).any(axis=0)
    normal = np.array([-parameters[1], -parameters[2], 1.0])
    normal /= np.linalg.norm(normal)
    tilt = float(np.degrees(np.arccos(normal[2])))
    outline = points[agreeing >= 2, :2]
    if tilt > MAX_TILT or len(outline) < MIN_CELLS:
        raise InvalidInput(f"no level table: the plane that photographs agree best about is tilted by {tilt:.0f}°")
    share = float((agreeing >= 2).sum() / max(known.sum(), 1))
    return SupportPlane(normal, float(parameters[0] * normal[2]), outline, tilt, share)
