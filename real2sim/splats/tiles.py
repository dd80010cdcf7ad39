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
    reach = 2 * (log_opacities - math.log(MIN_ALPHA)).clamp(min=0)
    columns, rows, across, touched = _touched_tiles(means, conics, reach, grid)
    source = torch.repeat_interleave(nearest, touched[nearest])
    first = (touched[nearest].cumsum(0) - touched[nearest]).index_select(0, torch.argsort(nearest))
    within = torch.arange(len(source)) - first[source]
    down = torch.div(within, across[source], rounding_mode="floor")
    column, row = columns[source] + within - down * across[source], rows[source] + down

    hit = _nearest_distance(means, conics, source, column, row) <= reach[source]
    source, tile = source[hit], ((image[source] * grid.rows + row) * grid.columns + column)[hit]
    tile, by_tile = torch.sort(tile.int(), stable=True)  # stable: nearest first stays nearest first
    counts = torch.bincount(tile, minlength=grid.tiles)
    return Hits(source[by_tile], tile, counts.cumsum(0) - counts, counts)


def _touched_tiles(means: Tensor, conics: Tensor, reach: Tensor, grid: TileGrid) -> tuple[Tensor, ...]:
    """Of the box around each ellipse: the first tile's column and row, tiles across, and tiles in all, `(M,)` each."""
    a, b, c = conics.unbind(1)
    determinant = (a * c - b * b).clamp(min=1e-12)
    radii = torch.sqrt(reach[:, None] * torch.stack([c, a], dim=1) / determinant[:, None])
    size = torch.tensor([grid.columns, grid.rows])
    low = torch.floor((means - radii) / TILE).clamp(min=0).minimum(size).long()
    high = torch.ceil((means + radii) / TILE).clamp(min=0).minimum(size).long()
    span = (high - low).clamp(min=0)
    return low[:, 0], low[:, 1], span[:, 0].clamp(min=1), span.prod(dim=1)


def _nearest_distance(means: Tensor, conics: Tensor, source: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """`(R,)`: the smallest squared Mahalanobis distance between a mean and the box of a tile's pixel centres.

    A convex quadratic has its minimum over a box on a side that faces its centre, or at the centre.
    """
    (mean_x, mean_y), (a, b, c) = (part.T.contiguous()[:, source] for part in (means, conics))
    left, top = column * TILE + 0.5 - mean_x, row * TILE + 0.5 - mean_y
    right, bottom = left + (TILE - 1), top + (TILE - 1)
    near_x, near_y = left.clamp(min=0) + right.clamp(max=0), top.clamp(min=0) + bottom.clamp(max=0)

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return x * (a * x + 2 * b * y) + c * y * y

    on_side = distance(near_x, torch.minimum(torch.maximum(-b / c * near_x, top), bottom))
    return torch.minimum(on_side, distance(torch.minimum(torch.maximum(-b / a * near_y, left), right), near_y))


def tile_centres(tiles: Tensor, grid: TileGrid) -> Tensor:
    """`(R, 2)`: the pixel coordinates of the middles of tiles `(R,)`."""
    in_image = tiles % (grid.rows * grid.columns)
    corners = torch.stack([in_image % grid.columns, in_image // grid.columns], dim=1)
    return corners * TILE + TILE / 2
