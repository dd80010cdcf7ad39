"""Front-to-back alpha compositing of Gaussians on the CPU, with its gradient written out.

The rules are those of gsplat's kernel (`RasterizeToPixels3DGSFwd.cu`): an alpha is at most 0.999, one below 1/255
does not count, and a pixel is finished before the Gaussian that would leave it 1e-4 of its light or less.

Within a tile the logarithm of every Gaussian's alpha is a quadratic polynomial of the pixel's place, so all of them
are one matrix product. Tiles are composited together in steps of `STEP` Gaussians, and those that are finished or have
no more Gaussians drop out. Masks are made by arithmetic: in torch on a CPU a product with booleans costs ten of others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from real2sim.splats.tiles import MIN_ALPHA, TILE

MAX_ALPHA = 0.999
MIN_LIGHT = 1e-4
STEP = 32
"""Gaussians of a tile composited in one step: more are padded in vain, fewer are more calls."""
GROUP = 64
"""Tiles composited together: an array of a step then has 512 kB."""
_NOTHING = -1e4
"""The logarithm of an alpha that is zero."""


def pixel_polynomial(dtype: torch.dtype) -> Tensor:
    """`(6, TILE * TILE)`: 1, x, y, x^2, y^2 and xy at a tile's pixel centres, counted from the tile's middle."""
    offsets = torch.arange(TILE, dtype=dtype) + 0.5 - TILE / 2
    y, x = (axis.reshape(-1) for axis in torch.meshgrid(offsets, offsets, indexing="ij"))
    return torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y])


def log_alpha_coefficients(conics: Tensor, means: Tensor, log_opacities: Tensor) -> Tensor:
    """`(R, 6)`: log alpha of a Gaussian as coefficients of `pixel_polynomial`.

    `conics` `(R, 3)` is the inverse covariance (xx, xy, yy) in 1/px^2, `means` `(R, 2)` px from the tile's middle.
    """
    a, b, c = conics.unbind(1)
    x, y = means.unbind(1)
    pull_x, pull_y = a * x + b * y, b * x + c * y
    constant = log_opacities - 0.5 * (pull_x * x + pull_y * y)
    return torch.stack([constant, pull_x, pull_y, -0.5 * a, -0.5 * c, -b], dim=1)


def composite(coefficients: Tensor, values: Tensor, starts: Tensor, counts: Tensor) -> Tensor:
    """Per pixel, the sum of `values` weighted by what each Gaussian shows of itself, then the sum of those weights.

    `coefficients` `(R, 6)` and `values` `(R, D)` are of the rows of `tiles.Hits`, whose `starts` and `counts` `(T,)`
    these are. Returns `(T, D + 1, TILE * TILE)`; the last of `D + 1` is the alpha.
    """
    sums: Tensor = _Composite.apply(coefficients, values, starts, counts)
    return sums


class _Composite(torch.autograd.Function):
    """Keeps alpha and the light before each Gaussian; everything else is computed again for the gradient."""

    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, values: Tensor, starts: Tensor, counts: Tensor) -> Tensor:
        nothing = coefficients.new_tensor([[_NOTHING, 0, 0, 0, 0, 0]])
        coefficients, values = torch.cat([coefficients, nothing]), _with_weight(values)
        basis = pixel_polynomial(values.dtype)
        sums = values.new_zeros(len(starts), values.shape[1], TILE * TILE)
        ctx.steps, keep = [], any(ctx.needs_input_grad)
        # Tiles with about as many Gaussians go together, in groups whose arrays stay in a core's own cache.
        for group in torch.argsort(counts, descending=True).split(GROUP):
            left = values.new_ones(len(group), TILE * TILE)
            for begin in range(0, int(counts[group[0]]), STEP):
                going = torch.nonzero((counts[group] > begin) & (left.amax(dim=1) > 0))[:, 0]
                if not len(going):
                    break
                if len(going) < len(group):
                    group, left = group[going], left[going]
                rows = _rows(starts[group], counts[group], begin, len(values) - 1)
                alpha = _alpha(coefficients, basis, rows)
                light = _light(alpha, left)
                after = torch.nn.functional.threshold(light[:, 1:], MIN_LIGHT, 0.0)
                left = after[:, -1].clone()
                # Finished: this Gaussian and all behind it show nothing. Any light over MIN_LIGHT becomes 1 or more.
                alpha = torch.minimum(alpha, after.mul_(1 / MIN_LIGHT), out=alpha)
                weights = torch.mul(alpha, light[:, :-1], out=after)
                sums[group] += torch.bmm(values[rows].transpose(1, 2), weights)
                if keep:
                    ctx.steps.append((group, rows, alpha, light[:, :-1]))
        ctx.save_for_backward(values)
        return sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (values,), upstream = ctx.saved_tensors, gradients[0]
        basis = pixel_polynomial(values.dtype)
        to_values, to_coefficients = torch.zeros_like(values), values.new_zeros(len(values), 6)
        behind = values.new_zeros(len(upstream), TILE * TILE)
        later = torch.ones(STEP, STEP, dtype=values.dtype).triu(1)
        for tiles, rows, alpha, light in reversed(ctx.steps):
            wanted = upstream[tiles]
            weights = alpha * light
            to_values[rows] = torch.bmm(weights, wanted.transpose(1, 2))
            worth = torch.bmm(values[rows], wanted).mul_(weights)
            dimmed = torch.matmul(later, worth).add_(behind[tiles][:, None])
            behind[tiles] = dimmed[:, 0] + worth[:, 0]
            # d/d(log alpha): what a Gaussian shows itself, less its share of dimming everything behind it.
            slope = worth.sub_(dimmed.mul_(alpha / (1 - alpha))).mul_(_below_maximum(alpha))
            to_coefficients[rows] = (slope.view(-1, TILE * TILE) @ basis.T).view(*rows.shape, 6)
        return to_coefficients[:-1], to_values[:-1, :-1], None, None


def _with_weight(values: Tensor) -> Tensor:
    """`(R + 1, D + 1)`: a column of ones, whose sum is the alpha, and a last row for the places that are padded."""
    whole = values.new_ones(len(values) + 1, values.shape[1] + 1)
    whole[:-1, :-1], whole[-1, :-1] = values, 0
    return whole


def _rows(starts: Tensor, counts: Tensor, begin: int, padding: int) -> Tensor:
    """`(n, STEP)`: the rows of one step of `n` tiles, `padding` where a tile has no more."""
    place = torch.arange(begin, begin + STEP)
    return torch.where(place < counts[:, None], starts[:, None] + place, padding)


def _alpha(coefficients: Tensor, basis: Tensor, rows: Tensor) -> Tensor:
    """`(n, STEP, TILE * TILE)`: of each Gaussian in each pixel, as if it were alone."""
    alpha = coefficients[rows].view(-1, 6) @ basis
    alpha.exp_().clamp_(max=MAX_ALPHA)
    torch.nn.functional.threshold_(alpha, MIN_ALPHA, 0.0)
    return alpha.view(*rows.shape, TILE * TILE)


def _light(alpha: Tensor, left: Tensor) -> Tensor:
    """`(n, STEP + 1, TILE * TILE)`: the light before each Gaussian, and after the last, given what comes in."""
    light = alpha.new_empty(len(alpha), STEP + 1, alpha.shape[2])
    light[:, 0] = left
    torch.sub(1, alpha, out=light[:, 1:])
    return torch.cumprod(light, dim=1, out=light)


def _below_maximum(alpha: Tensor) -> Tensor:
    """1 where an alpha was not clamped, else 0."""
    return torch.nn.functional.threshold_(MAX_ALPHA - alpha, 1e-9, 0.0).mul_(1e9).clamp_(max=1)
