"""What a static camera sees without the robot, and where a frame differs from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray, Frames

LEAST_DIFFERENCE = 14.0
"""Grey levels (root of summed squares over colours, over sqrt 3) that count as a change whatever the noise."""
NOISES = 5.0


@dataclass(frozen=True)
class Plate:
    """`background` `(H, W, 3)` is each pixel's median over time: the scene, but where the robot mostly stood.

    `noise` `(H, W)` is the median absolute deviation from it, as a standard deviation, in grey levels.
    """

    background: FloatArray
    noise: FloatArray

    @classmethod
    def of(cls, film: Frames) -> Plate:
        background = np.median(film, axis=0)
        noise = 1.4826 * np.median(distance(film, background), axis=0)
        return cls(background, noise)

    def changed(self, frame: Frames) -> NDArray[np.bool_]:
        """`(..., H, W)`: where frames differ from the background beyond its noise.

        The noise of the whole picture counts, not a pixel's own: that is large where the robot often passes.
        """
        return np.asarray(distance(frame, self.background) > LEAST_DIFFERENCE + NOISES * float(np.median(self.noise)))


def distance(frames: Frames, background: FloatArray) -> FloatArray:
    """`(..., H, W)` grey levels that frames are from a background: root of the mean square over colours."""
    difference = frames.astype(np.float32) - background.astype(np.float32)
    return np.asarray(np.sqrt((difference**2).mean(-1)))
