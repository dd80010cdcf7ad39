"""The things on the table: each with a closed mesh, pose, size and guesses, and the Gaussians that are of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from arena.contracts import FloatArray
from real2sim.splats.gaussians import Gaussians
from real2sim.twin.library import open3d
from real2sim.twin.mesh import Mesh, convex_parts
from real2sim.twin.solids import Shape


@dataclass(frozen=True)
class Guess:
    """A number that no picture shows: the best guess, and the range it is varied in."""

    value: float
    low: float
    high: float


DENSITY = Guess(400.0, 100.0, 1000.0)
"""kg/m^3 over the whole outline: from empty packages to full bottles. Nothing on a table under 1000 sinks a gripper."""
FRICTION = Guess(0.7, 0.4, 1.1)
"""Coulomb's coefficient of household materials on wood, rubber and each other."""


@dataclass(frozen=True)
class TwinObject:
    """`mesh` and convex `parts` in the body's frame, whose origin is the middle of the box of `size` `(3,)` m; its z
    axis is the plane's normal, its x axis the longer side. `body_to_base` `(4, 4)` is where it was seen.

    A thing of a known `shape` fills that box as it, and collides as it: a ball of facets would roll on to its next.
    One that is not `solid` is a mark: it is seen where it is, and neither moves nor is touched.
    """

    name: str
    body_to_base: FloatArray
    size: FloatArray
    mesh: Mesh
    parts: tuple[Mesh, ...]
    mass: Guess
    friction: Guess
    shape: Shape | None = None
    solid: bool = True


def object_of(name: str, frame: FloatArray, mesh: Mesh, mass: Guess | None = None) -> TwinObject:
    """A thing of unknown friction from its closed surface in a `frame` `(4, 4)` of the base, z up. Where its `mass` is
    not given, it is guessed from the volume."""
    lowest, highest = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    centre = np.eye(4)
    centre[:3, 3] = (lowest + highest) / 2
    mesh = mesh.moved(np.linalg.inv(centre))
    mass = mass or guessed_mass(mesh)
    return TwinObject(name, frame @ centre, highest - lowest, mesh, convex_parts(mesh), mass, FRICTION)


def guessed_mass(mesh: Mesh) -> Guess:
    """kg, of a thing's closed surface."""
    volume = max(mesh.volume, 1e-7)
    return Guess(*(volume * density for density in (DENSITY.value, DENSITY.low, DENSITY.high)))


def label_gaussians(gaussians: Gaussians, objects: Sequence[TwinObject], margin: float = 0.01) -> NDArray[np.int64]:
    """`(N,)`: the index of the object that each Gaussian belongs to, -1 for the background.

    A Gaussian is of the object whose mesh it is inside of, or nearest to within `margin` m; never below the mesh, where
    the table is.
    """
    means = gaussians.means.detach().cpu().double().numpy()
    best, label = np.full(len(means), margin), np.full(len(means), -1)
    for index, thing in enumerate(objects):
        base_to_body = np.linalg.inv(thing.body_to_base)
        local = means @ base_to_body[:3, :3].T + base_to_body[:3, 3]
        distance = _distance_to(thing.mesh, local)
        nearer = (distance < best) & (local[:, 2] > -thing.size[2] / 2)
        best, label = np.where(nearer, distance, best), np.where(nearer, index, label)
    return label


def split_gaussians(
    gaussians: Gaussians, objects: Sequence[TwinObject], labels: NDArray[np.int64]
) -> tuple[Gaussians, dict[str, Gaussians]]:
    """The background in the base frame, and each object's Gaussians in its body's frame: `TwinRenderer`'s input."""
    parts = {}
    for index, thing in enumerate(objects):
        mine = gaussians.subset(torch.from_numpy(labels == index))
        parts[thing.name] = mine.transformed(torch.from_numpy(np.linalg.inv(thing.body_to_base)))
    return gaussians.subset(torch.from_numpy(labels < 0)), parts


def _distance_to(mesh: Mesh, points: FloatArray) -> FloatArray:
    """`(N,)` m, negative inside."""
    scene = open3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(
        open3d.core.Tensor(mesh.vertices.astype(np.float32)), open3d.core.Tensor(mesh.triangles.astype(np.uint32))
    )
    return np.asarray(scene.compute_signed_distance(open3d.core.Tensor(points.astype(np.float32))).numpy(), np.float64)
