"""What a fit makes small: the difference to the photographs, as in 3DGS, and what few views leave open."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

SSIM_SIGMA, SSIM_RADIUS = 1.5, 5
_C1, _C2 = 0.01**2, 0.03**2


def photometric_loss(picture: Tensor, photograph: Tensor, mask: Tensor, ssim_share: float) -> Tensor:
    """`(1 - s) L1 + s (1 - SSIM) / 2` over the unmasked pixels (Kerbl et al. 2023, with s = 0.2).

    `picture` and `photograph` are `(H, W, 3)` in [0, 1], `mask` `(H, W)` bool. Masked pixels are black in both before
    windows are taken, so nothing of them leaks into their neighbours.
    """
    picture, photograph = picture * mask[..., None], photograph * mask[..., None]
    seen = mask.sum().clamp(min=1)
    absolute = (picture - photograph).abs().sum() / (3 * seen)
    unlike = (1 - ssim_map(picture, photograph)).mean(dim=-1)
    return (1 - ssim_share) * absolute + ssim_share * (unlike * mask).sum() / (2 * seen)


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity in every pixel and channel, `(H, W, 3)` (Wang et al. 2004): windows are cut at the edges.

    The Gaussian window is two matrix products, which on a CPU is several times faster than a convolution.
    """
    down = _window(a.shape[0], a.dtype, a.device)
    across = _window(a.shape[1], a.dtype, a.device)
    images = torch.stack([a, b, a * a, b * b, a * b]).permute(0, 3, 1, 2)
    mean_a, mean_b, square_a, square_b, product = down @ images @ across.T
    variance_a, variance_b = square_a - mean_a**2, square_b - mean_b**2
    likeness = (2 * mean_a * mean_b + _C1) * (2 * (product - mean_a * mean_b) + _C2)
    similarity: Tensor = likeness / ((mean_a**2 + mean_b**2 + _C1) * (variance_a + variance_b + _C2))
    return similarity.permute(1, 2, 0)


def roughness(depth: Tensor, photograph: Tensor, mask: Tensor) -> Tensor:
    """How much inverse depth jumps between neighbouring pixels that look alike: second differences, edge-aware.

    Planes cost nothing (inverse depth is linear over a plane's picture), so this prefers flat surfaces where few
    views leave depth open. `depth` `(H, W)` m, `photograph` `(H, W, 3)`, `mask` `(H, W)` bool.
    """
    inverse = 1 / depth.clamp(min=0.05)
    total = depth.new_zeros(())
    for axis in (0, 1):
        size = depth.shape[axis] - 2
        before, here, after = (slice_along(inverse, axis, start, size) for start in range(3))
        first, second, third = (slice_along(photograph, axis, start, size) for start in range(3))
        contrast = (second - first).abs().mean(-1) + (third - second).abs().mean(-1)
        inside = slice_along(mask, axis, 0, size) & slice_along(mask, axis, 2, size)
        total = total + ((before - 2 * here + after).abs() * torch.exp(-10 * contrast) * inside).mean()
    return total


def slice_along(values: Tensor, axis: int, start: int, size: int) -> Tensor:
    return values.narrow(axis, start, size)


@cache
def _window(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`(size, size)`: row i averages around pixel i."""
    place = torch.arange(size, dtype=dtype, device=device)
    offset = place[None] - place[:, None]
    weight = torch.exp(-0.5 * (offset / SSIM_SIGMA) ** 2) * (offset.abs() <= SSIM_RADIUS)
    return weight / weight.sum(dim=1, keepdim=True)
