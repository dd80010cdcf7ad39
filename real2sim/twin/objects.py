"""The things on the table: found as clusters above the support plane, each with a closed mesh, pose, size and guesses.

Works on depth pictures from any source: rendered from the fitted Gaussians, swept, or measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from arena.contracts import FloatArray, InvalidInput
from real2sim.camera import Camera
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.views import unproject
from real2sim.twin.carve import DepthPicture, Mesh, NothingSolid, carve
from real2sim.twin.library import coacd, open3d
from real2sim.twin.solids import Shape
from real2sim.twin.support import SupportPlane, plane_frame


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


NEARLY_CONVEX = 0.93
"""Share of its hull that a thing fills to be taken for its hull: carving is no more exact."""


@dataclass(frozen=True)
class ObjectSettings:
    """Metres. Points `above` the plane and under `below` are of things; points closer than `gap` are of one thing;
    things smaller than `smallest` or larger than `largest` along their longest side are passed over. Meshes have
    `voxel` m of detail; they are cut into at most `parts` convex ones."""

    above: float = 0.01
    below: float = 0.5
    gap: float = 0.02
    smallest: float = 0.02
    largest: float = 0.5
    spacing: float = 0.005
    min_points: int = 15
    voxel: float = 0.005
    parts: int = 8
    seed: int = 0


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


def cloud_from(pictures: Sequence[DepthPicture]) -> FloatArray:
    """All known depths as points `(N, 3)` m of the base frame."""
    points = [np.zeros((0, 3))]
    for picture in pictures:
        rows, columns = np.nonzero(np.isfinite(picture.depth) & (picture.depth > 0))
        pixels = np.stack([columns, rows], axis=1) + 0.5
        points.append(unproject(picture.camera, pixels, picture.depth[rows, columns]))
    return np.concatenate(points)


def find_objects(
    pictures: Sequence[DepthPicture], plane: SupportPlane, settings: ObjectSettings | None = None
) -> list[TwinObject]:
    """Every thing that stands on the plane, largest first, named `object_1` and so on.

    A cluster of points that other pictures see through is no thing.
    """
    settings = settings or ObjectSettings()
    found: list[TwinObject] = []
    for cluster in sorted(find_clusters(cloud_from(pictures), plane, settings), key=len, reverse=True):
        with suppress(NothingSolid):
            found.append(build_object(f"object_{len(found) + 1}", cluster, pictures, plane, settings))
    return found


def find_clusters(points: FloatArray, plane: SupportPlane, settings: ObjectSettings) -> list[FloatArray]:
    """Points `(N, 3)` over the plane's outline, grouped by distance (DBSCAN, Ester 1996): one `(M, 3)` per thing."""
    distance = plane.distance(points)
    candidates = points[(distance > settings.above) & (distance < settings.below)]
    candidates = candidates[plane.covers(candidates)] if len(candidates) else candidates
    if len(candidates) < settings.min_points:
        return []
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(candidates)).voxel_down_sample(settings.spacing)
    thinned, labels = np.asarray(cloud.points), np.asarray(cloud.cluster_dbscan(settings.gap, settings.min_points))
    clusters = [thinned[labels == label] for label in range(labels.max() + 1)]
    sides = [np.ptp(cluster, axis=0).max() for cluster in clusters]
    return [c for c, side in zip(clusters, sides, strict=True) if settings.smallest <= side <= settings.largest]


def build_object(
    name: str, cluster: FloatArray, pictures: Sequence[DepthPicture], plane: SupportPlane, settings: ObjectSettings
) -> TwinObject:
    """A thing from its points: a box around them down to the plane, carved by the depth pictures."""
    upright = _upright_frame(cluster, plane)
    local = (cluster - upright[:3, 3]) @ upright[:3, :3]
    margin = 2 * settings.voxel
    low, high = local.min(axis=0) - margin, local.max(axis=0) + margin
    # Nothing under `above` is carved: there a noisy table would grow a skirt. The lowest layer, which closes the mesh,
    # is brought down to the plane instead.
    low[2] = settings.above - settings.voxel
    seen = [DepthPicture(_into(picture.camera, upright), picture.depth) for picture in pictures]
    mesh = carve(seen, low, high, settings.voxel)
    mesh.vertices[mesh.vertices[:, 2] < settings.above, 2] = 0.0
    return object_of(name, upright, mesh, settings)


