"""Things that masks name, from what all their masks leave of space: their visual hulls (Laurentini 1994)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label

from arena.contracts import FloatArray
from real2sim.splats.views import View
from real2sim.twin.generated import ImageTo3D, fitted_into
from real2sim.twin.mesh import closed_surface
from real2sim.twin.objects import TwinObject, object_of
from real2sim.twin.support import SupportPlane, plane_frame

Masks = Sequence[Mapping[str, NDArray[np.bool_]]]
"""For each view, `(H, W)` of each thing that is seen in it."""
LEAST_VIEWS = 4
REACH, HIGHEST = 0.25, 0.4
"""Metres around where a thing's masks meet, and above the table, that are looked at."""
COARSE, FINE = 0.01, 0.004
MOST_OUTSIDE = 0.2
"""Share of the views of a point that may say that it is not of the thing: masks err."""
LEAST_CELLS = 8


def named_things(
    views: Sequence[View],
    plane: SupportPlane,
    masks: Masks,
    generator: ImageTo3D | None = None,
) -> list[TwinObject]:
    """A thing for every name that enough views show, with the name as its own (`red_block`), in the order of names.

    `masks` has a row for each of `views`. The surface is the hull's, or `generator`'s mesh fitted into it.
    """
    names = {name: None for each in masks for name in each}
    found: list[TwinObject] = []
    for name in names:
        seen = [(view, each[name]) for view, each in zip(views, masks, strict=True) if name in each]
        thing = _hull(name, seen, plane) if len(seen) >= LEAST_VIEWS else None
        # Two names of one thing: the first is kept.
        if thing is not None and without_named([thing], found):
            found.append(thing if generator is None else fitted_into(thing, generator, seen))
    return found


def without_named(things: Sequence[TwinObject], named: Sequence[TwinObject]) -> list[TwinObject]:
    """`things` but those that stand where a named one does: they are that."""
    return [thing for thing in things if not any(_same_place(thing, other) for other in named)]


def _same_place(first: TwinObject, second: TwinObject) -> bool:
    apart = np.linalg.norm(first.body_to_base[:2, 3] - second.body_to_base[:2, 3])
    return bool(apart < 0.5 * max(first.size[:2].max(), second.size[:2].max()))


def _hull(name: str, seen: Sequence[tuple[View, NDArray[np.bool_]]], plane: SupportPlane) -> TwinObject | None:
    """A named thing, upright on the plane; None where its masks do not meet."""
    upright = plane_frame(np.zeros(3), plane)
    upright[:3, 3] += upright[:3, :3] @ np.array([*(_meeting(seen, upright)[:2]), 0.0])
    low, high = np.array([-REACH, -REACH, 0.0]), np.array([REACH, REACH, HIGHEST])
    for voxel in (COARSE, FINE):
        field = _outside(seen, upright, low, high, voxel) - MOST_OUTSIDE
        solid = _largest(field < 0)
        if solid is None:
            return None
        cells = np.argwhere(solid)
        corner = low.copy()
        low = corner + voxel * (cells.min(0) - 2)
        high = corner + voxel * (cells.max(0) + 2)
        low[2] = 0.0
    assert solid is not None
    confined = np.where(solid, field, np.maximum(field, 0.5 * MOST_OUTSIDE))
    # A cell of air all around closes the surface, on the plane too.
    padded = np.pad(gaussian_filter(confined, 0.7), 1, constant_values=0.5)
    mesh = closed_surface(padded, corner - FINE, FINE)
    return object_of(re.sub(r"[^a-z0-9]+", "_", name).strip("_"), upright, mesh)


def _meeting(seen: Sequence[tuple[View, NDArray[np.bool_]]], upright: FloatArray) -> FloatArray:
    """`(3,)` m in the plane's frame: the point nearest to the rays through the middles of all masks (least squares)."""
    normal, right = np.zeros((3, 3)), np.zeros(3)
    for view, mask in seen:
        row, column = np.argwhere(mask).mean(0) + 0.5
        camera = view.camera
        ray = camera.camera_to_base[:3, :3] @ [(column - camera.cx) / camera.fx, (row - camera.cy) / camera.fy, 1.0]
        ray /= np.linalg.norm(ray)
        across = np.eye(3) - np.outer(ray, ray)
        normal += across
        right += across @ camera.camera_to_base[:3, 3]
    point = np.linalg.solve(normal + 1e-9 * np.eye(3), right)
    return np.asarray((point - upright[:3, 3]) @ upright[:3, :3])


def _outside(
    seen: Sequence[tuple[View, NDArray[np.bool_]]], upright: FloatArray, low: FloatArray, high: FloatArray, voxel: float
) -> FloatArray:
    """For each cell of a grid, the share of the views of it that do not have it in their mask; 1 where none has it."""
    axes = [np.arange(a, b + voxel / 2, voxel) for a, b in zip(low, high, strict=True)]
    cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    points = cells @ upright[:3, :3].T + upright[:3, 3]
    told, outside = np.zeros(len(points)), np.zeros(len(points))
    for view, mask in seen:
        row, column, depth = view.camera.cells(points)
        known = (depth > 0) & view.mask[row, column]
        told += known
        outside += known & ~mask[row, column]
    share = np.where(told > 0, outside / np.maximum(told, 1), 1.0)
    return np.asarray(share.reshape([len(axis) for axis in axes]))


def _largest(solid: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The largest connected part, if there is one to speak of."""
    parts, count = label(solid)
    if not count:
        return None
    sizes = np.bincount(parts.ravel())[1:]
    return np.asarray(parts == sizes.argmax() + 1) if sizes.max() >= LEAST_CELLS else None
