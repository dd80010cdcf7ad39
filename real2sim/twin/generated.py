"""Meshes from an image-to-3D generator: an optional plug-in, fitted into what the masks say of the thing.

A generator is a function that a package of anybody's declares as an entry point of the group
`dreamarena.image_to_3d`; `--generator NAME` uses it. What it answers is checked before it is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray, Frames, InvalidInput
from real2sim.splats.planar import pixel_rays
from real2sim.splats.views import View
from real2sim.twin.library import open3d
from real2sim.twin.mesh import Mesh
from real2sim.twin.objects import TwinObject, object_of

GROUP = "dreamarena.image_to_3d"
TURNS, SCALES, JUDGED_VIEWS = 24, (0.7, 0.8, 0.9, 1.0, 1.1), 8
MOST_TRIANGLES = 200_000


class ImageTo3D(Protocol):
    """A thing's mesh from one picture of it."""

    def __call__(self, picture: Frames, mask: NDArray[np.bool_]) -> Mesh:
        """A closed surface with z up, of any scale and turned about z in any way, from a picture `(H, W, 3)` uint8 and
        the thing's mask `(H, W)`."""
        ...


def find_generator(name: str) -> ImageTo3D:
    """The generator that an installed package declares by this name. Raises `InvalidInput` where none does."""
    generator: ImageTo3D = _declared(name).load()
    return generator


def version_of(name: str) -> str:
    """Of the package that declares a generator, which is not asked to load. Raises `InvalidInput` as
    `find_generator` does."""
    package = _declared(name).dist
    return "" if package is None else f"{package.name} {package.version}"


def _declared(name: str) -> EntryPoint:
    known = {point.name: point for point in entry_points(group=GROUP)}
    if name not in known:
        installed = ", ".join(sorted(known)) or "none"
        raise InvalidInput(f"no installed package declares an image-to-3D generator {name!r} ({GROUP}: {installed})")
    return known[name]


def fitted_into(
    thing: TwinObject,
    generator: ImageTo3D,
    seen: Sequence[tuple[View, NDArray[np.bool_]]],
) -> TwinObject:
    """`thing` with the generator's mesh for its hull, turned and scaled as its masks agree with best.

    It stands where the hull stands. Raises `InvalidInput` for a mesh that is none.
    """
    largest = sorted(seen, key=lambda each: -int(each[1].sum()))
    view, mask = largest[0]
    mesh = _checked(generator(view.image, mask))
    bottom, top = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    mesh = Mesh(mesh.vertices - (bottom + top) / 2, mesh.triangles)
    unit = float(np.cbrt(thing.size.prod() / np.prod(top - bottom)))
    floor = -thing.size[2] / 2
    tried = [_placed(mesh, unit * scale, 2 * np.pi * turn / TURNS, floor) for scale in SCALES for turn in range(TURNS)]
    judges = [(view, mask, open3d.core.Tensor(_rays(view))) for view, mask in largest[:JUDGED_VIEWS]]
    scores = [_agreement(each, thing, judges) for each in tried]
    return object_of(thing.name, thing.body_to_base, tried[int(np.argmax(scores))], thing.mass)


def _checked(mesh: Mesh) -> Mesh:
    vertices, triangles = np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.triangles)
    if vertices.ndim != 2 or vertices.shape[1:] != (3,) or len(vertices) < 4 or not np.isfinite(vertices).all():
        raise InvalidInput(f"the image-to-3D generator's vertices must be finite (V, 3), not {vertices.shape}")
    whole = triangles.ndim == 2 and triangles.shape[1:] == (3,) and np.issubdtype(triangles.dtype, np.integer)
    if not whole or not 4 <= len(triangles) <= MOST_TRIANGLES:
        raise InvalidInput(
            f"the image-to-3D generator's triangles must be integers (F, 3), at most "
            f"{MOST_TRIANGLES}, not {triangles.shape}"
        )
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise InvalidInput("the image-to-3D generator's triangles name vertices that it does not have")
    closed = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(vertices), open3d.utility.Vector3iVector(triangles)
    )
    closed.merge_close_vertices(1e-6 * float(np.ptp(vertices, axis=0).max()))
    if not closed.is_watertight():
        raise InvalidInput("the image-to-3D generator's mesh has holes: a thing needs a closed surface")
    closed.orient_triangles()
    found = Mesh(np.asarray(closed.vertices).copy(), np.asarray(closed.triangles).astype(np.int64))
    return found if found.volume > 0 else Mesh(found.vertices, found.triangles[:, ::-1])


def _placed(mesh: Mesh, scale: float, turn: float, floor: float) -> Mesh:
    """Scaled, turned about z, and standing on `floor`."""
    cosine, sine = np.cos(turn), np.sin(turn)
    vertices = scale * mesh.vertices @ np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    vertices[:, 2] += floor - vertices[:, 2].min()
    return Mesh(vertices, mesh.triangles)


def _agreement(mesh: Mesh, thing: TwinObject, judges: Sequence[tuple[View, NDArray[np.bool_], Any]]) -> float:
    """Mean intersection over union of the mesh's outline with the masks, each with its view and that view's rays."""
    scene = open3d.t.geometry.RaycastingScene(nthreads=1)
    vertices = mesh.vertices @ thing.body_to_base[:3, :3].T + thing.body_to_base[:3, 3]
    scene.add_triangles(
        open3d.core.Tensor(vertices.astype(np.float32)), open3d.core.Tensor(mesh.triangles.astype(np.uint32))
    )
    shares = []
    for view, mask, rays in judges:
        hit = np.isfinite(scene.cast_rays(rays)["t_hit"].numpy())
        drawn = hit.reshape(mask.shape) & view.mask
        shares.append((drawn & mask).sum() / max(int((drawn | mask).sum()), 1))
    return float(np.mean(shares))


def _rays(view: View) -> FloatArray:
    """`(H * W, 6)` float32: origins and directions in the base frame."""
    toward = pixel_rays(view.camera).reshape(-1, 3)
    start = np.broadcast_to(view.camera.camera_to_base[:3, 3], toward.shape)
    return np.concatenate([start, toward], axis=1).astype(np.float32)
