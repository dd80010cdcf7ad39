"""Photographs that are asked for their colours of points in space, and how they agree about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter

from arena.contracts import FloatArray
from real2sim.camera import Camera
from real2sim.splats.views import View

MIN_DEPTH = 0.03
"""Metres before a camera: nearer points are not looked for."""
BLURS = (0.6, 3.0)
"""Pixels, least and most."""


@dataclass(frozen=True)
class Photo:
    """A photograph to sample. `image` `(H, W, 3)` in [0, 1] is softened to the grid's detail; `usable` `(H, W)`."""

    view: View
    camera: Camera
    image: FloatArray
    usable: NDArray[np.bool_]

    @classmethod
    def of(cls, view: View, cell: float) -> Photo:
        position, forward = view.camera.camera_to_base[:3, 3], view.camera.camera_to_base[:3, 2]
        distance = max(position[2] / max(-forward[2], 0.2), 0.1)
        blur = float(np.clip(0.4 * cell * view.camera.fx / distance, *BLURS))
        weight = view.mask.astype(np.float64)
        soft = np.maximum(gaussian_filter(weight, blur), 1e-3)[..., None]
        image = gaussian_filter(view.image / 255 * weight[..., None], (blur, blur, 0)) / soft
        return cls(view, view.camera, image, binary_erosion(view.mask, border_value=0))

    def colors(self, points: FloatArray) -> FloatArray:
        """`(N, 3)` at points `(N, 3)` m of the base frame, NaN where the picture does not show them."""
        pixels, depth = self.camera.project(points)
        return self.at(pixels, depth > MIN_DEPTH)

    def at(self, pixels: FloatArray, ahead: NDArray[np.bool_]) -> FloatArray:
        height, width = self.usable.shape
        place = np.clip(np.nan_to_num(pixels, nan=-1), -1, 1e5) - 0.5
        left, top = np.floor(place).astype(int).T
        inside = ahead & (left >= 0) & (top >= 0) & (left < width - 1) & (top < height - 1)
        inside[inside] = self.usable[top[inside], left[inside]]
        out = np.full((len(pixels), 3), np.nan)
        left, top = left[inside], top[inside]
        x, y = (place[inside] - np.stack([left, top], axis=1)).T[..., None]
        image = self.image
        upper = (1 - x) * image[top, left] + x * image[top, left + 1]
        out[inside] = (1 - y) * upper + y * ((1 - x) * image[top + 1, left] + x * image[top + 1, left + 1])
        return out


def others(samples: FloatArray) -> FloatArray:
    """`(V, N, 3)`: what all other photographs say of a point in the mean, NaN where none other shows it."""
    seen = np.isfinite(samples[..., :1])
    known = np.where(seen, samples, 0.0)
    count = seen.sum(axis=0) - seen
    return np.where(count > 0, (known.sum(axis=0) - known) / np.maximum(count, 1), np.nan)


def viewpoints(views: Sequence[View]) -> list[int]:
    """Of each view the number of its camera's pose, in the order in which poses first come."""
    numbers: dict[bytes, int] = {}
    return [numbers.setdefault(view.camera.camera_to_base.tobytes(), len(numbers)) for view in views]


def one_per_viewpoint(views: Sequence[View]) -> list[View]:
    """The views of each camera pose as one: of every pixel the first that shows the scene there.

    Pictures from one place agree about every point of space, so that they must not be asked whether they do.
    """
    found: list[View] = []
    for view, number in zip(views, viewpoints(views), strict=True):
        if number == len(found):
            found.append(view)
        else:
            first = found[number]
            image = np.where(first.mask[..., None], first.image, view.image)
            found[number] = replace(first, image=image, mask=first.mask | view.mask)
    return found
