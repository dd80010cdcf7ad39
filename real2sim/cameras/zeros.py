"""Whether a robot's joints are recorded with the right zeros, by its wrist camera's film.

A joint whose zero is wrong moves the flange along a path that a camera elsewhere on it makes up for only in part: the
wrong camera is then found, and may explain enough to pass. So the film is explained once more with the zeros left free
(kinematic self-calibration; Bennett and Hollerbach 1991).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from arena.contracts import FloatArray
from real2sim.cameras.epipolar import DIFFERENCE, LENS, EpipolarProblem, explained, robust_fit
from real2sim.cameras.handeye import HandEye, camera_numbers
from real2sim.robot_kind import Mount

JUDGES = 5000
"""Matches that are asked."""


@dataclass(frozen=True)
class FreeZeros:
    """`offsets` `(J,)` rad to be added to the recorded joints for the film to fit best, and how much of it is then
    `explained`, as `HandEye.explained` is."""

    offsets: FloatArray
    explained: float


def free_zeros(
    fit: HandEye,
    joint_position: FloatArray,
    poses_of: Callable[[FloatArray], FloatArray],
    width: int,
    height: int,
    *,
    aspect: float = 1.0,
    lens_known: bool = False,
) -> FreeZeros:
    """The joints' zeros and the camera near `fit` that together explain most of its matches.

    `joint_position` `(T, J)` rad are the recorded ones, of which `poses_of` makes what the camera is fixed to in the
    base frame, `(T, 4, 4)`. Offsets of the first and the last joint stay 0: the one turns all that is seen, the other
    the camera, so that no film tells of them.
    """
    count = joint_position.shape[1]

    def poses(offsets: FloatArray) -> FloatArray:
        return poses_of(joint_position + np.concatenate([[0.0], offsets, [0.0]]))

    problem = EpipolarProblem(fit.matches, poses(np.zeros(count - 2)), width, height, aspect)
    first, second = fit.matches.first, fit.matches.second

    def motion(offsets: FloatArray, chosen: Tensor) -> Tensor:
        at = poses(offsets)
        return torch.from_numpy(np.linalg.inv(at)[second[chosen]] @ at[first[chosen]])

    def off(numbers: FloatArray, chosen: Tensor) -> FloatArray:
        with torch.no_grad():
            camera = torch.from_numpy(numbers[None, : LENS + 1])
            return np.asarray(problem.distances(camera, chosen, motion(numbers[LENS + 1 :], chosen))[0])

    chosen = torch.from_numpy(problem.draw(np.random.default_rng(0), JUDGES))

    def linear(numbers: FloatArray) -> tuple[FloatArray, FloatArray]:
        here, slope = problem.linear(numbers[: LENS + 1], chosen, motion(numbers[LENS + 1 :], chosen))
        moved = [
            (off(numbers + step, chosen) - off(numbers - step, chosen)) / (2 * DIFFERENCE)
            for step in DIFFERENCE * np.eye(len(numbers))[LENS + 1 :]
        ]
        return here, np.concatenate([slope, np.stack(moved, axis=1)], axis=1)

    start = camera_numbers(Mount(fit.camera_to_flange, fit.focal / width))
    numbers = robust_fit(linear, np.concatenate([start, np.zeros(count - 2)]), [LENS] if lens_known else [])
    offsets = np.concatenate([[0.0], numbers[LENS + 1 :], [0.0]])
    return FreeZeros(offsets, explained(off(numbers, torch.arange(len(fit.matches)))))
