"""A solid under which the patches of all cameras are its outline: what stands there, or floats, and how large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from arena.contracts import FloatArray
from real2sim.camera import Camera
from real2sim.rig.sights import Sight, Spotted
from real2sim.twin.solid_fit import FittedSolid
from real2sim.twin.solids import SHAPES, Shape, Solid
from real2sim.twin.support import SupportPlane, plane_frame

DRAWS, ELITE, ROUNDS = 24, 6, 10
SMALLEST, LARGEST = 0.015, 0.2
SIMPLER = 0.02
"""What a shape with more freedom has to agree better by (of 1): a ball before a cylinder, a cylinder before a box."""
STANDING = 0.012
"""Metres between a thing and the table below which it stands on it."""


@dataclass(frozen=True)
class Outlined:
    """A solid, `floating` or on the table, and its mean intersection over union with the patches."""

    fit: FittedSolid
    floating: bool
    agreement: float


@dataclass(frozen=True)
class Patch:
    """Pixels around a thing: rays `(N, 3)` through their middles in the plane's frame, which of the `N` are `mine` and
    which say nothing, because the robot or something else is there."""

    origin: FloatArray
    rays: FloatArray
    mine: NDArray[np.bool_]
    silent: NDArray[np.bool_]

    def agreement(self, solid: Solid, lifted: float) -> float:
        """Intersection over union."""
        origins = np.broadcast_to(self.origin - [0, 0, lifted], self.rays.shape)
        hit, mine = solid.hit(origins, self.rays)[0][~self.silent], self.mine[~self.silent]
        return float((hit & mine).sum() / max(int((hit | mine).sum()), 1))


def patch(camera: Camera, frame: FloatArray, mine: NDArray[np.bool_], silent: NDArray[np.bool_]) -> Patch:
    """Of a picture: what is within 1.5 times of the patch, in the frame `(4, 4)` of the plane."""
    rows, columns = np.nonzero(mine)
    reach = max(6, int(0.75 * max(np.ptp(rows), np.ptp(columns))))
    height, width = mine.shape
    window = (slice(max(rows.min() - reach, 0), min(rows.max() + reach + 1, height)),
              slice(max(columns.min() - reach, 0), min(columns.max() + reach + 1, width)))  # fmt: skip
    down, across = np.mgrid[window]
    x, y = (across + 0.5 - camera.cx) / camera.fx, (down + 0.5 - camera.cy) / camera.fy
    rays = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
    turn = camera.camera_to_base[:3, :3].T @ frame[:3, :3]
    origin = (camera.camera_to_base[:3, 3] - frame[:3, 3]) @ frame[:3, :3]
    return Patch(origin, rays @ turn, mine[window].ravel(), silent[window].ravel())


def outline(spotted: Spotted, sights: Mapping[str, Sight], plane: SupportPlane, seed: int = 0) -> Outlined:
    """The solid that explains a thing's patches best."""
    frame = plane_frame(spotted.place, plane)
    patches = []
    for name, blob in spotted.blobs.items():
        sight = sights[name]
        others = sight.changed & ~binary_dilation(blob.pixels)
        patches.append(patch(sight.camera, frame, blob.pixels, ~sight.known | others))
    height = float(plane.distance(spotted.place[None])[0])
    found = []
    for rank, shape in enumerate(reversed(SHAPES)):
        for floating in (False, True) if shape == "ellipsoid" else (False,):
            if floating and height < STANDING:
                continue
            solid, lifted, agreement = _search(shape, floating, height, patches, seed)
            if floating and lifted < STANDING:
                continue
            stood = plane_frame(spotted.place, plane)
            stood[:3, 3] += lifted * plane.normal
            found.append(
                (
                    agreement - SIMPLER * rank,
                    Outlined(FittedSolid(solid, stood, agreement, len(patches)), floating, agreement),
                )
            )
    return max(found, key=lambda each: each[0])[1]


def placed(
    shape: Solid, start: FloatArray, patches_of: Sequence[Patch], frame: FloatArray, seed: int = 0
) -> tuple[FloatArray, float]:
    """Where a known solid is `(3,)` m (its box's middle), near `start`, and how well that agrees."""
    rng = np.random.default_rng(seed)
    at = (start - frame[:3, 3]) @ frame[:3, :3]
    mean, spread = at, np.full(3, 0.03)

    def cost(values: FloatArray) -> float:
        solid = replace(shape, x=float(values[0]), y=float(values[1]))
        return 1 - float(np.mean([each.agreement(solid, float(values[2]) - shape.height / 2) for each in patches_of]))

    best = (cost(at), at)
    for _ in range(2 * ROUNDS):
        drawn = mean + spread * rng.standard_normal((2 * DRAWS, 3))
        drawn[0] = best[1]
        costs = np.array([cost(each) for each in drawn])
        order = np.argsort(costs)[: 2 * ELITE]
        mean, spread = drawn[order].mean(axis=0), 1.1 * drawn[order].std(axis=0) + 5e-4
        best = min(best, (float(costs[order[0]]), drawn[order[0]]), key=lambda each: each[0])
    return frame[:3, :3] @ best[1] + frame[:3, 3], 1 - best[0]


def _search(
    shape: Shape, floating: bool, height: float, patches: Sequence[Patch], seed: int
) -> tuple[Solid, float, float]:
    """Cross-entropy method, then Nelder and Mead's, over place, turn, size and, where it floats, height."""
    rng = np.random.default_rng(seed)
    mean = np.array([0.0, 0.0, 0.0, 0.045, 0.045, 0.045, max(height - 0.02, 0.0) if floating else 0.0])
    spread = np.array([0.01, 0.01, 0.6, 0.015, 0.015, 0.015, 0.02 if floating else 0.0])

    def cost(values: FloatArray) -> float:
        solid, lifted = _made(shape, values)
        return 1 - float(np.mean([each.agreement(solid, lifted) for each in patches]))

    best = (np.inf, mean)
    for _ in range(ROUNDS):
        drawn = mean + spread * rng.standard_normal((DRAWS, 7))
        drawn[0] = best[1]
        costs = np.array([cost(each) for each in drawn])
        order = np.argsort(costs)[:ELITE]
        mean, spread = drawn[order].mean(axis=0), 0.95 * drawn[order].std(axis=0) + 3e-4
        if not floating:
            mean[6] = spread[6] = 0.0
        best = min(best, (float(costs[order[0]]), drawn[order[0]]), key=lambda each: each[0])
    solid, lifted = _made(shape, best[1])
    return solid, lifted, 1 - best[0]


def _made(shape: Shape, values: FloatArray) -> tuple[Solid, float]:
    width, length, height = np.clip(values[3:6], SMALLEST, LARGEST)
    lifted = max(float(values[6]), 0.0)
    if shape == "box":
        return Solid(shape, values[0], values[1], values[2], width, length, height), lifted
    if shape == "cylinder":
        return Solid(shape, values[0], values[1], 0.0, width, width, height), lifted
    return Solid(shape, values[0], values[1], 0.0, width, width, width), lifted
