"""Where pictures of one episode differ from what its rig looks like when nothing stands there, and from the robot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_opening, label
from scipy.optimize import linear_sum_assignment

from arena.contracts import FloatArray, Frames
from real2sim.camera import Camera
from real2sim.silhouette import with_margin
from real2sim.splats.views import unproject

UNLIKE = 40.0
"""Grey levels (root of summed squares over colours) that a pixel differs from the empty rig by."""
LEAST_PIXELS = 6
RAYS_APART, COLOURS_APART, WORST = 0.01, 0.35, 2.5
"""Metres between two rays, and distance of two colours in [0, 1], that count as one; pairs that add up to more are no
thing's."""


@dataclass(frozen=True)
class Sight:
    """One picture `(H, W, 3)` at one instant. `known` `(H, W)`: what is not the robot. `changed`: of that, what differs
    from the `empty` rig. `robot` `(H, W)` m is how far the robot is, infinite beside it."""

    camera: Camera
    frame: Frames
    empty: Frames
    robot: FloatArray

    @property
    def known(self) -> NDArray[np.bool_]:
        return ~with_margin(np.isfinite(self.robot))

    @property
    def changed(self) -> NDArray[np.bool_]:
        apart = np.linalg.norm(self.frame.astype(float) - self.empty, axis=-1) > UNLIKE
        return np.asarray(binary_opening(apart & self.known, np.ones((2, 2), bool)))


@dataclass(frozen=True)
class Blob:
    """A patch of a picture that is not the empty rig: `pixels` `(H, W)`, its middle `(2,)`, its colour `(3,)`."""

    camera: str
    pixels: NDArray[np.bool_]
    middle: FloatArray
    colour: FloatArray


@dataclass(frozen=True)
class Spotted:
    """Something at about `place` `(3,)` m, and its blob in each camera that shows it."""

    place: FloatArray
    blobs: Mapping[str, Blob]

    @property
    def colour(self) -> FloatArray:
        return np.asarray(np.mean([blob.colour for blob in self.blobs.values()], axis=0))


def blobs_of(name: str, sight: Sight) -> list[Blob]:
    """The connected patches of a picture that differ from the empty rig."""
    labels, count = label(sight.changed)
    found = []
    for index in range(1, count + 1):
        pixels = labels == index
        rows, columns = np.nonzero(pixels)
        if len(rows) < LEAST_PIXELS:
            continue
        middle = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
        found.append(Blob(name, pixels, middle, np.median(sight.frame[pixels], axis=0) / 255))
    return found


def spot(sights: Mapping[str, Sight]) -> list[Spotted]:
    """What is there that the empty rig has not, by patches of one colour whose rays meet."""
    patches = {name: blobs_of(name, sight) for name, sight in sights.items()}
    names = list(sights)
    found: list[Spotted] = []
    used: set[int] = set()
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            ours = [blob for blob in patches[first] if id(blob) not in used]
            theirs = [blob for blob in patches[second] if id(blob) not in used]
            for a, b, place in _pairs(ours, theirs, sights):
                blobs = {first: a, second: b}
                for third in names:
                    if third not in blobs and (c := _at(place, patches[third], sights[third], a.colour)) is not None:
                        blobs[third] = c
                used |= {id(blob) for blob in blobs.values()}
                found.append(Spotted(place, blobs))
    return found


def _pairs(
    ours: Sequence[Blob], theirs: Sequence[Blob], sights: Mapping[str, Sight]
) -> list[tuple[Blob, Blob, FloatArray]]:
    if not ours or not theirs:
        return []
    cost, places = np.full((len(ours), len(theirs)), 1e3), {}
    for i, a in enumerate(ours):
        for j, b in enumerate(theirs):
            place, apart = _meeting(sights[a.camera].camera, a.middle, sights[b.camera].camera, b.middle)
            if place is not None:
                cost[i, j] = apart / RAYS_APART + np.linalg.norm(a.colour - b.colour) / COLOURS_APART
                places[i, j] = place
    chosen = zip(*(side.tolist() for side in linear_sum_assignment(cost)), strict=True)
    return [(ours[i], theirs[j], places[i, j]) for i, j in chosen if cost[i, j] < WORST]


def _meeting(first: Camera, a: FloatArray, second: Camera, b: FloatArray) -> tuple[FloatArray | None, float]:
    """Where two pixels' rays come nearest `(3,)`, and by how much they miss, in m; None behind a camera."""
    origins = [camera.camera_to_base[:3, 3] for camera in (first, second)]
    rays = [unproject(camera, pixel[None], np.ones(1))[0] - origin
            for camera, pixel, origin in zip((first, second), (a, b), origins, strict=True)]  # fmt: skip
    s, t = np.linalg.lstsq(np.stack([rays[0], -rays[1]], axis=1), origins[1] - origins[0], rcond=None)[0]
    if s <= 0 or t <= 0:
        return None, np.inf
    ends = origins[0] + s * rays[0], origins[1] + t * rays[1]
    return (ends[0] + ends[1]) / 2, float(np.linalg.norm(ends[0] - ends[1]))


def _at(place: FloatArray, blobs: Sequence[Blob], sight: Sight, colour: FloatArray) -> Blob | None:
    """The patch that shows a place, if one of its colour does."""
    pixels, depth = sight.camera.project(place[None])
    for blob in blobs:
        rows, columns = np.nonzero(blob.pixels)
        near = np.abs(np.stack([columns, rows], axis=1) + 0.5 - pixels[0]).max(axis=1).min()
        if depth[0] > 0 and near < 3 and np.linalg.norm(blob.colour - colour) < 2 * COLOURS_APART:
            return blob
    return None
