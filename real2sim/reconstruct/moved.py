"""What moves in an episode besides the robot: a scene is fitted to what stands still, as it was in the beginning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_opening, label
from scipy.spatial import cKDTree

from arena.contracts import FloatArray, Frames
from real2sim.camera import Camera
from real2sim.cameras.plate import Plate
from real2sim.silhouette import with_margin
from real2sim.splats.planar import pixel_rays
from real2sim.splats.views import unproject

LEAST_SHARE = 3e-4
"""Of a picture: smaller patches that differ are noise."""
LASTING = 0.2
"""Of the frames that do not show the robot in a pixel, the share in which that differs, for something to have moved
there: the robot's shadow is gone sooner."""
MARGIN = 0.01
"""Picture widths around what moved: cameras are known to within centimetres."""
NEAREST, FURTHEST, DEPTHS = 0.1, 1.2, 16
"""Metres along a wrist camera's rays between which it is asked whether something moved there."""
COARSE = 4
"""Pixels that are asked about together."""
SMALLEST, SHOWN = 0.03, 0.6
"""Metres of the smallest thing that is moved, and the share of a place that has to be seen to say that none was."""

LOW, TOUCHED, STEPS, BELOW = 0.08, 0.15, 10, 0.15
"""Metres above their lowest point up to which fingertips touch what stands on a table, and around where they touch or
hold something within which they moved things; in so many places a thing is asked about on its way down. So far below
their lowest point nothing is taken to have moved: rays of several cameras meet there by chance, but a hand that stays
higher above its table is not seen to move what lies on it."""

Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class Changes:
    """Of a static camera, at `frames` `(K,)` of its film, of which `first` and `last` `(H, W, 3)` are kept.

    `robot` `(K, H, W)` is where the robot is drawn, and all that differs from the `plate` and touches it, as what it
    holds and its shadow do; `apart` `(K, H, W)` is what differs elsewhere: things that were moved, before or after.
    """

    camera: Camera
    plate: Frames
    first: Frames
    last: Frames
    frames: NDArray[np.int64]
    robot: Masks
    apart: Masks

    @classmethod
    def of(cls, camera: Camera, film: Frames, frames: NDArray[np.int64], drawn: Masks) -> Changes:
        """`film` `(T, H, W, 3)`, and the robot `drawn` `(K, H, W)` at `frames`."""
        plate = Plate.of(film)
        changed = plate.changed(film[frames])
        drawn = np.stack([with_margin(mask) for mask in drawn])
        parts = [_by_robot(*pair) for pair in zip(changed, drawn, strict=True)]
        robot, apart = (np.stack(masks) for masks in zip(*parts, strict=True))
        picture = np.rint(plate.background).astype(np.uint8)
        return cls(camera, picture, film[frames[0]], film[frames[-1]], frames, robot, apart)

    @property
    def moved_from_start(self) -> Masks:
        """`(H, W)`: where in the beginning was something that mostly was not there."""
        return _grown(self.apart[0], MARGIN * self.camera.width)

    @cached_property
    def _lasting(self) -> Masks:
        free = (~self.robot).sum(0)
        return np.asarray(self.apart.sum(0) > np.maximum(1, LASTING * free))

    @cached_property
    def moved(self) -> Masks:
        """`(H, W)`: where something stood at one time, and at another did not."""
        return _grown(self._lasting, MARGIN * self.camera.width)

    def still_in(self, middle: FloatArray, radius: float, frame: int) -> bool:
        """Whether the film shows that nothing was taken or left at a `frame` within `radius` m of `middle` `(3,)` m:
        it sees most of that both before and after, a thing there would be large enough to be told from noise, and
        nothing differs."""
        depth = self.camera.cells(middle[None])[2][0]
        if depth <= 0 or (SMALLEST * self.camera.fx / depth) ** 2 < LEAST_SHARE * self.plate[..., 0].size:
            return False
        place, before = ball_in(self.camera, middle, radius), self.frames < frame
        times = (before, ~before)
        free = [(~self.robot[when]).sum(0) for when in times]
        both = place & (free[0] > 0) & (free[1] > 0)
        usual = [self.apart[when].sum(0) > seen / 2 for when, seen in zip(times, free, strict=True)]
        return bool(both.sum() > SHOWN * max(place.sum(), 1) and not (both & (usual[0] ^ usual[1])).any())

    @property
    def since(self) -> int:
        """The frame by which things had not moved yet, as far as this camera shows."""
        known = ~self.robot & ~self.robot[0] & self._lasting
        differs = ((self.apart ^ self.apart[0]) & known).mean((1, 2)) > LEAST_SHARE
        return int(self.frames[max(0, int(differs.argmax()) - 1)] if differs.any() else self.frames[-1])


