"""Compiled loops of the CPU rasteriser: what a camera may see, what each tile composites, and compositing itself.

The rules are those of gsplat's kernels (`RasterizeToPixels3DGSFwd.cu`): an alpha is at most 0.999, one below 1/255
does not count, and a pixel is finished before the Gaussian that would leave it 1e-4 of its light or less. Loops over
a tile's pixels have no branches and run over one flat array, so that LLVM makes vector instructions of them.

The constants that are compiled in are here, too (see `real2sim.compiled`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from real2sim.compiled import ROUNDS_AWAY, compiled

MIN_ALPHA = 1 / 255
"""What shows less of itself than this in a pixel does not count (gsplat's `ALPHA_THRESHOLD`)."""
MAX_ALPHA = 0.999
MIN_LIGHT = 1e-4
TILE = 8
"""Pixels along a tile's side. gsplat's 16 fits a GPU's threads; at 160x96 smaller tiles waste fewer pixels."""
PIXELS = TILE * TILE
XX, XY, YY, X, Y, LOG_OPACITY, RED, GREEN, BLUE, DEPTH = range(10)
"""Columns of projected Gaussians: the inverse covariance in 1/px^2, the mean in px, and what is composited."""
SPLAT_NUMBERS, CHANNELS = 10, 5
"""Channels of a picture: red, green, blue, depth times alpha, and alpha."""
GSPLAT_REACH = 3.33
"""Standard deviations from its mean at which gsplat takes a Gaussian to end."""
_PLACE_MARGIN = 1e-3
"""Pixels that a Gaussian's rows are taken wider, so that rounding never cuts one off."""

_EXP = tuple(
    np.float32(c)
    for c in (1.0, 0.9999997, 0.49999344, 0.16661367, 0.04146114, 0.007918288, 0.0009587715)
)  # fmt: skip
"""Of degree 6 through exp at Chebyshev's nodes on [-0.75, 0]: within 1e-8."""
_EIGHTH, _LEAST = np.float32(0.125), np.float32(-6.0)


def _exponential(x: float) -> float:
    """exp(x) of an x of 0 or less. In float32 what is under -6, far below the least alpha that counts, counts as -6."""
    return math.exp(x)


@overload(_exponential, jit_options={"fastmath": ROUNDS_AWAY, "error_model": "numpy"})
def _exponential_of(x: Any) -> Callable[..., Any]:
    """float32 has a polynomial that LLVM can vectorise (the library's exp is a call); float64, of tests, is exact."""

    def double(x: Any) -> Any:
        return math.exp(x)

    c0, c1, c2, c3, c4, c5, c6 = _EXP

    def single(x: Any) -> Any:
        x = max(x, _LEAST) * _EIGHTH
        # Estrin's scheme: on a tile's few pixels it is waiting that takes time, and this waits less than Horner's.
        xx = x * x
        eighth_root = (c0 + c1 * x) + xx * ((c2 + c3 * x) + xx * ((c4 + c5 * x) + xx * c6))
        square = eighth_root * eighth_root
        fourth = square * square
        return fourth * fourth

    return single if x == types.float32 else double


@compiled
def may_be_seen(means, sizes, opacities, view, k, width, height, near):  # type: ignore[no-untyped-def]
    """`(N,)` bool: in front of a camera, dense enough to count, and, however it is turned, near enough to the picture.

    `sizes` `(N,)` are the largest standard deviations in m. A picture's standard deviation is at most this times
    the length of a row of gsplat's Jacobian, which it takes at 1.3 pictures from the centre for all farther out.
    """
    seen = np.zeros(len(means), np.bool_)
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    for n in range(len(means)):
        x, y, z = means[n, 0], means[n, 1], means[n, 2]
        depth = view[2, 0] * x + view[2, 1] * y + view[2, 2] * z + view[2, 3]
        if depth > near and opacities[n] >= MIN_ALPHA:
            across = (view[0, 0] * x + view[0, 1] * y + view[0, 2] * z + view[0, 3]) / depth
            down = (view[1, 0] * x + view[1, 1] * y + view[1, 2] * z + view[1, 3]) / depth
            slant_x = min(max(across, -(cx + 0.15 * width) / fx), (1.15 * width - cx) / fx)
            slant_y = min(max(down, -(cy + 0.15 * height) / fy), (1.15 * height - cy) / fy)
            size_x, size_y = fx * sizes[n] / depth, fy * sizes[n] / depth
            reach_x = GSPLAT_REACH * math.sqrt(size_x * size_x * (1 + slant_x * slant_x) + 1) + 1
            reach_y = GSPLAT_REACH * math.sqrt(size_y * size_y * (1 + slant_y * slant_y) + 1) + 1
            column, row = fx * across + cx, fy * down + cy
            inside_x = column + reach_x > 0 and column - reach_x < width
            seen[n] = inside_x and row + reach_y > 0 and row - reach_y < height
    return seen


@compiled
def list_hits(splats, order, image, columns, rows, images):  # type: ignore[no-untyped-def]
    """What `tiles.Hits` holds, of `splats` `(M, SPLAT_NUMBERS)` walked through in `order`.

    A counting sort by tile: whatever comes first in `order` comes first in its tile.
    """
    boxes, reaches = np.zeros((len(splats), 4), np.int64), np.zeros(len(splats), splats.dtype)
    heights, candidates = np.zeros(len(splats), splats.dtype), 0
    for m in range(len(splats)):
        a, b, c = splats[m, XX], splats[m, XY], splats[m, YY]
        reaches[m] = 2 * max(splats[m, LOG_OPACITY] - math.log(MIN_ALPHA), 0.0)
        scale = reaches[m] / max(a * c - b * b, 1e-12)
        width, height = math.sqrt(scale * c), math.sqrt(scale * a)
        heights[m] = height + _PLACE_MARGIN
        left, right = (splats[m, X] - width) / TILE, (splats[m, X] + width) / TILE
        top, bottom = (splats[m, Y] - height) / TILE, (splats[m, Y] + height) / TILE
        if left < columns and right > 0 and top < rows and bottom > 0:  # none holds for a number that is not one
            boxes[m, 0], boxes[m, 1] = math.floor(max(left, 0)), math.ceil(min(right, columns))
            boxes[m, 2], boxes[m, 3] = math.floor(max(top, 0)), math.ceil(min(bottom, rows))
            candidates += (boxes[m, 1] - boxes[m, 0]) * (boxes[m, 3] - boxes[m, 2])
    tiles, who = np.empty(candidates, np.int32), np.empty(candidates, np.int32)
    counts, found = np.zeros(images * rows * columns, np.int64), 0
    for m in order:
        for row in range(boxes[m, 2], boxes[m, 3]):
            for column in range(boxes[m, 0], boxes[m, 1]):
                if _nearest(splats[m], column, row) <= reaches[m]:
                    tile = (image[m] * rows + row) * columns + column
                    tiles[found], who[found] = tile, m
                    counts[tile] += 1
                    found += 1
    starts = np.zeros(len(counts) + 1, np.int64)
    starts[1:] = np.cumsum(counts)
    gaussian, place = np.empty(found, np.int32), starts[:-1].copy()
    for index in range(found):
        gaussian[place[tiles[index]]] = who[index]
        place[tiles[index]] += 1
    return gaussian, starts, heights


@compiled
def _nearest(splat, column, row):  # type: ignore[no-untyped-def]
    """The smallest squared Mahalanobis distance between a mean and the box of a tile's pixel centres.

    A convex quadratic has its minimum over a box on a side that faces its centre, or at the centre.
    """
    a, b, c = splat[XX], splat[XY], splat[YY]
    left, top = column * TILE + 0.5 - splat[X], row * TILE + 0.5 - splat[Y]
    right, bottom = left + (TILE - 1), top + (TILE - 1)
    near_x, near_y = max(left, 0.0) + min(right, 0.0), max(top, 0.0) + min(bottom, 0.0)
    y = min(max(-b / c * near_x, top), bottom)
    x = min(max(-b / a * near_y, left), right)
    on_side = near_x * (a * near_x + 2 * b * y) + c * y * y
    return min(on_side, x * (a * x + 2 * b * near_y) + c * near_y * near_y)


# Rows of a tile's workspace, `PIXELS` numbers each: where its pixels are; the light that is left, negative where a
# pixel is finished; the place, from 1, of the last Gaussian that shows; sums going forth; what is behind and what is
# wanted going back.
_AT_X, _AT_Y, _LEFT, _LAST, _SUM = (PIXELS * row for row in range(5))
_BEHIND, _WANTED = 4 * PIXELS, 5 * PIXELS
_WORKSPACE = 10 * PIXELS


@compiled
def _place(work, tile, columns, rows):  # type: ignore[no-untyped-def]
    """Write the pixel centres of a tile; returns its image, first row and first column."""
    top, left = (tile // columns) % rows * TILE, tile % columns * TILE
    for i in range(PIXELS):
        work[_AT_X + i], work[_AT_Y + i] = left + i % TILE + 0.5, top + i // TILE + 0.5
    return tile // (columns * rows), top, left


@compiled
def _pixels_of(splat, height, top):  # type: ignore[no-untyped-def]
    """The range of a tile's pixels, in whole rows, that a Gaussian reaching `height` px up and down can show in."""
    first = math.ceil(max(splat[Y] - height - top - 0.5, 0.0))
    last = math.floor(min(splat[Y] + height - top - 0.5, TILE - 1.0))
    return max(first, 0) * TILE, (last + 1) * TILE


@compiled
def composite_tiles(splats, gaussian, starts, heights, columns, rows, pictures, left, first, end):  # type: ignore[no-untyped-def]
    """Draw tiles `first` to `end`, front to back, into `pictures` `(images, H, W, CHANNELS)`.

    `left` `(tiles, 2, PIXELS)` becomes what the gradient needs: the light that is left behind the last Gaussian that
    shows in a pixel, and the place, from 1, of that one in the tile's list.
    """
    number = splats.dtype.type
    one, zero = number(1), number(0)
    work = np.empty(_WORKSPACE, splats.dtype)
    for tile in range(first, end):
        image, top, beside = _place(work, tile, columns, rows)
        high, wide = min(pictures.shape[1] - top, TILE), min(pictures.shape[2] - beside, TILE)
        for i in range(PIXELS):
            work[_LEFT + i] = one if i // TILE < high and i % TILE < wide else -one
            work[_LAST + i] = zero
            for channel in range(CHANNELS):
                work[_SUM + channel * PIXELS + i] = zero
        for place in range(starts[tile + 1] - starts[tile]):
            m = gaussian[starts[tile] + place]
            begin, stop = _pixels_of(splats[m], heights[m], top)
            _show(work, splats[m], number(place + 1), begin, stop)
            if place % 4 == 3 and _is_dark(work):
                break
        for i in range(high * TILE):
            if i % TILE < wide:
                for channel in range(CHANNELS):
                    value = work[_SUM + channel * PIXELS + i]
                    pictures[image, top + i // TILE, beside + i % TILE, channel] = value
        for i in range(PIXELS):
            left[tile, 0, i], left[tile, 1, i] = abs(work[_LEFT + i]), work[_LAST + i]


@compiled
def _show(work, splat, place, begin, stop):  # type: ignore[no-untyped-def]
    """Composite one Gaussian over the pixels from `begin` to `stop` of a tile.

    Choices are products with 0 or 1: of branches LLVM makes masked stores, which take most of the time on some CPUs.
    """
    number = splat.dtype.type
    one, zero, most = number(1), number(0), number(MAX_ALPHA)
    least, dark = number(MIN_ALPHA), number(MIN_LIGHT)
    a, b, c = number(0.5) * splat[XX], splat[XY], number(0.5) * splat[YY]
    x, y, log_opacity = splat[X], splat[Y], splat[LOG_OPACITY]
    red, green, blue, depth = splat[RED], splat[GREEN], splat[BLUE], splat[DEPTH]
    work = work[begin:]  # counted from 0, which tells LLVM that no index is negative (Python's from the end)
    for i in range(stop - begin):
        dx, dy = work[_AT_X + i] - x, work[_AT_Y + i] - y
        alpha = min(_exponential(log_opacity - (dx * (a * dx + b * dy) + c * dy * dy)), most)
        alpha = alpha * number(alpha >= least)
        left = work[_LEFT + i]
        light = max(left, zero)
        after = light - light * alpha
        open_ = number(after > dark)  # else finished: this Gaussian and all behind it show nothing
        weight = light * alpha * open_
        work[_LEFT + i] = open_ * after - (one - open_) * abs(left)
        work[_LAST + i] += number(weight > zero) * (place - work[_LAST + i])
        work[_SUM + i] += weight * red
        work[_SUM + PIXELS + i] += weight * green
        work[_SUM + 2 * PIXELS + i] += weight * blue
        work[_SUM + 3 * PIXELS + i] += weight * depth
        work[_SUM + 4 * PIXELS + i] += weight


@compiled
def _is_dark(work):  # type: ignore[no-untyped-def]
    for i in range(PIXELS):  # noqa: SIM110 (numba knows no generators)
        if work[_LEFT + i] > 0:
            return False
    return True


@compiled
def gradient_of_tiles(splats, gaussian, starts, heights, columns, rows, upstream, left, to_rows, first, end):  # type: ignore[no-untyped-def]
    """Back to front through tiles `first` to `end`: `to_rows` `(R, SPLAT_NUMBERS)` of every hit that shows.

    `upstream` `(images, H, W, CHANNELS)` is the gradient with respect to the pictures. A hit has a row of its own, so
    that tiles can be worked on at once and still be summed in one order.
    """
    number = splats.dtype.type
    work = np.empty(_WORKSPACE, splats.dtype)
    for tile in range(first, end):
        image, top, beside = _place(work, tile, columns, rows)
        furthest = number(0)
        for i in range(PIXELS):
            down, across = top + i // TILE, beside + i % TILE
            work[_LEFT + i], work[_LAST + i], work[_BEHIND + i] = left[tile, 0, i], left[tile, 1, i], number(0)
            furthest = max(furthest, work[_LAST + i])
            inside = down < upstream.shape[1] and across < upstream.shape[2]
            for channel in range(CHANNELS):
                wanted = upstream[image, down, across, channel] if inside else number(0)
                work[_WANTED + channel * PIXELS + i] = wanted
        for place in range(int(furthest), 0, -1):
            row = starts[tile] + place - 1
            m = gaussian[row]
            begin, stop = _pixels_of(splats[m], heights[m], top)
            _trace(work, splats[m], number(place), begin, stop, to_rows[row])


@compiled
def _trace(work, splat, place, begin, stop, gradient):  # type: ignore[no-untyped-def]
    """Take one Gaussian off the pixels from `begin` to `stop` of a tile, and write the gradient of its numbers."""
    number = splat.dtype.type
    one, zero, most, least = number(1), number(0), number(MAX_ALPHA), number(MIN_ALPHA)
    a, b, c = number(0.5) * splat[XX], splat[XY], number(0.5) * splat[YY]
    x, y, log_opacity = splat[X], splat[Y], splat[LOG_OPACITY]
    red, green, blue, depth = splat[RED], splat[GREEN], splat[BLUE], splat[DEPTH]
    sum_, sum_x, sum_y, sum_xx, sum_xy, sum_yy = zero, zero, zero, zero, zero, zero
    to_red, to_green, to_blue, to_depth = zero, zero, zero, zero
    work = work[begin:]
    for i in range(stop - begin):
        dx, dy = work[_AT_X + i] - x, work[_AT_Y + i] - y
        whole = _exponential(log_opacity - (dx * (a * dx + b * dy) + c * dy * dy))
        alpha = min(whole, most)
        alpha = alpha * number(alpha >= least) * number(place <= work[_LAST + i])
        share = one / (one - alpha)
        before = work[_LEFT + i] * share
        weight = alpha * before
        wanted_red, wanted_green = work[_WANTED + i], work[_WANTED + PIXELS + i]
        wanted_blue, wanted_depth = work[_WANTED + 2 * PIXELS + i], work[_WANTED + 3 * PIXELS + i]
        worth = red * wanted_red + green * wanted_green + blue * wanted_blue + depth * wanted_depth
        worth = weight * (worth + work[_WANTED + 4 * PIXELS + i])
        # d/d(log alpha): what a Gaussian shows itself, less its share of dimming everything behind it.
        slope = worth - work[_BEHIND + i] * alpha * share
        slope = slope * number(whole < most)
        work[_BEHIND + i] += worth
        work[_LEFT + i] = before
        sum_ += slope
        sum_x += slope * dx
        sum_y += slope * dy
        sum_xx += slope * dx * dx
        sum_xy += slope * dx * dy
        sum_yy += slope * dy * dy
        to_red += weight * wanted_red
        to_green += weight * wanted_green
        to_blue += weight * wanted_blue
        to_depth += weight * wanted_depth
    half = number(0.5)
    gradient[XX], gradient[XY], gradient[YY] = -half * sum_xx, -sum_xy, -half * sum_yy
    gradient[X] = splat[XX] * sum_x + b * sum_y
    gradient[Y] = b * sum_x + splat[YY] * sum_y
    gradient[LOG_OPACITY] = sum_
    gradient[RED], gradient[GREEN], gradient[BLUE], gradient[DEPTH] = to_red, to_green, to_blue, to_depth


@compiled
def sum_rows(rows, gaussian, sums):  # type: ignore[no-untyped-def]
    """Add `rows` `(R, D)` to the `sums` `(M, D)` of their Gaussians, always in the order of the rows."""
    for row in range(len(rows)):
        for column in range(rows.shape[1]):
            sums[gaussian[row], column] += rows[row, column]