def object_of(
    name: str, frame: FloatArray, mesh: Mesh, settings: ObjectSettings, mass: Guess | None = None
) -> TwinObject:
    """A thing of unknown friction from its closed surface in a `frame` `(4, 4)` of the base, z up. Where its `mass` is
    not given, it is guessed from the volume."""
    lowest, highest = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    centre = np.eye(4)
    centre[:3, 3] = (lowest + highest) / 2
    mesh = mesh.moved(np.linalg.inv(centre))
    mass = mass or guessed_mass(mesh)
    return TwinObject(name, frame @ centre, highest - lowest, mesh, convex_parts(mesh, settings), mass, FRICTION)


def guessed_mass(mesh: Mesh) -> Guess:
    """kg, of a thing's closed surface."""
    volume = max(mesh.volume, 1e-7)
    return Guess(*(volume * density for density in (DENSITY.value, DENSITY.low, DENSITY.high)))


def convex_parts(mesh: Mesh, settings: ObjectSettings) -> tuple[Mesh, ...]:
    """Convex meshes that together fill a closed one, which is what MuJoCo collides: its hull where that adds little,
    else coacd's parts (Wei et al. 2022)."""
    hull = convex_hull(mesh)
    if mesh.volume > NEARLY_CONVEX * hull.volume:
        return (hull,)
    found = coacd.run_coacd(
        coacd.Mesh(mesh.vertices, mesh.triangles), threshold=0.08, max_convex_hull=settings.parts, seed=settings.seed,
        preprocess_mode="off", resolution=1000, mcts_iterations=60, max_ch_vertex=64,
    )  # fmt: skip
    return tuple(Mesh(np.asarray(vertices), np.asarray(triangles).astype(np.int64)) for vertices, triangles in found)


def convex_hull(mesh: Mesh) -> Mesh:
    hull = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(mesh.vertices)).compute_convex_hull()[0]
    hull.orient_triangles()
    closed = Mesh(np.asarray(hull.vertices).copy(), np.asarray(hull.triangles).astype(np.int64))
    return closed if closed.volume > 0 else Mesh(closed.vertices, closed.triangles[:, ::-1])


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


def _upright_frame(cluster: FloatArray, plane: SupportPlane) -> FloatArray:
    """`(4, 4)` to the base frame: origin on the plane under the cluster, z its normal, x along the smallest box."""
    frame = plane_frame(cluster.mean(axis=0), plane)
    angle = _smallest_box_angle(cluster @ frame[:3, :2])
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return np.asarray(frame @ turn)


def _smallest_box_angle(flat: FloatArray) -> float:
    """Radians: the direction of the longer side of the rectangle of least area around `flat` `(N, 2)`."""
    try:
        corners = flat[ConvexHull(flat).vertices]
    except Exception as error:  # QHull raises its own for points on a line
        raise InvalidInput("the points of an object lie on a line") from error
    edges = np.roll(corners, -1, axis=0) - corners
    angles = np.arctan2(edges[:, 1], edges[:, 0])
    best, best_area = 0.0, np.inf
    for angle in angles:
        turned = corners @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        sides = np.ptp(turned, axis=0)
        if sides.prod() < best_area:
            best, best_area = float(angle if sides[0] >= sides[1] else angle + np.pi / 2), sides.prod()
    return best


def _into(camera: Camera, frame: FloatArray) -> Camera:
    """The camera, in the coordinates of a `frame` `(4, 4)` of the base."""
    return replace(camera, camera_to_base=np.linalg.inv(frame) @ camera.camera_to_base)


def _distance_to(mesh: Mesh, points: FloatArray) -> FloatArray:
    """`(N,)` m, negative inside."""
    scene = open3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(
        open3d.core.Tensor(mesh.vertices.astype(np.float32)), open3d.core.Tensor(mesh.triangles.astype(np.uint32))
    )
    return np.asarray(scene.compute_signed_distance(open3d.core.Tensor(points.astype(np.float32))).numpy(), np.float64)
