"""What a known plane tells of a scene: a table often has too little texture for stereo, but one plane explains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from arena.contracts import FloatArray, InvalidInput
from real2sim.camera import Camera
from real2sim.splats.views import View

SAME_COLOR = 0.06
"""Largest difference in a channel between a pixel and the plane's colour for it to be a picture of the plane."""
MIN_VIEWS = 2
CLEARANCE = 0.03
"""Metres around known points above the plane where its texture is not trusted: under a thing all views may agree on
the thing's colour."""
_ABOVE = 0.01


@dataclass(frozen=True)
class PlaneTexture:
    """The plane `normal . p = height` as all views see it from above, on a square grid of `spacing` m.

    `points` `(A, B, 3)` m of the base frame, `colors` `(A, B, 3)` in [0, 1]: medians over the views, so that what
    stands in front in some has no say; NaN where fewer than two views see the plane. `axes` `(2, 3)` are the grid's
    directions.
    """

    normal: FloatArray
    height: float
    spacing: float
    axes: FloatArray
    points: FloatArray
    colors: FloatArray

    @property
    def known(self) -> NDArray[np.bool_]:
        """`(A, B)`: where the plane was seen."""
        return np.isfinite(self.colors[..., 0])

    def behind(self, camera: Camera) -> tuple[FloatArray, FloatArray]:
        """What each pixel would show of the plane with nothing before it: `(H, W)` m, its depth, and `(H, W, 3)`
        colour. Both are NaN where the grid has no such point, the colour also where that point was not seen."""
        rays, position = pixel_rays(camera), camera.camera_to_base[:3, 3]
        depth = plane_depth(camera, self.normal, self.height)
        cell = np.rint((position + depth[..., None] * rays - self.points[0, 0]) @ self.axes.T / self.spacing)
        size = np.array(self.colors.shape[:2])
        inside = (cell >= 0).all(axis=-1) & (cell < size).all(axis=-1)
        a, b = np.clip(np.nan_to_num(cell), 0, size - 1).astype(int).transpose(2, 0, 1)
        return np.where(inside, depth, np.nan), np.where(inside[..., None], self.colors[a, b], np.nan)


def plane_texture(
    views: Sequence[View],
    normal: FloatArray,
    height: float,
    outline: FloatArray,
    things: FloatArray | None = None,
    spacing: float = 0.01,
) -> PlaneTexture:
    """The texture of a plane within the box around its `outline` `(M, 2)` m (x and y of points on it).

    `things` `(N, 3)` m are points known otherwise (`sweep.sweep_points`): near those above the plane it is unknown.
    """
    if spacing <= 0 or abs(np.linalg.norm(normal) - 1) > 1e-6 or abs(normal[2]) < 0.1:
        raise InvalidInput("a plane's texture needs a positive spacing and a unit normal that is not level")
    points, axes = plane_grid(normal, height, outline, spacing)
    seen = np.stack([_seen_colors(view, points.reshape(-1, 3)) for view in views])
    enough = np.isfinite(seen[..., 0]).sum(axis=0) >= MIN_VIEWS
    colors = np.full((len(enough), 3), np.nan)
    if things is not None and (standing := things[things @ normal - height > _ABOVE]).size:
        feet = standing - np.outer(standing @ normal - height, normal)
        enough &= cKDTree(feet).query(points.reshape(-1, 3), distance_upper_bound=CLEARANCE)[0] > CLEARANCE
    colors[enough] = np.nanmedian(seen[:, enough], axis=0)
    return PlaneTexture(normal, height, spacing, axes, points, colors.reshape(points.shape))


def plane_grid(normal: FloatArray, height: float, outline: FloatArray, spacing: float) -> tuple[FloatArray, FloatArray]:
    """`(A, B, 3)` m: points of the plane `normal . p = height` every `spacing` m within the box around its `outline`
    `(M, 2)` m (x and y of points on it), and `(2, 3)`: the grid's directions."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    x = np.cross([0.0, 1.0, 0.0], normal)
    x /= np.linalg.norm(x)
    axes = np.stack([x, np.cross(normal, x)])
    corner = np.append(low, (height - low @ normal[:2]) / normal[2])
    counts = np.ceil((high - low) / spacing).astype(int) + 1
    steps = np.stack(np.meshgrid(*(spacing * np.arange(count) for count in counts), indexing="ij"), axis=-1)
    return corner + steps @ axes, axes


def plane_depths(views: Sequence[View], texture: PlaneTexture) -> FloatArray:
    """`(len(views), H, W)` m: the plane's depth where a pixel has the plane's colour, else 0.

    Things of the table's very colour are taken for it; what else they are shows in the photographs of other views.
    """
    return np.stack([_depth_where_alike(view, texture) for view in views])


def _depth_where_alike(view: View, texture: PlaneTexture) -> FloatArray:
    depth, color = texture.behind(view.camera)
    unlike = np.abs(view.image / 255 - color).max(axis=-1)
    return np.where(view.mask & (unlike < SAME_COLOR), depth, 0.0)  # NaN is not less than anything


def pixel_rays(camera: Camera) -> FloatArray:
    """`(H, W, 3)`: from the camera's position to what a pixel's centre shows at depth 1, in the base frame."""
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    x, y = (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy
    return np.asarray(np.stack([x, y, np.ones_like(x)], axis=-1) @ camera.camera_to_base[:3, :3].T)


def plane_depth(camera: Camera, normal: FloatArray, height: float) -> FloatArray:
    """`(H, W)` m: the depth of the plane `normal . p = height` in each pixel, NaN where it is not in front of it."""
    towards = pixel_rays(camera) @ normal
    depth = (height - camera.camera_to_base[:3, 3] @ normal) / np.where(np.abs(towards) < 1e-6, np.nan, towards)
    return np.where(depth > 0, depth, np.nan)


def _seen_colors(view: View, points: FloatArray) -> FloatArray:
    """`(N, 3)`: a view's colours at points of the base frame, NaN where it does not see them."""
    row, column, depth = view.camera.cells(points)
    inside = (depth > 0) & view.mask[row, column]
    colors = np.full((len(points), 3), np.nan, np.float32)
    colors[inside] = view.image[row[inside], column[inside]] / 255
    return colors
