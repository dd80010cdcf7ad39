"""Other colours on Gaussians, their texture kept: which of a scene are the table's, and what is painted on the rest."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from arena.contracts import FloatArray
from real2sim.splats.gaussians import ZEROTH_HARMONIC, Gaussians
from real2sim.twin.support import SupportPlane

TABLE_THICK = 0.04
"""Metres from the support plane within which a Gaussian is the table's."""
CENTRE = np.array([0.4, 0.0, 0.3])
"""Metres: backgrounds are painted as they are seen from the middle of where the arm works."""
LUMA = (0.299, 0.587, 0.114)


def on_table(scene: Gaussians, plane: SupportPlane) -> Tensor:
    """`(N,)` bool."""
    means = scene.means.double().numpy()
    return torch.from_numpy((np.abs(plane.distance(means)) < TABLE_THICK) & plane.covers(means))


def painted(scene: Gaussians, chosen: Tensor, color: FloatArray, strength: float) -> Gaussians:
    """Those of `chosen` `(N,)` in another `color` `(3,)`: each as much brighter or darker than it as it was than the
    mean of them. `strength` 0 changes nothing, 1 leaves no other hue."""
    now = base_colors(scene)
    if not bool(chosen.any()):
        return scene
    light = (now @ now.new_tensor(LUMA)).clamp(min=1e-3)
    wanted = (light / light[chosen].mean())[:, None] * now.new_tensor(color)
    mixed = (1 - strength) * now + strength * wanted
    return with_base_colors(scene, torch.where(chosen[:, None], mixed.clamp(0, 1), now))


def image_on_background(scene: Gaussians, plane: SupportPlane, picture: FloatArray, strength: float) -> Gaussians:
    """All that is not the table in the colours of `picture` `(H, W, 3)` in [0, 1], which is wrapped once around."""
    away = scene.means.double().numpy() - CENTRE
    azimuth = (np.arctan2(away[:, 1], away[:, 0]) / (2 * np.pi)) % 1
    elevation = np.arcsin(away[:, 2] / np.linalg.norm(away, axis=1).clip(1e-9)) / np.pi + 0.5
    rows = ((1 - elevation) * (picture.shape[0] - 1)).round().astype(int)
    columns = (azimuth * (picture.shape[1] - 1)).round().astype(int)
    wanted = torch.from_numpy(picture[rows, columns]).to(scene.means)
    now = base_colors(scene)
    mixed = (1 - strength) * now + strength * wanted
    return with_base_colors(scene, torch.where(on_table(scene, plane)[:, None], now, mixed))


def base_colors(scene: Gaussians) -> Tensor:
    """`(N, 3)` in about [0, 1]: the part that is the same from everywhere."""
    return scene.harmonics[:, 0] * ZEROTH_HARMONIC + 0.5


def with_base_colors(scene: Gaussians, colors: Tensor) -> Gaussians:
    harmonics = scene.harmonics.clone()
    harmonics[:, 0] = (colors - 0.5) / ZEROTH_HARMONIC
    return replace(scene, harmonics=harmonics)


def random_color(rng: np.random.Generator) -> FloatArray:
    """`(3,)`: any hue, neither pale nor dark."""
    return np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.3, 0.9), rng.uniform(0.4, 0.9)))


def random_picture(seed: int, height: int = 64, width: int = 128) -> FloatArray:
    """`(H, W, 3)` in [0, 1]: large and small blots of three colours that meet at its left and right edges."""
    rng = np.random.default_rng(seed)
    colors = np.stack([random_color(rng) for _ in range(3)])
    blots = np.zeros((3, height, width))
    for size in (2.0, 8.0):
        drawn = rng.normal(size=blots.shape)
        blots += gaussian_filter(drawn, (0, size, size), mode=("nearest", "nearest", "wrap")) * size
    weights = np.exp(3 * blots)
    return np.asarray(np.einsum("khw,kc->hwc", weights / weights.sum(axis=0), colors))
