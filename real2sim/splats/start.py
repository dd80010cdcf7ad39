"""Where a fit starts: Gaussians at given points, or at points drawn along the pixels' rays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree

from arena.contracts import FloatArray, InvalidInput
from real2sim.splats.gaussians import ZEROTH_HARMONIC, Gaussians
from real2sim.splats.views import View, unproject

FIRST_OPACITY = 0.1
_MIN_SPACING = 1e-4
"""Metres: points that coincide still have a size."""


def start_from_points(points: FloatArray, colors: FloatArray, degree: int, opacity: float = FIRST_OPACITY) -> Gaussians:
    """Round Gaussians at `points` `(N, 3)` m with `colors` `(N, 3)` in [0, 1], as 3DGS starts from a sparse cloud.

    Points that are known want a higher `opacity` than 3DGS's 0.1: in a short fit faint ones stay a fog.

    Each is as large as the root mean square distance to its three nearest neighbours. Raises `InvalidInput` for
    fewer than four points, and for numbers that are not finite.
    """
    points, colors = np.asarray(points, np.float32), np.asarray(colors, np.float32)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < 4 or colors.shape != points.shape:
        raise InvalidInput(f"a scene starts from (N, 3) points and colours, N > 3, not {points.shape} {colors.shape}")
    if not (np.isfinite(points).all() and np.isfinite(colors).all()):
        raise InvalidInput("the points that a scene starts from hold NaN or infinite numbers")
    neighbours = np.asarray(cKDTree(points).query(points, k=4)[0])[:, 1:]
    spacing = np.sqrt((neighbours**2).mean(axis=1)).clip(min=_MIN_SPACING).astype(np.float32)
    harmonics = torch.zeros(len(points), (degree + 1) ** 2, 3)
    harmonics[:, 0] = (torch.from_numpy(colors) - 0.5) / ZEROTH_HARMONIC
    return Gaussians(
        means=torch.from_numpy(points),
        quaternions=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(len(points), 1),
        log_scales=torch.from_numpy(np.log(spacing))[:, None].repeat(1, 3),
        opacity_logits=torch.full((len(points),), float(np.log(opacity / (1 - opacity)))),
        harmonics=harmonics,
    )


def random_points(
    views: Sequence[View], count: int, near: float, far: float, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Points `(count, 3)` and their pixels' colours: along rays of unmasked pixels, uniform in inverse depth.

    `near` and `far` are depths in m. Every view has as many points as any other, so that a moving camera with many
    frames does not crowd out a static one with few.
    """
    if not 0 < near < far:
        raise InvalidInput(f"depths must satisfy 0 < near < far, not {near} and {far}")
    draw = np.random.default_rng(seed)
    points, colors = [], []
    for part, view in zip(np.array_split(np.arange(count), len(views)), views, strict=True):
        rows, columns = np.nonzero(view.mask)
        chosen = draw.integers(len(rows), size=len(part))
        depths = 1 / draw.uniform(1 / far, 1 / near, size=len(part))
        pixels = np.stack([columns[chosen], rows[chosen]], axis=1) + draw.uniform(size=(len(part), 2))
        points.append(unproject(view.camera, pixels, depths))
        colors.append(view.image[rows[chosen], columns[chosen]] / 255)
    return np.concatenate(points), np.concatenate(colors)
