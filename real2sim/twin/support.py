"""The surface that things stand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from arena.contracts import FloatArray

MAX_TILT = 10.0
"""Degrees between a support plane and level: what a robot stands upright on is level within a few."""


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
