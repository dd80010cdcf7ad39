"""Which Gaussians a tile of the picture has to composite, front to back: what the CPU compositor walks through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena.contracts import FloatArray
from real2sim.splats.kernels import DEPTH, TILE, list_hits


@dataclass(frozen=True)
class TileGrid:
    """Pictures of one size cut into tiles: `images` of them, `rows` x `columns` tiles each."""

    images: int
    height: int
    width: int

    @property
    def rows(self) -> int:
        return -(-self.height // TILE)

    @property
    def columns(self) -> int:
        return -(-self.width // TILE)

    @property
    def tiles(self) -> int:
        return self.images * self.rows * self.columns


@dataclass(frozen=True)
class Hits:
    """Which Gaussians each tile has to composite, nearest first.

    `gaussian` `(R,)` lists those of tile 0, then those of tile 1 and so on; `starts` `(tiles + 1,)` says where a
    tile's rows begin, and the last one's end; `heights` `(M,)` how far up and down, in px, each Gaussian counts.
    """

    gaussian: NDArray[np.int32]
    starts: NDArray[np.int64]
    heights: FloatArray

    @property
    def arrays(self) -> tuple[NDArray[np.int32], NDArray[np.int64], FloatArray]:
        return self.gaussian, self.starts, self.heights


def find_hits(splats: Tensor, image: Tensor, grid: TileGrid) -> Hits:
    """Hits of projected Gaussians `(M, 10)`, whose columns are those of `kernels`, in the images `(M,)`.

    A Gaussian hits a tile if its alpha reaches 1/255 somewhere in the rectangle of the tile's pixel centres, which is
    where gsplat lets it count, so no pixel loses anything. Equal depths keep the order in which they came.
    """
    splats = splats.detach()
    nearest = torch.argsort(splats[:, DEPTH], stable=True)
    return Hits(*list_hits(splats.numpy(), nearest.numpy(), image.numpy(), grid.columns, grid.rows, grid.images))
