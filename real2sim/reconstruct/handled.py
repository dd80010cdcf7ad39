"""Where on the table an episode says that a thing may have stood: where something moved, and where the hand took it."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import center_of_mass, label

from arena.contracts import FloatArray
from real2sim.reconstruct.moved import Moved
from real2sim.splats.planar import plane_grid
from real2sim.twin.support import SupportPlane

CELL = 0.01
"""Metres of the table that are asked about together."""
HEIGHTS = (0.01, 0.03, 0.05)
"""Metres above it at which all cameras have to see that something moved: what is in one's line of sight alone, or a
shadow on the table, is not there at all of them."""
LARGEST = 0.16
"""Metres across: what moved on a larger part of the table was seen by too few cameras to say where."""
UNDER = 0.15
"""Metres below closing fingertips that a thing's foot may be: what is higher was no table's."""


def handled_places(plane: SupportPlane, moved: Moved, taken: FloatArray) -> FloatArray:
    """`(K, 3)` m, points of the plane: under fingertips that were at `taken` `(K, 3)` m as the hand closed, and in the
    middle of each patch on which something `moved`."""
    above = plane.distance(taken)
    held = taken - above[:, None] * plane.normal
    near = (np.abs(above) < UNDER) & plane.covers(taken)
    return np.concatenate([held[near], _patches(plane, moved)])


def _patches(plane: SupportPlane, moved: Moved) -> FloatArray:
    points, _ = plane_grid(plane.normal, plane.height, plane.outline, CELL)
    flat = points.reshape(-1, 3)
    there = plane.covers(flat)
    for height in HEIGHTS:
        there[there] = moved.there(flat[there] + height * plane.normal)
    patches, count = label(there.reshape(points.shape[:2]))
    numbers = np.arange(1, count + 1)
    sizes = np.bincount(patches.ravel(), minlength=count + 1)[1:] * CELL**2
    middles = np.array(center_of_mass(patches > 0, patches, numbers)).reshape(-1, 2)
    kept = (sizes >= 4 * CELL**2) & (sizes <= LARGEST**2)
    row, column = np.rint(middles[kept]).astype(int).T
    return np.asarray(points[row, column])
