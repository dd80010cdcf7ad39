"""The surface that things stand on: a plane found in points, and whether it is level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from arena.contracts import FloatArray, InvalidInput
from real2sim.twin.library import open3d

INLIER_DISTANCE = 0.01
"""Metres: points this near to a plane are of it."""
MIN_SHARE = 0.1
"""Of all points, on the support plane: less is a scene without a table in sight."""
MAX_TILT = 10.0
"""Degrees between a support plane and level: what a robot stands upright on is level within a few."""
_PLANES, _ITERATIONS = 6, 2000


@dataclass(frozen=True)
class SupportPlane:
    """Points `p` of the base frame with `normal . p = height`: `normal` `(3,)` is a unit vector that points up.

    `outline` `(M, 2)` are x and y of its points, thinned; `tilt` is its angle to level in degrees, `share` how many of
    all points are on it. The base frame's z axis is taken for up: a robot arm's base is mounted upright.
    """

    normal: FloatArray
    height: float
    outline: FloatArray
    tilt: float
    share: float

    def distance(self, points: FloatArray) -> FloatArray:
        """`(N,)` m above the plane, negative below it."""
        return np.asarray(points @ self.normal - self.height)

    def covers(self, points: FloatArray) -> NDArray[np.bool_]:
        """`(N,)`: which points are over (or under) the surface's convex outline."""
        return np.asarray(Delaunay(self.outline).find_simplex(points[:, :2]) >= 0)


def plane_frame(place: FloatArray, plane: SupportPlane) -> FloatArray:
    """`(4, 4)` to the base frame: origin on the plane at a place `(3,)` m, z its normal."""
    x = np.cross([0.0, 1.0, 0.0], plane.normal)
    x /= np.linalg.norm(x)
    frame = np.eye(4)
    frame[:3, :3] = np.stack([x, np.cross(plane.normal, x), plane.normal], axis=1)
    frame[:3, 3] = place - plane.distance(place[None])[0] * plane.normal
    return frame


def plane_facts(plane: SupportPlane) -> dict[str, Any]:
    """A plane as JSON."""
    return {**asdict(plane), "normal": plane.normal.tolist(), "outline": plane.outline.tolist()}


def plane_of(facts: Mapping[str, Any], outline: FloatArray | None = None) -> SupportPlane:
    """The plane of `plane_facts`, or of those with an `outline` that was kept elsewhere."""
    outline = np.array(facts["outline"]) if outline is None else outline
    return SupportPlane(np.array(facts["normal"]), facts["height"], outline, facts["tilt"], facts["share"])


def find_support_plane(points: FloatArray, reach: float = 1.2, seed: int = 0) -> SupportPlane:
    """The level plane with most of `points` `(N, 3)` m, of those within `reach` m of the robot's base, by RANSAC.

    Planes are found one after the other, so that a wall with more points than the table does not win. Raises
    `InvalidInput` where no level plane has a tenth of the points: a tilted one means that cameras or scale are wrong.
    """
    near = points[np.isfinite(points).all(axis=1) & (np.linalg.norm(points, axis=1) < reach)]
    if len(near) < 100:
        raise InvalidInput(f"a support plane needs 100 points within {reach} m of the robot's base, not {len(near)}")
    open3d.utility.random.seed(seed)
    rest, planes = near, []
    for _ in range(_PLANES):
        if len(rest) < MIN_SHARE * len(near):
            break
        cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(rest))
        # All of the iterations: with less certainty, which thread stops the others depends on the machine's load.
        _, inliers = cloud.segment_plane(INLIER_DISTANCE, 3, _ITERATIONS, probability=1.0)
        planes.append(_refined(rest[inliers], near))
        rest = np.delete(rest, inliers, axis=0)
    level = [plane for plane in planes if plane.tilt <= MAX_TILT and plane.share >= MIN_SHARE]
    if not level:
        tilts = ", ".join(f"{plane.tilt:.0f} degrees with {plane.share:.0%}" for plane in planes)
        raise InvalidInput(f"no level plane to stand things on: the planes found are tilted by {tilts} of the points")
    return max(level, key=lambda plane: plane.share)


def _refined(inliers: FloatArray, near: FloatArray) -> SupportPlane:
    """The least-squares plane through a RANSAC plane's points, normal up."""
    centre = inliers.mean(axis=0)
    normal = np.linalg.svd(inliers - centre, full_matrices=False)[2][2]
    normal = normal * (1.0 if normal[2] >= 0 else -1.0)
    height = float(normal @ centre)
    on_it = np.abs(near @ normal - height) < INLIER_DISTANCE
    tilt = float(np.degrees(np.arccos(np.clip(normal[2], -1, 1))))
    return SupportPlane(normal, height, _trimmed(inliers[:, :2]), tilt, float(on_it.mean()))


def _trimmed(places: FloatArray) -> FloatArray:
    """The points without the outermost hundredth along each axis: stray depths would make the surface larger."""
    low, high = np.percentile(places, [0.5, 99.5], axis=0)
    kept = places[((places >= low) & (places <= high)).all(axis=1)]
    return np.asarray(kept[:: max(1, len(kept) // 5000)])
