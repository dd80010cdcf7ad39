"""What lies below a table's edge: it moves against the table from view to view, as a thing on it does.

Where a table ends, photographs of the floor beside it disagree about the table's plane, and a solid can make them agree
by chance. But then a floor further down makes them agree better: all photographs look alike there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arena.contracts import FloatArray
from real2sim.splats.planar import pixel_rays
from real2sim.splats.views import View
from real2sim.twin.photos import Photo, others
from real2sim.twin.solid_fit import FittedSolid
from real2sim.twin.support import SupportPlane

NEAREST, FURTHEST, DEPTHS = 0.2, 1.2, 24
"""Metres below the table between which a floor is looked for. Nearer the table, what stands on it looks alike too."""
KNOWN = 0.3
"""Of a solid's pixels, the share that others have to show on a floor for it to be a floor."""
DETAIL, MOST_PIXELS = 0.02, 60
"""Metres of a floor that are one, and pixels of each view that are asked."""


class Below:
    """What photographs show under a table's plane, or beside it. Colours further apart than `unlike` are of different
    points, as where the solids were fitted: their costs are compared."""

    def __init__(self, views: Sequence[View], plane: SupportPlane, unlike: float) -> None:
        self._views, self._plane, self._unlike = views, plane, unlike
        self._pictures = [Photo.of(view, DETAIL) for view in views]

    def explains(self, fit: FittedSolid) -> bool:
        """Whether the pixels that show a solid agree better about a level floor below the table."""
        origins, directions, owner = self._showing(fit)
        normal, height = self._plane.normal, self._plane.height
        down = directions @ normal
        ahead = down < -1e-3
        origins, directions, owner, down = origins[ahead], directions[ahead], owner[ahead], down[ahead]
        if not len(owner):
            return False
        costs = [
            self._cost(origins + ((height - depth - origins @ normal) / down)[:, None] * directions, owner)
            for depth in np.geomspace(NEAREST, FURTHEST, DEPTHS)
        ]
        return min(costs) < fit.cost

    def _showing(self, fit: FittedSolid) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Origins and directions `(N, 3)` of rays that meet a solid, and whose view each is, `(N,)`."""
        turn, place = fit.plane_to_base[:3, :3], fit.plane_to_base[:3, 3]
        origins, directions, owner = [], [], []
        for index, view in enumerate(self._views):
            rays, eye = pixel_rays(view.camera)[view.mask], view.camera.camera_to_base[:3, 3]
            local = rays @ turn
            hit, _ = fit.solid.hit(np.tile((eye - place) @ turn, (len(rays), 1)), local)
            shown = rays[hit][:: max(1, int(hit.sum()) // MOST_PIXELS)]
            origins.append(np.tile(eye, (len(shown), 1)))
            directions.append(shown)
            owner.append(np.full(len(shown), index))
        return np.concatenate(origins), np.concatenate(directions), np.concatenate(owner)

    def _cost(self, points: FloatArray, owner: FloatArray) -> float:
        """How much photographs disagree in the mean about points `(N, 3)` m of a floor, in parts of the most that they
        can; infinite where too few show them."""
        samples = np.stack([picture.colors(points) for picture in self._pictures])
        column = np.arange(len(points))
        squared = ((samples - others(samples)) ** 2).sum(axis=-1)[owner, column] / self._unlike**2
        known = np.isfinite(squared)
        return float(np.minimum(squared[known], 1).mean()) if known.mean() >= KNOWN else float("inf")
