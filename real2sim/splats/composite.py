"""Front-to-back alpha compositing of Gaussians on the CPU, differentiable: `kernels` under torch's autograd."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from real2sim.splats.kernels import CHANNELS, PIXELS, composite_tiles, gradient_of_tiles, sum_rows
from real2sim.splats.tiles import Hits, TileGrid

_PARTS = 4
"""Parts of the tiles for each thread, so that one with little to do can take another."""


def composite(splats: Tensor, hits: Hits, grid: TileGrid) -> Tensor:
    """`(images, H, W, 5)`: per pixel red, green, blue and depth, each weighted by what a Gaussian shows of itself, and
    the sum of these weights, which is alpha.

    `splats` `(M, 10)` has the columns of `kernels`. Works in as many threads as torch may use, with the same result
    for any number of them.
    """
    pictures: Tensor = _Composite.apply(splats, hits, grid)  # type: ignore[no-untyped-call]
    return pictures


class _Composite(torch.autograd.Function):
    """Keeps two numbers for every pixel; alphas are computed again for the gradient."""

    @staticmethod
    def forward(ctx: Any, splats: Tensor, hits: Hits, grid: TileGrid) -> Tensor:
        splats = splats.detach().contiguous()
        pictures = splats.new_zeros(grid.images, grid.height, grid.width, CHANNELS)
        left = splats.new_empty(grid.tiles, 2, PIXELS)
        fixed = (splats.numpy(), *hits.arrays, grid.columns, grid.rows, pictures.numpy(), left.numpy())
        _over_tiles(hits, lambda first, end: composite_tiles(*fixed, first, end))
        ctx.hits, ctx.grid = hits, grid
        ctx.save_for_backward(splats, left)
        return pictures

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (splats, left), hits, grid = ctx.saved_tensors, ctx.hits, ctx.grid
        upstream, to_splats = gradients[0].contiguous(), torch.zeros_like(splats)
        to_rows = splats.new_zeros(len(hits.gaussian), splats.shape[1]).numpy()
        fixed = (splats.numpy(), *hits.arrays, grid.columns, grid.rows, upstream.numpy(), left.numpy(), to_rows)
        _over_tiles(hits, lambda first, end: gradient_of_tiles(*fixed, first, end))
        sum_rows(to_rows, hits.gaussian, to_splats.numpy())
        return to_splats, None, None


def _over_tiles(hits: Hits, work: Callable[[int, int], None]) -> None:
    """Call `work(first, end)` for ranges of tiles that together are all of them, each with about as many hits."""
    tiles, threads = len(hits.starts) - 1, torch.get_num_threads()
    if threads == 1:
        work(0, tiles)
        return
    shares = np.linspace(0, hits.starts[-1], threads * _PARTS + 1)[1:-1]
    cuts = np.concatenate([[0], np.searchsorted(hits.starts, shares), [tiles]])
    # Not numba's own threads: these may be called from several threads at once, and after a fork.
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, cuts[:-1], cuts[1:]))
