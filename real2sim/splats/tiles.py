"""Which Gaussians a tile of the picture has to composite, front to back: what the CPU compositor walks through."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MIN_ALPHA = 1 / 255
"""What shows less of itself than this in a pixel does not count (gsplat's `ALPHA_THRESHOLD`)."""
TILE = 8
"""Pixels along a tile's side. gsplat's 16 fits a GPU's threads; at 160x96 smaller tiles waste fewer pixels."""


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

    def to_images(self, tiles: Tensor) -> Tensor:
        """`(tiles, D, TILE * TILE)` to `(images, H, W, D)`, what hangs over the edges cut off."""
        depth = tiles.shape[1]
        grid = tiles.reshape(self.images, self.rows, self.columns, depth, TILE, TILE)
        whole = grid.permute(0, 1, 4, 2, 5, 3).reshape(self.images, self.rows * TILE, self.columns * TILE, depth)
        return whole[:, : self.height, : self.width]


@dataclass(frozen=True)
class Hits:
    """Which Gaussians each tile has to composite, nearest first.

    `gaussian` `(R,)` lists those of tile 0, then those of tile 1 and so on; `tile` `(R,)` says whose a row is;
    `starts` and `counts` `(tiles,)` where a tile's rows begin and how many there are.
    """

    gaussian: Tensor
    tile: Tensor
    starts: Tensor
    counts: Tensor


@torch.no_grad()
def find_hits(
    means: Tensor, conics: Tensor, depths: Tensor, log_opacities: Tensor, image: Tensor, grid: TileGrid
) -> Hits:
    """Hits of projected Gaussians: `means` `(M, 2)` px, `conics` `(M, 3)` 1/px^2, the rest `(M,)`.

    A Gaussian hits a tile if its alpha reaches 1/255 somewhere in the rectangle of the tile's pixel centres, which is
    where gsplat lets it count, so no pixel loses anything. Equal depths keep the order in which they came.
    """
    nearest = torch.argsort(depths, stable=True)
    means, conics, image = means[nearest], conics[nearest], image[nearest]
    reach = 2 * (log_opacities[nearest] - math.log(MIN_ALPHA)).clamp(min=0)
    low, span = _touched_tiles(means, conics, reach, grid)
    touched = span.prod(dim=1)
    source = torch.repeat_interleave(torch.arange(len(means)), touched)
    within = torch.arange(len(source)) - (touched.cumsum(0) - touched)[source]
    across = span[source, 0]
    cell = torch.stack([low[source, 0] + within % across, low[source, 1] + within // across], dim=1)

    hit = _nearest_distance(means[source], conics[source], cell) <= reach[source]
    source, cell = source[hit], cell[hit]
    tile = (image[source] * grid.rows + cell[:, 1]) * grid.columns + cell[:, 0]
    tile, by_tile = torch.sort(tile, stable=True)  # stable: nearest first stays nearest first
    counts = torch.bincount(tile, minlength=grid.tiles)
    return Hits(nearest[source[by_tile]], tile, counts.cumsum(0) - counts, counts)


def _touched_tiles(means: Tensor, conics: Tensor, reach: Tensor, grid: TileGrid) -> tuple[Tensor, Tensor]:
    """`(M, 2)` each, columns and rows: the first tile of the box around an ellipse, and how many tiles it spans."""
    a, b, c = conics.unbind(1)
    determinant = (a * c - b * b).clamp(min=1e-12)
    radii = torch.sqrt(reach[:, None] * torch.stack([c, a], dim=1) / determinant[:, None])
    size = torch.tensor([grid.columns, grid.rows])
    low = torch.floor((means - radii) / TILE).clamp(min=0).minimum(size).long()
    high = torch.ceil((means + radii) / TILE).clamp(min=0).minimum(size).long()
    return low, (high - low).clamp(min=0)


def _nearest_distance(means: Tensor, conics: Tensor, cell: Tensor) -> Tensor:
    """`(R,)`: the smallest squared Mahalanobis distance between a mean and the pixel centres' box of its tile `cell`.

    A convex quadratic has its minimum over a box on a side that faces its centre, or at the centre.
    """
    low = cell * TILE + 0.5 - means
    high = low + (TILE - 1)
    a, b, c = conics.unbind(1)
    side = low.clamp(min=0) + high.clamp(max=0)  # the box's nearest x and y
    y = (-b / c * side[:, 0]).clamp(low[:, 1], high[:, 1])
    x = (-b / a * side[:, 1]).clamp(low[:, 0], high[:, 0])

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return a * x * x + 2 * b * x * y + c * y * y

    return torch.minimum(distance(side[:, 0], y), distance(x, side[:, 1]))


def tile_centres(tiles: Tensor, grid: TileGrid) -> Tensor:
    """`(R, 2)`: the pixel coordinates of the middles of tiles `(R,)`."""
    in_image = tiles % (grid.rows * grid.columns)
    corners = torch.stack([in_image % grid.columns, in_image // grid.columns], dim=1)
    return corners * TILE + TILE / 2
