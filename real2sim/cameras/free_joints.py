"""Whether joints are recorded with the right zeros and at the right times, by the wrist camera's film.

A joint whose zero is wrong, or joints that lag behind the film, move the flange along a path that a camera elsewhere on
it makes up for in part: a wrong camera is then found, and may explain enough to pass. So the film is explained once
more with the zeros and the lag left free (kinematic self-calibration; Bennett and Hollerbach 1991).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray
from real2sim.cameras.epipolar import LENS, NUMBERS, EpipolarProblem, Linear, differences, explained, robust_fit
from real2sim.cameras.handeye import HandEye, camera_numbers
from real2sim.robot_kind import Mount

JUDGES = 5000
"""Matches that are asked."""


@dataclass(frozen=True)
class RecordedJoints:
    """`position` `(T, J)` rad and `velocity` `(T, J)` rad/s at a film's frames, and `poses_of` positions, `(T, 4, 4)`:
    of what the camera is fixed to, in the base frame."""

    position: FloatArray
    velocity: FloatArray
    poses_of: Callable[[FloatArray], FloatArray]

    def poses(self, offsets: FloatArray | float = 0.0, lag: float = 0.0) -> FloatArray:
        """`(T, 4, 4)`, were the zeros `offsets` `(J,)` rad away, and the film `lag` s later than recorded."""
        return self.poses_of(self.position + offsets + lag * self.velocity)

    def later(self, lag: float) -> RecordedJoints:
        """Those `lag` s after them."""
        return replace(self, position=self.position + lag * self.velocity)


@dataclass(frozen=True)
class FreeJoints:
    """`offsets` `(J,)` rad to be added to the recorded joints, and `lag` s by which the film is later than they, for it
    to fit best, and how much of it is then `explained`, as `HandEye.explained` is."""

    offsets: FloatArray
    lag: float
    explained: float


def free_joints(
    fit: HandEye, joints: RecordedJoints, width: int, height: int, *, aspect: float = 1.0, lens_known: bool = False
) -> FreeJoints:
    """The joints' zeros, their lag and the camera near `fit` that together explain most of its matches.

    Offsets of the first and the last joint stay 0: the one turns all that is seen, and the other the camera (or, where
    the camera stays level, nothing), so that no film tells of them.
    """
    problem = EpipolarProblem(fit.matches, joints.poses(), width, height, aspect)
    chosen = problem.draw(np.random.default_rng(0), JUDGES)

    def motion(told: FloatArray, asked: NDArray[np.int64]) -> FloatArray:
        return problem.motions(joints.poses(*_told(told)), asked)

    def off(camera: FloatArray, told: FloatArray, asked: NDArray[np.int64]) -> FloatArray:
        return problem.distances(camera[None], asked, motion(told, asked))

    def linear(numbers: FloatArray) -> Linear:
        camera, told = np.split(numbers, [NUMBERS])
        here, by_camera = problem.linear(camera, chosen, motion(told, chosen))
        _, by_joints = differences(lambda many: np.concatenate([off(camera, each, chosen) for each in many]), told)
        return here, np.concatenate([by_camera, by_joints], axis=1)

    camera = camera_numbers(Mount(fit.camera_to_flange, fit.focal / width))
    start = np.concatenate([camera, np.zeros(joints.position.shape[1] - 1)])
    numbers = robust_fit(linear, start, [LENS] if lens_known else [])
    camera, told = np.split(numbers, [NUMBERS])
    return FreeJoints(*_told(told), explained(off(camera, told, problem.everything)[0]))


def _told(numbers: FloatArray) -> tuple[FloatArray, float]:
    """Offsets `(J,)` and lag."""
    return np.concatenate([[0.0], numbers[:-1], [0.0]]), float(numbers[-1])