class Moved:
    """What moved, as the static cameras see it together. `since` is the frame by which none saw anything moved.

    One camera alone does not say how far away that is: then it is within `TOUCHED` of where the fingertips, at `tips`
    `(T, 3)` m, came when they were low, or `closed` `(T,)`, or of what fell as they opened: what moves was touched by
    them or by what they held.
    """

    def __init__(self, changes: Sequence[Changes], tips: FloatArray, closed: Masks) -> None:
        self._lowest = float(tips[:, 2].min()) - BELOW
        self._touched = cKDTree(_touched(tips, closed)) if len(changes) == 1 else None
        self.since = min((each.since for each in changes), default=0)
        self._moved = [(each.camera, each.moved) for each in changes]

    def seen_by(self, camera: Camera) -> Masks:
        """`(H, W)`: the pixels of another camera behind which something moved: on whose rays there is a point that
        shows, in every static camera that looks there, where something moved."""
        rows, columns = np.mgrid[COARSE / 2 : camera.height : COARSE, COARSE / 2 : camera.width : COARSE]
        pixels = np.stack([columns, rows], axis=-1).reshape(-1, 2)
        behind = np.zeros(len(pixels), bool)
        for depth in np.geomspace(NEAREST, FURTHEST, DEPTHS):
            behind |= self.there(unproject(camera, pixels, np.full(len(pixels), depth)))
        coarse = behind.reshape(rows.shape)
        return np.kron(coarse, np.ones((COARSE, COARSE), bool))[: camera.height, : camera.width]

    def there(self, points: FloatArray) -> Masks:
        """`(N,)`: whether something moved at points `(N, 3)`; where no static camera looks, nothing is known to."""
        looked, all_say = np.zeros(len(points), bool), np.ones(len(points), bool)
        for camera, moved in self._moved:
            row, column, depth = camera.cells(points)
            looked |= depth > 0
            all_say &= (depth <= 0) | moved[row, column]
        there: Masks = looked & all_say & (points[:, 2] > self._lowest)
        if self._touched is not None:
            there[there] = self._touched.query(points[there])[0] < TOUCHED
        return there


def _touched(tips: FloatArray, closed: Masks) -> FloatArray:
    """`(N, 3)` m: where fingertips were low or closed, and what they let go of fell through."""
    lowest = tips[:, 2].min()
    opened = tips[1:][closed[:-1] & ~closed[1:]]
    falls = [np.c_[np.tile(tip[:2], (STEPS, 1)), np.linspace(lowest, tip[2], STEPS)] for tip in opened]
    return np.concatenate([tips[closed | (tips[:, 2] < lowest + LOW)], *falls])


def ball_in(camera: Camera, middle: FloatArray, radius: float) -> Masks:
    """`(H, W)`: the pixels whose rays meet a ball, m."""
    away = middle - camera.camera_to_base[:3, 3]
    rays = pixel_rays(camera)
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    along = rays @ away
    return np.asarray((along > 0) & (away @ away - along**2 < radius**2))


def _by_robot(changed: Masks, drawn: Masks) -> tuple[Masks, Masks]:
    """The robot with what touches it, and what is apart from it."""
    patches, count = label(binary_opening(changed, np.ones((2, 2), bool)) | drawn)
    touching = np.unique(patches[drawn])
    size = np.bincount(patches.ravel(), minlength=count + 1)
    ours = np.zeros(count + 1, bool)
    ours[touching] = True
    ours[0] = False
    theirs = ~ours & (size > LEAST_SHARE * changed.size)
    theirs[0] = False
    return ours[patches], theirs[patches]


def _grown(mask: Masks, pixels: float) -> Masks:
    return np.asarray(binary_dilation(mask, iterations=max(1, round(pixels))))
