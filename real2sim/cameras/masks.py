"""The robot as a film itself shows it: where frames differ from the scene without the robot.

The median over all time is no such scene where an arm hovers. But a camera that is known says in which frames the robot
is out of a pixel's way, and those show what is behind it. A camera that is wrong takes pictures of the robot for the
scene, and then frames differ from that where no robot is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from arena.contracts import FloatArray, Frames
from real2sim.cameras.cut import minimum_cut
from real2sim.cameras.plate import LEAST_DIFFERENCE, NOISES, distance
from real2sim.silhouette import with_margin

LEAST_FREE = 3
"""Frames without the robot that a pixel's scene is known from."""
SURE, SMOOTHNESS = 3.0, 3.0
"""The most evidence that a pixel gives for the robot, where what differs as little as noise gives 1 against it, and
what each border between two pixels costs: holes, threads and specks of a few pixels go."""

Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class EmptyScene:
    """`background` `(H, W, 3)` is each pixel's median over the frames in which the robot is not drawn there, `known`
    `(H, W)` where there are enough of them, and `threshold` the grey levels that are a change."""

    background: FloatArray
    known: Masks
    threshold: float

    @classmethod
    def of(cls, film: Frames, drawn: Masks) -> EmptyScene:
        """`film` `(K, H, W, 3)`, and where the robot is `drawn` `(K, H, W)` in it."""
        hidden = np.stack([with_margin(mask) for mask in drawn])
        shown = np.where(hidden[..., None], np.nan, film.astype(np.float32))
        known = (~hidden).sum(0) >= LEAST_FREE
        background = np.zeros(film.shape[1:])
        background[known] = np.nanmedian(shown[:, known], axis=0)
        apart = distance(film, background)
        noise = 1.4826 * float(np.median(apart[~hidden & known])) if known.any() else 0.0
        return cls(background, known, LEAST_DIFFERENCE + NOISES * noise)

    def robot(self, frames: Frames) -> Masks:
        """`(K, H, W)`: the connected parts of frames `(K, H, W, 3)` that differ from the scene."""
        evidence = 2 * (distance(frames, self.background) / self.threshold - 1)
        evidence = np.where(self.known, evidence.clip(-1, SURE), 0.0)
        return np.stack([minimum_cut(each, SMOOTHNESS) for each in evidence])


def mask_iou(scene: EmptyScene, frames: Frames, drawn: Masks, near: int) -> float:
    """Intersection over union of the robot `drawn` `(K, H, W)` and the robot that `frames` show, within `near` pixels
    of the drawn one: what else moves in a picture is not the camera's fault. 0 where no scene is known behind it."""
    around = np.stack([binary_dilation(mask, iterations=near) for mask in drawn]) & scene.known
    return iou(scene.robot(frames) & around, drawn & around)


def iou(first: Masks, second: Masks) -> float:
    """Intersection over union of all that two arrays of one shape mark; 0 where neither marks anything."""
    return float((first & second).sum() / max(int((first | second).sum()), 1))
