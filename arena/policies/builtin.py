"""Policies that need no model: controls that every evaluation should contain.

All act in `cartesian_position`, open loop: they look at how the scene begins and not at what comes of it, so
that what they do is the same in every world.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from arena.contracts import ActionChunk, ActionSpace, FloatArray, InvalidInput, Observation, PolicyCard, Scene

CHUNK_LENGTH = 15
CONTROL_HZ = 15.0
"""Of `hold` and `noise`. Chunks of `replay` and `reverse` carry the recording's rate, which may differ."""


class Track(Protocol):
    """What a built-in policy does in one trial, for ever."""

    @property
    def control_hz(self) -> float: ...

    def rows(self, steps: NDArray[np.int64]) -> FloatArray:
        """Actions `steps` `(N,)`, counted from 0: `(N, 7)` absolute poses and gripper positions."""
        ...


Plan = Callable[[Scene, int], Track]
"""From a scene and a seed to a track; raises `InvalidInput` where the scene lacks what the plan needs."""


class BuiltinPolicy:
    """Carries out a `Plan` in chunks (`arena.contracts.Policy`)."""

    def __init__(self, card: PolicyCard, plan: Plan) -> None:
        self._card, self._plan = card, plan
        self._track: Track | None = None
        self._done = 0

    @property
    def card(self) -> PolicyCard:
        return self._card

    def reset(self, scene: Scene, seed: int) -> None:
        """Plan the trial; raises `InvalidInput` where the scene lacks what the plan needs."""
        self._track, self._done = self._plan(scene, seed), 0

    def act(self, observation: Observation) -> ActionChunk:
        """The next `card.chunk_length` actions, `(N, 7)` in `cartesian_position`."""
        if self._track is None:
            raise RuntimeError(f"policy {self._card.name!r}: act before reset")
        steps = self._done + np.arange(self._card.chunk_length)
        self._done += self._card.chunk_length
        return ActionChunk(self._track.rows(steps), ActionSpace.CARTESIAN_POSITION, self._track.control_hz)

    def close(self) -> None:
        """Nothing to release."""


@dataclass(frozen=True)
class _Listed:
    """`(T, 7)` actions, the last held for ever."""

    values: FloatArray
    control_hz: float

    def rows(self, steps: NDArray[np.int64]) -> FloatArray:
        return self.values[np.minimum(steps, len(self.values) - 1)]


def hold(scene: Scene, seed: int) -> Track:
    """Stay at the pose where the scene begins, the gripper as it is."""
    return _Listed(scene.observation.state[None, :].astype(np.float64), CONTROL_HZ)


def replay(scene: Scene, seed: int) -> Track:
    """The recorded actions, then hold the last."""
    recorded = _recorded(scene, "replay")
    return _Listed(recorded.values.astype(np.float64), recorded.control_hz)


def reverse(scene: Scene, seed: int) -> Track:
    """The recorded displacements from the start, mirrored: where the recording went left, this goes right.

    Positions become `start - (recorded - start)`, likewise the gripper, clipped to [0, 1]; a rotation R from
    the start orientation (in the base frame) becomes its inverse.
    """
    recorded = _recorded(scene, "reverse")
    start = scene.observation.state.astype(np.float64)
    mirrored = 2 * start - recorded.values.astype(np.float64)
    turn = Rotation.from_euler("xyz", recorded.values[:, 3:6]) * Rotation.from_euler("xyz", start[3:6]).inv()
    mirrored[:, 3:6] = (turn.inv() * Rotation.from_euler("xyz", start[3:6])).as_euler("xyz")
    mirrored[:, 6] = np.clip(mirrored[:, 6], 0.0, 1.0)
    return _Listed(mirrored, recorded.control_hz)


def noise(speed: float, turn_speed: float, gripper_speed: float) -> Plan:
    """A plan of smooth random motion around the start that never exceeds the given speeds.

    `speed` in m/s, `turn_speed` in rad/s, `gripper_speed` in full strokes per s. Raises `InvalidInput` where
    one is negative or not finite.
    """
    speeds = {"speed": speed, "turn_speed": turn_speed, "gripper_speed": gripper_speed}
    for name, value in speeds.items():
        if not (np.isfinite(value) and value >= 0):
            raise InvalidInput(f"noise: {name} must be a finite number of at least 0, not {value}")
    # A bound on each of three axes that bounds their norm.
    limits = np.array([speed, speed, speed, turn_speed, turn_speed, turn_speed, gripper_speed])
    limits[:6] /= np.sqrt(3)

    def plan(scene: Scene, seed: int) -> Track:
        # By the seed alone, which an evaluation draws for each scene: a scene and its perturbed partner, which share
        # one, have the same motion, so that what differs is the perturbation's doing.
        return _Noise(scene.observation.state.astype(np.float64), limits, np.random.default_rng(seed % 2**63))

    return plan


class _Noise:
    """A sum of sines per axis, zero at the start, whose speeds add up to at most the axis's limit."""

    control_hz = CONTROL_HZ
    WAVES = 4
    FREQUENCIES = (0.1, 0.6)
    """Hz, between which the waves are drawn: slower drifts off the table, faster is tremor."""

    def __init__(self, start: FloatArray, limits: FloatArray, random: np.random.Generator) -> None:
        shape = (self.WAVES, len(limits))
        self._start = start
        self._rate = 2 * np.pi * random.uniform(*self.FREQUENCIES, size=shape)
        self._phase = random.uniform(0, 2 * np.pi, size=shape)
        self._amplitude = limits * random.dirichlet(np.ones(self.WAVES), size=len(limits)).T / self._rate

    def rows(self, steps: NDArray[np.int64]) -> FloatArray:
        # Action k is reached at the end of its interval.
        seconds = (steps + 1) / self.control_hz
        waves = np.sin(self._rate * seconds[:, None, None] + self._phase) - np.sin(self._phase)
        offset = (self._amplitude * waves).sum(axis=1)
        values: FloatArray = self._start + offset
        turn = Rotation.from_rotvec(offset[:, 3:6])
        values[:, 3:6] = (turn * Rotation.from_euler("xyz", self._start[3:6])).as_euler("xyz")
        values[:, 6] = np.clip(values[:, 6], 0.0, 1.0)
        return values


def _recorded(scene: Scene, policy: str) -> ActionChunk:
    if scene.recorded is None:
        raise InvalidInput(f"policy {policy!r} needs recorded actions, and scene {scene.id!r} has none")
    if scene.recorded.space is not ActionSpace.CARTESIAN_POSITION:
        raise InvalidInput(
            f"policy {policy!r} needs recorded actions in cartesian_position; "
            f"those of scene {scene.id!r} are {scene.recorded.space}"
        )
    return scene.recorded
