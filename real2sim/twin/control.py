"""How the robot's controller follows what it is told: identified from an episode, commanded against reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from scipy.linalg import expm
from scipy.optimize import minimize

from arena.contracts import ActionSpace, Episode, FloatArray, InvalidInput
from real2sim.robot import ArmKinematics
from real2sim.robots import robot_named

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


@dataclass(frozen=True)
class GripperServo:
    """How a gripper follows its command, both from 0 open to 1 closed.

    Most go where they are told, at most `speed` (of the whole way, in 1/s) fast. Some are told how hard to close and
    move on until something stops them: `pace` is their speed per unit of command above `neutral`, which they take up
    within `lag` s. `residual` is the root mean square of what is left unexplained, NaN where it is only assumed.
    """

    speed: float = 1 / 0.6
    """The 2F-85's greatest."""
    pace: float = 0.0
    neutral: float = 0.5
    lag: float = 0.0
    residual: float = float("nan")

    def __post_init__(self) -> None:
        if not (self.speed > 0 and self.pace >= 0 and 0 <= self.lag < 2):
            raise InvalidInput(f"a gripper with speed {self.speed}, pace {self.pace}, lag {self.lag} s")

    def after(self, state: FloatArray, command: float | FloatArray, seconds: float) -> FloatArray:
        """Position and speed `(2, ...)` a short time later, of one or more grippers; at either end they stop."""
        position, speed = state
        if self.pace:
            wanted = np.clip(self.pace * (command - self.neutral), -self.speed, self.speed)
            speed = wanted + (speed - wanted) * np.exp(-seconds / max(self.lag, 1e-6))
        else:
            speed = np.clip((command - position) / seconds, -self.speed, self.speed)
        ahead = position + speed * seconds
        return np.array([np.clip(ahead, 0.0, 1.0), np.where((ahead >= 0) & (ahead <= 1), speed, 0.0)])


def identify_tool_servo(films: Sequence[tuple[FloatArray, FloatArray]], fps: float) -> Servo:
    """The servo that turns where the tool was told to be into where it was, positions `(T, 3)` in m of one or more
    episodes. `residual` is in m. Raises `InvalidInput` where the tool hardly moves."""
    if not films or max(np.ptp(reached, axis=0).max() for _, reached in films) < LEAST_TRAVEL:
        raise InvalidInput(f"the tool moves less than {LEAST_TRAVEL} m: nothing can be told of its controller")

    def servo(values: FloatArray) -> Servo:
        frequency, damping = np.exp(np.clip(values[:2], np.log([3.0, 0.5]), np.log([60.0, 2.0])))
        return Servo(float(frequency), float(damping), float(np.clip(values[2], 0.0, 0.3)))

    def errors(values: FloatArray) -> FloatArray:
        made = servo(values)
        return np.concatenate([respond(made, told, reached[0], fps) - reached for told, reached in films])

    def residual(values: FloatArray) -> float:
        return float(np.abs(errors(values)).mean())

    starts = [np.array([np.log(f), 0.0, delay]) for f in (10.0, 20.0, 40.0) for delay in (0.0, 0.04, 0.08)]
    fit = minimize(residual, min(starts, key=residual), method="Nelder-Mead", options={"maxfev": 80, "xatol": 1e-3})
    return replace(servo(fit.x), residual=float(np.sqrt((errors(fit.x) ** 2).mean())))


GRIPPER_STEP = 0.01
"""Seconds, about, of the integration that a gripper is identified by."""
STANDS = 0.03
"""Of its way within a frame: a gripper that moves by less stands still."""
LEAST_OPENING = 0.3
"""What a gripper has to open or close by, or nothing can be told of how it follows."""


def identify_gripper(
    films: Sequence[tuple[FloatArray, FloatArray]], fps: float, *, paced: bool = False
) -> GripperServo:
    """The gripper that turns commands `(T,)` into positions `(T,)`, of one or more episodes; row t was told from frame
    t until the next. Commands are where to go or, of one that may be `paced`, how hard to close. Things that stop it
    count little (least absolute differences). Where it hardly moves, it is the one that is assumed."""
    if not films or max(np.ptp(reached) for _, reached in films) < LEAST_OPENING:
        return GripperServo()

    length = max(len(reached) for _, reached in films)
    commanded, seen = (np.array([np.pad(film[i], (0, length - len(film[i])), mode="edge") for film in films]).T
                       for i in range(2))  # fmt: skip
    known = np.arange(length)[:, None] < [len(reached) for _, reached in films]
    # Where a gripper stands halfway, a thing stops it: that says nothing of how it moves.
    stands = np.abs(np.diff(seen, axis=0, prepend=np.nan)) < STANDS
    known &= ~(stands & (seen > 2 * STANDS) & (seen < 1 - 2 * STANDS))

    def errors(servo: GripperServo) -> FloatArray:
        return np.asarray((_grips(servo, commanded, seen[0], fps) - seen)[known])

    def residual(servo: GripperServo) -> float:
        return float(np.abs(errors(servo)).mean())

    def pacing(values: FloatArray) -> GripperServo:
        pace, lag = np.exp(np.clip(values[[0, 2]], np.log([0.1, 0.001]), np.log([200.0, 1.0])))
        return GripperServo(1e3, float(pace), float(values[1]), float(lag))

    def going(values: FloatArray) -> GripperServo:
        return GripperServo(float(np.exp(np.clip(values[0], -3.0, 5.0))))

    speeds = [np.array([np.log(speed)]) for speed in (1.0, 3.0, 10.0)]
    paces = [np.array([np.log(pace), 0.5, np.log(lag)]) for pace in (5.0, 20.0) for lag in (0.03, 0.1)]
    candidates = ((going, speeds), (pacing, paces)) if paced else ((going, speeds),)
    found = [_likeliest(make, start, residual) for make, starts in candidates for start in starts]
    best = min(found, key=residual)
    return replace(best, residual=float(np.sqrt(np.mean(errors(best) ** 2))))


def _grips(servo: GripperServo, commanded: FloatArray, start: FloatArray, fps: float) -> FloatArray:
    """`(T, N)`: where grippers come to that begin at `start` `(N,)` and are told `commanded` `(T, N)`."""
    state, out = np.array([start, np.zeros_like(start)]), [start]
    steps = max(1, round(1 / fps / GRIPPER_STEP))  # Of a frame's own length: few rates divide 100 Hz.
    for command in commanded[:-1]:
        for _ in range(steps):
            state = servo.after(state, command, 1 / fps / steps)
        out.append(state[0])
    return np.array(out)


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
        kinematics = ArmKinematics(robot_named(episode.robot))
        return np.stack([kinematics.nearest(row[:6], q) for row, q in zip(values, reached, strict=True)])
    return None


def _likeliest(
    make: Callable[[FloatArray], GripperServo], start: FloatArray, residual: Callable[[GripperServo], float]
) -> GripperServo:
    """What `make` makes of the numbers near `start` with the least residual."""

    def cost(values: FloatArray) -> float:
        return residual(make(values))

    options: Any = {"maxfev": 150, "xatol": 1e-3, "fatol": 1e-5}
    return make(minimize(cost, start, method="Nelder-Mead", options=options).x)


def _transition(servo: Servo, seconds: float) -> tuple[FloatArray, FloatArray]:
    """Of position and velocity over a time with one target: what is kept `(2, 2)`, and what the target adds `(2,)`."""
    square = servo.frequency**2
    system = np.zeros((3, 3))
    system[0] = 0, 1, 0
    system[1] = -square, -2 * servo.damping * servo.frequency, square
    whole = expm(system * seconds)
    return whole[:2, :2], whole[:2, 2]
