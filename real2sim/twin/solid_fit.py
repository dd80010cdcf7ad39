"""One solid fitted to photographs: the box, cylinder or ellipsoid under which all views agree about every point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from arena.contracts import FloatArray, InvalidInput
from real2sim.splats.planar import pixel_rays
from real2sim.splats.views import View
from real2sim.twin.solids import SHAPES, Shape, Solid
from real2sim.twin.support import SupportPlane, plane_frame

UNEXPLAINED = 0.25
"""Cost of a pixel whose point no other view shows, in parts of the most that a pixel costs."""
_REGION, _CELLS, _ANGLES = 25, 20, 24
"""Cells from the middle that the table is looked at, cells across a top, parts of a side all around."""
_MOVES = np.array([0.015, 0.015, 0.8, 0.02, 0.02, 0.02])
"""Standard deviations that solids are first drawn with: x, y (m), yaw (rad), width, length, height (m)."""


@dataclass(frozen=True)
class ThingSettings:
    """Metres and colours in [0, 1]. Colours further than `unlike` from each other are of different points. Things are
    between `smallest` and `largest` along each side and shown by `min_views`. A solid has to make the pixels that show
    it cheaper by `gain` of the most that they can cost. `draws` solids are tried in each of `rounds`.
    """

    unlike: float = 0.15
    differs: float = 0.1
    cell: float = 0.01
    heights: tuple[float, ...] = (0.015, 0.03, 0.045, 0.06)
    evidence: float = 0.3
    places: int = 24
    apart: float = 0.06
    min_views: int = 3
    around: float = 0.1
    smallest: float = 0.02
    largest: float = 0.16
    start: float = 0.055
    pixels: int = 14000
    views: int = 24
    draws: int = 32
    elite: int = 7
    rounds: int = 12
    worth: float = 0.1
    gain: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.smallest < self.start < self.largest or self.cell <= 0 or not self.heights:
            raise InvalidInput("things need sizes 0 < smallest < start < largest, a positive cell, and heights")
        if not 2 <= self.elite < self.draws or self.views < 2 or self.min_views < 2:
            raise InvalidInput("things need two views or more, and more draws than are kept of them")


@dataclass(frozen=True)
class FittedSolid:
    """A `solid` in the plane's frame `plane_to_base` `(4, 4)`; `gain` is how much cheaper it makes each pixel that
    shows it, in parts of the most that a pixel can cost, and `cost` what such a pixel then costs in the mean; `views`
    show it."""

    solid: Solid
    plane_to_base: FloatArray
    gain: float
    views: int
    cost: float = 0.0


def fit_solid(
    place: FloatArray,
    views: Sequence[View],
    plane: SupportPlane,
    settings: ThingSettings,
    stands: Callable[[Solid, FloatArray], bool],
) -> FittedSolid | None:
    """The solid near `place` `(3,)` m that makes all views agree best, of those that `stands` says would stay there
    (of a solid, and the plane's frame `(4, 4)` that it is in); None where too few views show that place."""
    # First roughly where it is, so that the views and pixels that are then looked at are those around it.
    frame = plane_frame(place, plane)
    rough = replace(settings, pixels=settings.pixels // 3, rounds=settings.rounds // 2)
    pixels = _Pixels.near(frame, views, rough)
    if pixels is None:
        return None
    _, roughly = _search("cylinder", pixels, rough, 1.5)
    if _gain(roughly, pixels) < settings.worth:
        return None
    frame = plane_frame((frame @ [roughly.x, roughly.y, 0, 1])[:3], plane)
    pixels = _Pixels.near(frame, views, settings)
    if pixels is None:
        return None
    ranked = sorted((_search(shape, pixels, settings, 1.0) for shape in SHAPES), key=lambda one: one[0])
    solid = next((solid for _, solid in ranked if stands(solid, frame)), None)
    if solid is None:
        return None
    hit, _ = solid.hit(pixels.origins, pixels.directions)
    showing = len(np.unique(pixels.view[hit]))
    if showing < settings.min_views:
        return None
    return FittedSolid(solid, frame, _gain(solid, pixels), showing, float(pixels.costs(solid)[0][hit].mean()))


def explains_better(first: FittedSolid, second: FittedSolid, views: Sequence[View], settings: ThingSettings) -> bool:
    """Whether the first of two solids in one place gains more for each pixel that shows it, of the pixels around both.
    Their own gains do not tell: each is of other pixels."""
    regions = [(each.plane_to_base, _Pixels.near(each.plane_to_base, views, settings)) for each in (first, second)]
    gains = []
    for fit in (first, second):
        parts = [_saved(_moved(fit, frame), pixels) for frame, pixels in regions if pixels is not None]
        saved, showing = np.sum(parts, axis=0) if parts else (0.0, 0)
        gains.append(saved / max(showing, 1))
    return bool(gains[0] > gains[1])


def _moved(fit: FittedSolid, frame: FloatArray) -> Solid:
    """Its solid in another frame of the same plane."""
    x, y, _, _ = np.linalg.inv(frame) @ fit.plane_to_base @ [fit.solid.x, fit.solid.y, 0, 1]
    return replace(fit.solid, x=float(x), y=float(y))


def _gain(solid: Solid, pixels: _Pixels) -> float:
    """How much cheaper a solid makes each pixel that shows it."""
    saved, showing = _saved(solid, pixels)
    return saved / max(showing, 1)


def _saved(solid: Solid, pixels: _Pixels) -> tuple[float, int]:
    """How much cheaper a solid makes all pixels, and how many show it. One whose point no other view shows confirms
    nothing: a solid with many sides, each seen from one place, would explain anything."""
    hit, _ = solid.hit(pixels.origins, pixels.directions)
    (without, _), (costs, alone) = pixels.costs(None), pixels.costs(solid)
    return float((without - costs)[~(hit & alone)].sum()), int(hit.sum())


@dataclass(frozen=True)
class _Pixels:
    """The pixels of several views around one place, in the plane's frame there. `(N, 3)` `origins`, `directions` and
    `colors`; `(N,)` `view` and `cell`, the table's cell behind each, -1 outside of the region."""

    origins: FloatArray
    directions: FloatArray
    colors: FloatArray
    view: NDArray[np.int64]
    cell: NDArray[np.int64]
    settings: ThingSettings

    @classmethod
    def near(cls, frame: FloatArray, views: Sequence[View], settings: ThingSettings) -> _Pixels | None:
        chunks = [chunk for view in views if (chunk := _rays_near(frame, view, settings)) is not None]
        # The views that show the most of it.
        chunks = sorted(chunks, key=lambda chunk: -len(chunk[0]))[: settings.views]
        if len(chunks) < settings.min_views:
            return None
        origins, directions, colors = (np.concatenate(part) for part in zip(*chunks, strict=True))
        view = np.repeat(np.arange(len(chunks)), [len(chunk[0]) for chunk in chunks])
        chosen = np.sort(np.random.default_rng(settings.seed).permutation(len(view))[: settings.pixels])
        origins, directions, colors, view = origins[chosen], directions[chosen], colors[chosen], view[chosen]
        foot = origins[:, :2] - origins[:, 2:] / directions[:, 2:] * directions[:, :2]
        at = np.floor(foot / settings.cell).astype(np.int64) + _REGION
        inside = (at >= 0).all(axis=1) & (at < 2 * _REGION).all(axis=1)
        cell = np.where(inside, at[:, 0] * 2 * _REGION + at[:, 1], -1)
        return cls(origins, directions, colors, view, cell, settings)

    def cost(self, solid: Solid | None) -> float:
        """Of all pixels together."""
        return float(self.costs(solid)[0].sum())

    def costs(self, solid: Solid | None) -> tuple[FloatArray, NDArray[np.bool_]]:
        """`(N,)` each: a pixel's cost, at most 1: the squared difference to the mean of what other views show of its
        point; and whether none does."""
        cell = self.cell
        if solid is not None:
            hit, where = solid.hit(self.origins, self.directions)
            cell = cell.copy()
            cell[hit] = 4 * _REGION**2 + _surface_cell(solid, where, self.settings.cell)
        inside = cell >= 0
        cells = 4 * _REGION**2 + _CELLS**2 + _ANGLES * _CELLS
        key = self.view[inside] * cells + cell[inside]
        views = int(self.view[-1]) + 1
        colors = self.colors[inside]
        count = np.bincount(key, minlength=views * cells)
        sums = np.stack([np.bincount(key, colors[:, c], views * cells) for c in range(3)], axis=1)
        mean = sums / np.maximum(count, 1)[:, None]
        shown = (count > 0).reshape(views, cells).sum(axis=0)
        total = mean.reshape(views, cells, 3).sum(axis=0)
        expected = (total[cell[inside]] - mean[key]) / np.maximum(shown[cell[inside]] - 1, 1)[:, None]
        alone = np.ones(len(cell), bool)
        alone[inside] = shown[cell[inside]] < 2
        costs = np.full(len(cell), UNEXPLAINED)
        squared = ((colors - expected) ** 2).sum(axis=1) / self.settings.unlike**2
        costs[inside] = np.where(alone[inside], UNEXPLAINED, np.minimum(squared, 1))
        return costs, alone


def _rays_near(
    frame: FloatArray, view: View, settings: ThingSettings
) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """Origins, directions, colours `(N, 3)` of the pixels that show what is near the frame's origin."""
    rays = pixel_rays(view.camera) @ frame[:3, :3]
    position = (view.camera.camera_to_base[:3, 3] - frame[:3, 3]) @ frame[:3, :3]
    safe = np.where(np.abs(rays[..., 2]) < 1e-6, 1e-6, rays[..., 2])
    near = np.zeros(view.mask.shape, bool)
    for height in (0.0, settings.around / 2, settings.around):
        depth = (height - position[2]) / safe
        spot = position[:2] + depth[..., None] * rays[..., :2]
        near |= (depth > 0) & (np.linalg.norm(spot, axis=-1) < settings.around)
    near &= view.mask & (rays[..., 2] < 0)
    # A sliver of the place says nothing of a thing there.
    if near.sum() < 20 or position[2] <= settings.around:
        return None
    directions = rays[near]
    return np.tile(position, (len(directions), 1)), directions, view.image[near] / 255


def _surface_cell(solid: Solid, where: FloatArray, cell: float) -> NDArray[np.int64]:
    """`(M,)`: cells of the top by place, of the sides by angle and height."""
    metres = where * solid.size / 2
    top = where[:, 2] > (0 if solid.shape == "ellipsoid" else 1 - 1e-6)
    across = np.clip(np.floor(metres[:, :2] / cell).astype(np.int64) + _CELLS // 2, 0, _CELLS - 1)
    angle = np.floor((np.arctan2(where[:, 1], where[:, 0]) / (2 * np.pi) + 0.5) * _ANGLES).astype(np.int64) % _ANGLES
    level = np.clip(np.floor((metres[:, 2] + solid.height / 2) / cell).astype(np.int64), 0, _CELLS - 1)
    return np.where(top, across[:, 0] * _CELLS + across[:, 1], _CELLS**2 + angle * _CELLS + level)


def _search(shape: Shape, pixels: _Pixels, settings: ThingSettings, wide: float) -> tuple[float, Solid]:
    """The best solid of a shape by the cross-entropy method, first `wide` times as far as usual, then Nelder and
    Mead's."""
    rng = np.random.default_rng(settings.seed)
    mean = np.array([0.0, 0.0, 0.0, settings.start, settings.start, settings.start])
    spread = wide * _MOVES
    best = (np.inf, mean)
    for _ in range(settings.rounds):
        drawn = mean + spread * rng.standard_normal((settings.draws, 6))
        drawn[0] = best[1]
        costs = np.array([pixels.cost(_solid(shape, one, settings)) for one in drawn])
        order = np.argsort(costs)[: settings.elite]
        mean, spread = drawn[order].mean(axis=0), 0.9 * drawn[order].std(axis=0) + 2e-4
        best = min(best, (float(costs[order[0]]), drawn[order[0]]), key=lambda one: one[0])
    free = [0, 1, 2, 3, 4, 5] if shape == "box" else [0, 1, 3, 5]
    simplex = np.tile(best[1][free], (len(free) + 1, 1))
    simplex[1:] += np.diag(np.array([0.002, 0.002, 0.1, 0.003, 0.003, 0.003])[free])

    def cost(values: FloatArray) -> float:
        whole = best[1].copy()
        whole[free] = values
        return pixels.cost(_solid(shape, whole, settings))

    found = minimize(cost, best[1][free], method="Nelder-Mead", options={"initial_simplex": simplex, "maxfev": 80})
    whole = best[1].copy()
    whole[free] = found.x
    return float(found.fun), _solid(shape, whole, settings)


def _solid(shape: Shape, values: FloatArray, settings: ThingSettings) -> Solid:
    """Round shapes have one width: seen from a few sides, an oval one would fit anything."""
    width, length, height = np.clip(values[3:], settings.smallest, settings.largest)
    if shape == "box":
        return Solid(shape, values[0], values[1], values[2], width, length, height)
    return Solid(shape, values[0], values[1], 0.0, width, width, height)
