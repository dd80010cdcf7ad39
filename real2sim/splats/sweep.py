"""Depths by plane sweep: for every pixel the depth at which neighbouring photographs agree best (Collins 1996)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from arena.contracts import FloatArray, InvalidInput
from real2sim.camera import Camera
from real2sim.splats.views import View, check_views, colors_of, unproject

_UNSEEN = 10.0
"""A difference larger than any colour's: a plane that a source does not see."""
_BEST_ANGLE, _WORST_ANGLE = 10.0, 50.0
"""Degrees between two cameras' rays: fewer say little about depth, more look at other sides of things."""


@dataclass(frozen=True)
class SweepSettings:
    """`planes` depths between `near` and `far` m, even in inverse depth; `sources` photographs for each one;
    windows of `window` x `window` pixels. A depth is kept where `agreeing` sources' own depths are within
    `tolerance` (relative) of it.
    """

    near: float = 0.1
    far: float = 3.0
    planes: int = 64
    sources: int = 4
    window: int = 5
    agreeing: int = 2
    tolerance: float = 0.03

    def __post_init__(self) -> None:
        if not 0 < self.near < self.far or self.planes < 3 or self.window % 2 == 0:
            raise InvalidInput("a plane sweep needs 0 < near < far, three planes or more, and an odd window")


@torch.no_grad()
def sweep_depths(views: Sequence[View], settings: SweepSettings) -> FloatArray:
    """`(len(views), H, W)` m along each optical axis, 0 where a depth was not confirmed by other views.

    Raises `InvalidInput` for views of several sizes, and for fewer than two.
    """
    check_views(views, 2)
    if len({view.image.shape for view in views}) != 1:
        raise InvalidInput("a plane sweep needs views of one size")
    neighbours = [_neighbours(index, views, settings) for index in range(len(views))]
    raw = np.stack([_sweep(views[i], [views[j] for j in chosen], settings) for i, chosen in enumerate(neighbours)])
    kept = [_confirmed(i, chosen, views, raw, settings) for i, chosen in enumerate(neighbours)]
    return np.where(np.stack(kept), raw, 0.0)


