"""Closed surfaces: from a field that is negative inside, and as convex parts, which is what physics collides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray
from real2sim.twin.library import coacd, open3d

POISSON_DEPTH = 6
MAX_TRIANGLES = 2000
MOST_PARTS = 8
NEARLY_CONVEX = 0.93
"""Share of its hull that a thing fills to be taken for its hull: its surface is known no better."""


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


def closed_surface(field: FloatArray, low: FloatArray, voxel: float) -> Mesh:
    """The watertight surface at the zero of a `field` `(X, Y, Z)`, negative inside and positive along its border.

    The field's first sample is at `low` `(3,)` m, its samples are `voxel` m apart.
    """
    points, normals = _crossings(field, low, voxel)
    return _closed(points, normals)


def _crossings(field: FloatArray, low: FloatArray, voxel: float) -> tuple[FloatArray, FloatArray]:
    """Where the field changes sign along the grid's edges, as marching cubes places vertices, and outward normals."""
    gradient = np.stack([*np.gradient(field)], axis=-1)
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


def convex_parts(mesh: Mesh, seed: int = 0) -> tuple[Mesh, ...]:
    """Convex meshes that together fill a closed one, which is what MuJoCo collides: its hull where that adds little,
    else coacd's parts (Wei et al. 2022)."""
    hull = convex_hull(mesh)
    if mesh.volume > NEARLY_CONVEX * hull.volume:
        return (hull,)
    found = coacd.run_coacd(
        coacd.Mesh(mesh.vertices, mesh.triangles), threshold=0.08, max_convex_hull=MOST_PARTS, seed=seed,
        preprocess_mode="off", resolution=1000, mcts_iterations=60, max_ch_vertex=64,
    )  # fmt: skip
    return tuple(Mesh(np.asarray(vertices), np.asarray(triangles).astype(np.int64)) for vertices, triangles in found)


def convex_hull(mesh: Mesh) -> Mesh:
    hull = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(mesh.vertices)).compute_convex_hull()[0]
    hull.orient_triangles()
    closed = Mesh(np.asarray(hull.vertices).copy(), np.asarray(hull.triangles).astype(np.int64))
    return closed if closed.volume > 0 else Mesh(closed.vertices, closed.triangles[:, ::-1])
