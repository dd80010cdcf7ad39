"""Boxes, upright cylinders and ellipsoids that stand on a plane: where rays meet them, and their meshes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray
from real2sim.twin.library import open3d
from real2sim.twin.mesh import Mesh

Shape = Literal["box", "cylinder", "ellipsoid"]
SHAPES: tuple[Shape, ...] = ("box", "cylinder", "ellipsoid")
_SEGMENTS = 24
_BEYOND = 1e9


@dataclass(frozen=True)
class Solid:
    """A thing on the plane z = 0: its footprint's middle `(x, y)` and its `width`, `length` and `height` in m; it is
    turned by `yaw` rad about the vertical. Cylinders and ellipsoids may be oval.
    """

    shape: Shape
    x: float
    y: float
    yaw: float
    width: float
    length: float
    height: float

    @property
    def size(self) -> FloatArray:
        """`(3,)` m along its own axes."""
        return np.array([self.width, self.length, self.height])

    @property
    def body_to_plane(self) -> FloatArray:
        """`(4, 4)`; the body's origin is in the middle of its box."""
        cosine, sine = np.cos(self.yaw), np.sin(self.yaw)
        pose = np.eye(4)
        pose[:2, :2] = [[cosine, -sine], [sine, cosine]]
        pose[:3, 3] = [self.x, self.y, self.height / 2]
        return pose

    def hit(self, origins: FloatArray, directions: FloatArray) -> tuple[NDArray[np.bool_], FloatArray]:
        """`(N,)`: which rays meet it, and `(M, 3)`: where those do, in the body's frame, scaled to [-1, 1].

        `origins` and `directions` are `(N, 3)` in the plane's frame.
        """
        pose, half = self.body_to_plane, self.size / 2
        start = (origins - pose[:3, 3]) @ pose[:3, :3] / half
        along = directions @ pose[:3, :3] / half
        # Only rays that pass the unit cube's sphere are worth looking at.
        product, square = (start * along).sum(axis=1), (along * along).sum(axis=1)
        maybe = (start * start).sum(axis=1) - product**2 / square < 3
        start, along = start[maybe], along[maybe]
        distance = {"box": _box, "cylinder": _cylinder, "ellipsoid": _sphere}[self.shape](start, along)
        hit = (distance > 0) & (distance < _BEYOND)
        which = maybe.copy()
        which[maybe] = hit
        return which, start[hit] + distance[hit, None] * along[hit]

    def mesh(self) -> Mesh:
        """Closed, in the body's frame."""
        make = open3d.geometry.TriangleMesh
        unit = {
            "box": lambda: make.create_box(2, 2, 2).translate([-1, -1, -1]),
            "cylinder": lambda: make.create_cylinder(1, 2, _SEGMENTS, 1),
            "ellipsoid": lambda: make.create_sphere(1, _SEGMENTS // 2),
        }[self.shape]()
        vertices = np.asarray(unit.vertices)
        vertices = vertices / np.abs(vertices).max(axis=0) * self.size / 2
        return Mesh(vertices, np.asarray(unit.triangles).astype(np.int64))


def _slabs(start: FloatArray, along: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`(N,)` each: where rays enter and leave the cube between -1 and 1, of the given axes."""
    safe = np.where(np.abs(along) < 1e-9, 1e-9, along)
    first, second = (-1 - start) / safe, (1 - start) / safe
    return np.minimum(first, second).max(axis=1), np.maximum(first, second).min(axis=1)


def _round(start: FloatArray, along: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`(N,)` each: where rays enter and leave the unit circle or sphere; beyond everything if never."""
    a, b = (along**2).sum(axis=1), (start * along).sum(axis=1)
    root = b**2 - a * ((start**2).sum(axis=1) - 1)
    reach = np.sqrt(np.maximum(root, 0)) / a
    return np.where(root > 0, -b / a - reach, _BEYOND), np.where(root > 0, -b / a + reach, -_BEYOND)


def _box(start: FloatArray, along: FloatArray) -> FloatArray:
    enter, leave = _slabs(start, along)
    return np.where(enter < leave, enter, _BEYOND)


def _cylinder(start: FloatArray, along: FloatArray) -> FloatArray:
    enter, leave = _slabs(start[:, 2:], along[:, 2:])
    side_enter, side_leave = _round(start[:, :2], along[:, :2])
    first = np.maximum(enter, side_enter)
    return np.where(first < np.minimum(leave, side_leave), first, _BEYOND)


def _sphere(start: FloatArray, along: FloatArray) -> FloatArray:
    return _round(start, along)[0]
