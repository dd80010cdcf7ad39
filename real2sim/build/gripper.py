"""The gripper in the wrist camera's film: where it is drawn, and where the film itself says that it is.

A camera that is known to a few millimetres draws fingers that are a hand's breadth away off by several pixels. But they
stay where they are in the picture while the scene goes by.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from arena.contracts import FloatArray, Frames

STILL = 10.0
"""Grey levels that a gripper's pixels differ by between frames in which it is opened alike."""
ALIKE, LEAST_FRAMES = 0.08, 8
"""Of the way from open to closed, and the frames so alike that are needed to tell what stays."""
CERTAIN, POSSIBLE = 0.02, 0.1
"""Picture widths around the drawn gripper: so near all is taken for it, and so near what stays the same is."""
HOLDING = 0.1
"""Of the way from open to closed: from there on it may hold something."""
HELD_AT, HELD_RADIUS = 0.15, 0.06
"""Metres from the flange to the fingertips, and around them: where a thing is held."""


class GripperFilm:
    """A wrist camera's `film` `(T, H, W, 3)` with how far the gripper is closed, `(T,)` from 0 to 1."""

    def __init__(self, film: Frames, gripper: FloatArray) -> None:
        self._film, self._gripper = film, gripper

    def mask(self, frame: int, drawn: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """`(H, W)`: the gripper at a frame, `drawn` `(H, W)` being where its model is."""
        width = drawn.shape[1]
        near = binary_dilation(drawn, iterations=max(2, round(POSSIBLE * width)))
        certain = binary_dilation(drawn, iterations=max(2, round(CERTAIN * width)))
        return np.asarray(certain | (near & self._still(frame)))

    def _still(self, frame: int) -> NDArray[np.bool_]:
        """`(H, W)`: what looks as it mostly does while the gripper is opened so far."""
        alike = np.abs(self._gripper - self._gripper[frame]) < ALIKE
        if alike.sum() < LEAST_FRAMES:
            return np.zeros(self._film.shape[1:3], bool)
        films = self._film[alike].astype(np.float32)
        usual = np.median(films, axis=0)
        strays = np.median(np.abs(films - usual).max(-1), axis=0)
        here = np.abs(self._film[frame] - usual).max(-1)
        return np.asarray((strays < STILL) & (here < 2 * STILL))
