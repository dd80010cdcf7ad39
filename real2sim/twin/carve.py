"""A closed shape from depth pictures: what no camera saw through, fused and turned into a watertight mesh.

Signed distances along the rays are averaged in a grid (Curless and Levoy 1996). Voxels that no camera saw as empty,
because they are behind the surface or between it and the table, count as solid: a thing seen from above is closed down
to what it stands on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray, InvalidInput
from real2sim.camera import Camera
from real2sim.twin.library import open3d

TRUNCATION = 3.0
"""In voxels: distances beyond are not averaged."""
POISSON_DEPTH = 6
MIN_SOLID = 8
"""Voxels inside a thing."""
MAX_TRIANGLES = 2000


class NothingSolid(InvalidInput):
    """Cameras saw through all of a box: what was taken for a thing is stray depths."""


@dataclass(frozen=True)
class Mesh:
    """A closed surface: `vertices` `(V, 3)` m, `triangles` `(F, 3)` indices, seen anticlockwise from outside."""

    vertices: FloatArray
    triangles: NDArray[np.int64]

    @property
    def volume(self) -> float:
        """Cubic metres."""
        a, b, c = (self.vertices[self.triangles[:, corner]] for corner in range(3))
        return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)

    def moved(self, pose: FloatArray) -> Mesh:
        """By a rigid `(4, 4)`: new from old coordinates."""
        return Mesh(self.vertices @ pose[:3, :3].T + pose[:3, 3], self.triangles)


@dataclass(frozen=True)
class DepthPicture:
    """`depth` `(H, W)` m along the axis of `camera`, 0 or infinite where it is unknown."""

    camera: Camera
    depth: FloatArray


def carve(pictures: Sequence[DepthPicture], low: FloatArray, high: FloatArray, voxel: float) -> Mesh:
    """A watertight mesh of what is inside the box from `low` to `high` `(3,)` m, on a grid of `voxel` m.

    Raises `NothingSolid` where nothing is left, and `InvalidInput` where the grid would have more than 200 along a
    side.
    """
    counts = np.ceil((high - low) / voxel).astype(int) + 1
    if counts.max() > 200 or counts.min() < 2:
        raise InvalidInput(f"a grid of {tuple(counts)} voxels is not carved: 2 to 200 along each side")
    axes = [low[axis] + voxel * np.arange(counts[axis]) for axis in range(3)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    field = _signed_distance(pictures, centres, voxel).reshape(counts)
    for axis in range(3):  # the box ends the shape: what is outside is empty
        np.moveaxis(field, axis, 0)[[0, -1]] = np.maximum(np.moveaxis(field, axis, 0)[[0, -1]], 0.5 * voxel)
    if (field < 0).sum() < MIN_SOLID:
        raise NothingSolid("nothing solid is left of an object: cameras saw through it")
    return closed_surface(field, low, voxel)


def closed_surface(field: FloatArray, low: FloatArray, voxel: float) -> Mesh:
    """The watertight surface at the zero of a `field` `(X, Y, Z)`, negative inside and positive along its border.

    The field's first sample is at `low` `(3,)` m, its samples are `voxel` m apart.
    """
    points, normals = _crossings(field, low, voxel)
    return _closed(points, normals)


def _signed_distance(pictures: Sequence[DepthPicture], centres: FloatArray, voxel: float) -> FloatArray:
    """`(N,)` m: positive where cameras saw through, negative inside, from -1 to 1 times the truncation."""
    limit = TRUNCATION * voxel
    total, seen = np.zeros(len(centres)), np.zeros(len(centres))
    for picture in pictures:
        # The nearest pixel's depth: interpolating would make surfaces between things.
        row, column, distance = picture.camera.cells(centres)
        measured = picture.depth[row, column]
        known = (distance > 0) & np.isfinite(measured) & (measured > 0)
        ahead = np.where(known, measured - distance, -np.inf)
        counted = ahead > -limit
        total += np.where(counted, np.clip(ahead, -limit, limit), 0.0)
        seen += counted
    return np.where(seen > 0, total / np.maximum(seen, 1), -limit)


def _crossings(field: FloatArray, low: FloatArray, voxel: float) -> tuple[FloatArray, FloatArray]:
    """Where the field changes sign along the grid's edges, as marching cubes places vertices, and outward normals."""
    gradient = np.stack(np.gradient(field), axis=-1)
    points, normals = [], []
    for axis in range(3):
        before, after = (np.moveaxis(field, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        where = np.argwhere((before < 0) != (after < 0))
        share = before[tuple(where.T)] / (before[tuple(where.T)] - after[tuple(where.T)])
        place = np.insert(where[:, 1:], axis, where[:, 0], axis=1)
        step = np.eye(3, dtype=int)[axis]
        points.append(low + voxel * (place + share[:, None] * step))
        normals.append(
            (1 - share)[:, None] * gradient[tuple(place.T)] + share[:, None] * gradient[tuple((place + step).T)]
        )
    normal = np.concatenate(normals)
    return np.concatenate(points), normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def _closed(points: FloatArray, normals: FloatArray) -> Mesh:
    """Poisson's surface (Kazhdan 2006) of points all around a shape; their convex hull if it has a hole."""
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud.normals = open3d.utility.Vector3dVector(normals)
    found, _ = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(
        cloud, depth=POISSON_DEPTH, n_threads=1, linear_fit=True
    )
    groups, sizes, _ = (np.asarray(part) for part in found.cluster_connected_triangles())
    found.remove_triangles_by_mask(groups != sizes.argmax())
    found.remove_unreferenced_vertices()
    found = found.simplify_quadric_decimation(MAX_TRIANGLES)
    if not found.is_watertight():
        found, _ = cloud.compute_convex_hull()
    found.orient_triangles()
    mesh = Mesh(np.asarray(found.vertices).copy(), np.asarray(found.triangles).astype(np.int64))
    return mesh if mesh.volume > 0 else Mesh(mesh.vertices, mesh.triangles[:, ::-1])
