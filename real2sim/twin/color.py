"""What a real camera does to colours, as far as a gain and an offset per channel can say it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena.contracts import FloatArray, InvalidInput

_ROUNDS = 20
_HUBER = 1.345
"""In robust standard deviations: 95% as efficient as least squares where errors are Gaussian (Huber 1981)."""
_FLOOR = 1 / 255
"""Differences below one level are rounding."""
_SATURATED = 0.49
"""Colours further than this from 0.5 were cut by the camera."""
MIN_PIXELS = 50
MAX_SAMPLES = 200_000


@dataclass(frozen=True)
class ColorResponse:
    """`gain` and `offset`, three each: a colour in [0, 1] becomes `gain * color + offset`, cut to [0, 1]."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def apply(self, color: Tensor) -> Tensor:
        """`(..., 3)` in [0, 1] to the same."""
        return (color * color.new_tensor(self.gain) + color.new_tensor(self.offset)).clamp(0, 1)


def fit_color_response(rendered: FloatArray, photographed: FloatArray, mask: NDArray[np.bool_]) -> ColorResponse:
    """The response that takes rendered colours to photographed ones, both `(..., 3)` in [0, 1], where `mask` is true.

    Least squares with Huber's weights, repeated until they settle, so a minority of pixels that show something else
    (a shadow, an edge that is off by a pixel) has little say. A saturated pixel says only that its colour is at least
    (or at most) so much. A channel without contrast gets an offset only. Raises `InvalidInput` for fewer than 50
    usable pixels.
    """
    if rendered.shape != photographed.shape or rendered.shape[:-1] != mask.shape or rendered.shape[-1] != 3:
        raise InvalidInput(f"colours of shape {rendered.shape}, {photographed.shape} and {mask.shape} do not match")
    usable = mask & np.isfinite(rendered).all(axis=-1)
    given, wanted = rendered[usable].astype(np.float64), photographed[usable].astype(np.float64)
    if (count := int((np.abs(wanted - 0.5) < _SATURATED).all(axis=-1).sum())) < MIN_PIXELS:
        raise InvalidInput(f"a colour response needs {MIN_PIXELS} unsaturated pixels, not {count}")
    stride = -(-len(given) // MAX_SAMPLES)
    fitted = [_robust_line(given[::stride, channel], wanted[::stride, channel]) for channel in range(3)]
    (r_gain, r_offset), (g_gain, g_offset), (b_gain, b_offset) = fitted
    return ColorResponse((r_gain, g_gain, b_gain), (r_offset, g_offset, b_offset))


def _robust_line(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Gain and offset of `y` on `x` by iteratively reweighted least squares."""
    weight, gain, offset = np.ones_like(x), 1.0, float(np.median(y - x))
    if np.std(x) < _FLOOR:
        return gain, offset
    for _ in range(_ROUNDS):
        mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
        gain = float(np.sum(weight * (x - mean_x) * (y - mean_y)) / np.sum(weight * (x - mean_x) ** 2))
        offset = float(mean_y - gain * mean_x)
        residual = y - gain * x - offset
        satisfied = ((y > 0.5 + _SATURATED) & (residual < 0)) | ((y < 0.5 - _SATURATED) & (residual > 0))
        residual = np.where(satisfied, 0.0, np.abs(residual))
        spread = max(1.4826 * float(np.median(residual)), _FLOOR)
        weight = np.where(satisfied, 0.0, np.minimum(1.0, _HUBER * spread / np.maximum(residual, 1e-12)))
    return gain, offset


def to_uint8(color: Tensor) -> NDArray[np.uint8]:
    """`(..., 3)` in [0, 1] as frames."""
    return np.asarray((color.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())
