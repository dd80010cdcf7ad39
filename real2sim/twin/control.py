"""How the robot's controller follows what it is told: identified from an episode, commanded against reached."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import expm
from scipy.optimize import minimize

from arena.contracts import ActionSpace, Episode, FloatArray, InvalidInput
from real2sim.robot import PandaKinematics

FREQUENCIES, DAMPINGS, DELAYS = (4.0, 8.0, 16.0, 32.0), (0.7, 1.0), (0.0, 0.05, 0.1, 0.2, 0.3)
"""Where the fit begins: of the response to steps between few frames, some numbers look alike from afar."""
LEAST_TRAVEL = 0.05
"""Rad that some joint has to move by, or nothing can be told of how it follows."""


@dataclass(frozen=True)
class Servo:
    """A second-order response of every joint to its command, after a delay.

    `frequency` in rad/s, `damping` relative to critical, `delay` in s. `residual` is the root mean square of what it
    leaves unexplained, in rad, and NaN for the one that is only assumed.
    """

    frequency: float = 15.0
    damping: float = 1.0
    delay: float = 0.0
    residual: float = float("nan")

    def __post_init__(self) -> None:
        if not (0 < self.frequency < 1000 and 0 < self.damping < 10 and 0 <= self.delay < 2):
            raise InvalidInput(f"a servo of {self.frequency} rad/s, damping {self.damping}, delay {self.delay} s")


def respond(servo: Servo, commanded: FloatArray, start: FloatArray, fps: float) -> FloatArray:
    """`(T, 7)` rad, one row for each frame: from `start` `(7,)` at rest, with row t of `commanded` `(T, 7)` told from
    frame t until the next. The last command is not acted on any more.
    """
    period = 1 / fps
    whole, part = divmod(servo.delay, period)
    old, new = _transition(servo, part), _transition(servo, period - part)
    told = np.concatenate([np.repeat(start[None], int(whole) + 1, axis=0), commanded])
    state, reached = np.stack([start, np.zeros_like(start)]), [start]
    for t in range(len(commanded) - 1):
        # What is still told from before, then what arrives within this frame.
        for (keep, gain), target in zip((old, new), (told[t], told[t + 1]), strict=True):
            state = keep @ state + gain[:, None] * target
        reached.append(state[0])
    return np.array(reached)


def identify_servo(commanded: FloatArray, reached: FloatArray, fps: float) -> Servo:
    """The servo that turns joints `commanded` `(T, 7)` into those `reached` `(T, 7)`, rad, by least squares.

    Raises `InvalidInput` for an arm that hardly moves, and for shapes that disagree.
    """
    commanded, reached = np.asarray(commanded, dtype=np.float64), np.asarray(reached, dtype=np.float64)
    if commanded.shape != reached.shape or commanded.ndim != 2 or len(reached) < 3:
        raise InvalidInput(f"commanded and reached joints must be alike (T, 7), not {commanded.shape}, {reached.shape}")
    if np.ptp(reached, axis=0).max() < LEAST_TRAVEL:
        raise InvalidInput(f"the arm moves less than {LEAST_TRAVEL} rad: nothing can be told of its controller")

    def servo(values: FloatArray) -> Servo:
        frequency, damping = np.exp(np.clip(values[:2], np.log([0.5, 0.1]), np.log([200.0, 5.0])))
        return Servo(float(frequency), float(damping), float(np.clip(values[2], 0.0, 1.0)))

    def residual(values: FloatArray) -> float:
        return float(np.sqrt(np.mean((respond(servo(values), commanded, reached[0], fps) - reached) ** 2)))

    starts = [np.array([np.log(f), np.log(d), delay]) for f, d, delay in product(FREQUENCIES, DAMPINGS, DELAYS)]
    best = sorted(starts, key=residual)[:3]
    fits = [minimize(residual, start, method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-9}) for start in best]
    values = min(fits, key=lambda fit: fit.fun).x
    found = servo(values)
    return Servo(found.frequency, found.damping, found.delay, residual(values))


def commanded_joints(episode: Episode) -> FloatArray | None:
    """`(T, 7)` rad, what the arm was told in every frame; None where the episode does not say, or not of joints.

    A commanded velocity is a command to where it leads within a frame.
    """
    if episode.action is None or episode.joint_position is None:
        return None
    values, reached = np.asarray(episode.action.values, dtype=np.float64), np.asarray(episode.joint_position)
    space = episode.action.space
    if space is ActionSpace.JOINT_POSITION:
        return values[:, :7]
    if space is ActionSpace.JOINT_VELOCITY:
        return np.asarray(reached + values[:, :7] / episode.fps)
    if space is ActionSpace.CARTESIAN_POSITION:
        kinematics = PandaKinematics()
        return np.stack([kinematics.nearest(row[:6], q) for row, q in zip(values, reached, strict=True)])
    return None


def _transition(servo: Servo, seconds: float) -> tuple[FloatArray, FloatArray]:
    """Of position and velocity over a time with one target: what is kept `(2, 2)`, and what the target adds `(2,)`."""
    square = servo.frequency**2
    system = np.zeros((3, 3))
    system[:2] = [[0, 1, 0], [-square, -2 * servo.damping * servo.frequency, square]]
    whole = expm(system * seconds)
    return whole[:2, :2], whole[:2, 2]