def sweep_points(views: Sequence[View], depths: FloatArray, count: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """At most `count` points `(N, 3)` m and colours `(N, 3)` in [0, 1], drawn evenly from all confirmed depths."""
    view, row, column = np.nonzero(depths)
    chosen = np.random.default_rng(seed).permutation(len(view))[:count]
    points: list[FloatArray] = [np.zeros((0, 3))]
    colors: list[FloatArray] = [np.zeros((0, 3))]
    for index in np.unique(view[chosen]):
        mine = chosen[view[chosen] == index]
        pixels = np.stack([column[mine], row[mine]], axis=1) + 0.5
        points.append(unproject(views[index].camera, pixels, depths[index, row[mine], column[mine]]))
        colors.append(views[index].image[row[mine], column[mine]] / 255)
    return np.concatenate(points), np.concatenate(colors)


def _neighbours(index: int, views: Sequence[View], settings: SweepSettings) -> list[int]:
    """The views that see most of what this one sees, from a useful angle, best first."""
    camera = views[index].camera
    x, y = np.meshgrid(np.linspace(0.1, 0.9, 6) * camera.width, np.linspace(0.1, 0.9, 5) * camera.height)
    pixels = np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), 3, axis=0)
    middle = 2 / (1 / settings.near + 1 / settings.far)
    points = unproject(camera, pixels, np.tile([middle, 2 * middle, 4 * middle], len(pixels) // 3))
    scores = [-1.0 if other is index else _overlap(camera, views[other].camera, points) for other in range(len(views))]
    best = np.argsort(scores)[::-1][: settings.sources]
    return [int(other) for other in best if scores[other] > 0]


def _overlap(camera: Camera, other: Camera, points: FloatArray) -> float:
    pixels, depth = other.project(points)
    inside = (depth > 0) & (pixels > 0).all(axis=1) & (pixels < [other.width, other.height]).all(axis=1)
    rays = [points - c.camera_to_base[:3, 3] for c in (camera, other)]
    cosine = np.sum(rays[0] * rays[1], axis=1) / np.linalg.norm(rays[0], axis=1) / np.linalg.norm(rays[1], axis=1)
    angle = np.degrees(np.arccos(cosine.clip(-1, 1)))
    useful = np.minimum(angle / _BEST_ANGLE, 1) * (angle < _WORST_ANGLE)
    return float(np.mean(inside * useful))


def _sweep(view: View, sources: list[View], settings: SweepSettings) -> FloatArray:
    """`(H, W)`: the depth of least difference, refined between planes by a parabola; 0 where no source sees it."""
    height, width = view.mask.shape
    if not sources:
        return np.zeros((height, width))
    photographs = torch.stack([colors_of(source).permute(2, 0, 1) for source in sources])
    usable = torch.stack([torch.from_numpy(source.mask.astype(np.float32)) for source in sources])[:, None]
    both = torch.cat([photographs, usable], dim=1)
    own = colors_of(view).permute(2, 0, 1)
    inverse = torch.linspace(1 / settings.near, 1 / settings.far, settings.planes)
    costs = torch.stack([_difference(view, own, sources, both, 1 / float(step), settings) for step in inverse])
    best = costs.argmin(dim=0)
    inner = best.clamp(1, settings.planes - 2)
    before, here, after = (costs.gather(0, (inner + offset)[None])[0] for offset in (-1, 0, 1))
    shift = (0.5 * (before - after) / (before - 2 * here + after).clamp(min=1e-9)).clamp(-0.5, 0.5)
    refined = inner + torch.where(best == inner, shift, (best - inner).float())
    depth = 1 / (inverse[0] + refined * (inverse[1] - inverse[0]))
    seen = (costs.amin(dim=0) < _UNSEEN / 2) & torch.from_numpy(view.mask)
    return np.asarray((depth * seen).double().numpy())


def _difference(
    view: View, own: Tensor, sources: list[View], both: Tensor, depth: float, settings: SweepSettings
) -> Tensor:
    """`(H, W)`: how unlike the photographs are if all is at `depth`: the mean of the better half of the sources."""
    height, width = view.mask.shape
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    points = unproject(view.camera, np.stack([columns.ravel(), rows.ravel()], axis=1), np.full(height * width, depth))
    grids, valid = [], []
    for source in sources:
        pixels, distance = source.camera.project(points)
        grids.append(2 * pixels / [width, height] - 1)
        valid.append(distance > 0)
    grid = torch.from_numpy(np.stack(grids)).float().view(-1, height, width, 2)
    warped = torch.nn.functional.grid_sample(both, grid, align_corners=False)
    seen = (warped[:, 3] > 0.99) & torch.from_numpy(np.stack(valid)).view(-1, height, width)
    seen = seen & torch.from_numpy(view.mask)
    unlike = torch.where(seen, (warped[:, :3] - own).abs().mean(dim=1), _UNSEEN)
    smooth = torch.nn.functional.avg_pool2d(
        unlike[:, None], settings.window, stride=1, padding=settings.window // 2, count_include_pad=False
    )[:, 0]
    better = smooth.sort(dim=0).values[: max(1, (len(sources) + 1) // 2)]
    return better.mean(dim=0)


def _confirmed(
    index: int, neighbours: list[int], views: Sequence[View], depths: FloatArray, settings: SweepSettings
) -> FloatArray:
    """`(H, W)` bool: where enough neighbours have a point at the same place."""
    height, width = depths[index].shape
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    points = unproject(views[index].camera, np.stack([columns.ravel(), rows.ravel()], axis=1), depths[index].ravel())
    votes = np.zeros(height * width, dtype=int)
    for other in neighbours:
        row, column, distance = views[other].camera.cells(points)
        theirs = depths[other][row, column]
        votes += (distance > 0) & (np.abs(theirs - distance) < settings.tolerance * distance)
    return np.asarray((votes >= settings.agreeing).reshape(height, width) & (depths[index] > 0))
