"""The colours that an episode's films show the robot's parts in, where its model has clearly other ones.

A colour response (`color`) says what a camera does to all of the robot. It cannot make fingertips black that a model
has white, and a policy sees them in every picture of its wrist camera.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from arena.contracts import FloatArray, Frames
from real2sim.robot_parts import RGB, color_of
from real2sim.silhouette import RobotSilhouette
from real2sim.twin.color import ColorResponse

LEAST_PIXELS = 100
"""Of a part, without its rim, over all frames of all cameras."""
DIFFERS = 0.15
"""Of the range of colours, that the median pixel of a part is off by: less may be light or shadow."""
DARKEST, LEAST_GAIN = 0.02, 0.1


@dataclass(frozen=True)
class RobotFilm:
    """Frames of one camera: `drawn` `(B, H, W, 3)` as the model has the robot, `geoms` `(B, H, W)` of it, -1 beside it,
    what was `filmed` `(B, H, W, 3)`, and the camera's `response`, fitted to the robot as a whole."""

    drawn: Frames
    geoms: NDArray[np.int32]
    filmed: Frames
    response: ColorResponse

    def pixels(self, geoms: Sequence[int]) -> tuple[FloatArray, ...]:
        """`(N, 3)` each, in [0, 1], of some geoms without their rim: as drawn, as the camera would film that, as
        filmed, and as filmed before the camera's response."""
        inside = binary_erosion(np.isin(self.geoms, geoms), np.ones((1, 3, 3), bool))
        drawn, filmed = self.drawn[inside] / 255.0, self.filmed[inside] / 255.0
        before = (filmed - np.array(self.response.offset)) / np.maximum(self.response.gain, LEAST_GAIN)
        return drawn, self.response.apply(torch.from_numpy(drawn)).numpy(), filmed, before


def fit_robot_colors(
    robot: RobotSilhouette, films: Sequence[RobotFilm], others: Collection[str] = ()
) -> dict[str, RGB]:
    """The colours of those parts of a `robot`, drawn as it is painted now, whose median pixel differs by `DIFFERS` from
    what is filmed, and of all that `others` names."""
    shown = np.unique(np.concatenate([np.unique(film.geoms) for film in films])).tolist()
    found = {}
    for part in sorted({robot.parts[geom] for geom in shown if geom >= 0}):
        geoms = [geom for geom in shown if geom >= 0 and robot.parts[geom] == part]
        seen = zip(*(film.pixels(geoms) for film in films), strict=True)
        drawn, toned, filmed, before = (np.concatenate(each) for each in seen)
        if len(drawn) < LEAST_PIXELS:
            continue
        off = np.median(filmed, axis=0) - np.median(toned, axis=0)
        if part in others or np.abs(off).max() > DIFFERS:
            darker = np.median(before, axis=0) / np.maximum(np.median(drawn, axis=0), 1 / 255)
            red, green, blue = (color_of(robot.model, geoms[0]) * darker).clip(DARKEST, 1.0).tolist()
            found[part] = (red, green, blue)
    return found
