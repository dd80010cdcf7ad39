"""Who drives the robot in a recording: Meta-World's scripted experts, and what makes them fail or vary."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np

from arena.contracts import FloatArray, InvalidInput
from real2sim.reality.simulator import CONTROL_STEPS
from real2sim.reality.tasks import expert

_HAND, _OBJECT, _GOAL = slice(0, 3), slice(4, 7), slice(36, 39)
"""Where Meta-World's observation `(39,)` holds the hand, the first object and the goal, in m."""
_OPEN = -1.0


class Driver(Protocol):
    """Meta-World's observation `(39,)` to an effort `(4,)` in [-1, 1], asked at every control step."""

    def __call__(self, observation: FloatArray) -> FloatArray: ...


class ScriptedExpert:
    """Meta-World's own scripted policy."""

    def __init__(self, task: str, rng: np.random.Generator) -> None:
        self._policy = expert(task)

    def __call__(self, observation: FloatArray) -> FloatArray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that an effort is above 1: it is clipped here
            effort = self._policy.get_action(observation)
        return np.clip(np.asarray(effort, dtype=np.float64), -1.0, 1.0)


class NoisyExpert(ScriptedExpert):
    """The expert with Gaussian noise on its displacement, of one strength an episode.

    The noise changes once a recorded action, so that the action holds it and replaying reproduces the episode.
    """

    def __init__(self, task: str, rng: np.random.Generator) -> None:
        super().__init__(task, rng)
        self._rng = rng
        self._deviation = rng.uniform(0.1, 0.6)
        self._steps = 0
        self._noise = np.zeros(3)

    def __call__(self, observation: FloatArray) -> FloatArray:
        if self._steps % CONTROL_STEPS == 0:
            self._noise = self._rng.normal(0.0, self._deviation, 3)
        self._steps += 1
        effort = super().__call__(observation)
        effort[:3] += self._noise
        return np.clip(effort, -1.0, 1.0)


class MisledExpert(ScriptedExpert):
    """The expert, told that object and goal are 8 to 16 cm beside where they are: it acts in the wrong place."""

    BESIDE = (0.08, 0.16)

    def __init__(self, task: str, rng: np.random.Generator) -> None:
        super().__init__(task, rng)
        angle, distance = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(*self.BESIDE)
        self._offset = distance * np.array([np.cos(angle), np.sin(angle), 0.0])

    def __call__(self, observation: FloatArray) -> FloatArray:
        misled = observation.copy()
        misled[_OBJECT] += self._offset
        misled[_GOAL] += self._offset
        return super().__call__(misled)


class NearMiss(MisledExpert):
    """An expert that is 1 to 6 cm off, as learned policies are: now it still succeeds, now it slips past.

    A world model that never saw these imagines every approach as a success.
    """

    BESIDE = (0.01, 0.06)

    def __init__(self, task: str, rng: np.random.Generator) -> None:
        super().__init__(task, rng)
        self._offset[2] = rng.uniform(-0.02, 0.04)


class OpenGripper(ScriptedExpert):
    """The expert whose gripper never closes: it goes where it should and holds nothing."""

    def __call__(self, observation: FloatArray) -> FloatArray:
        effort = super().__call__(observation)
        effort[3] = _OPEN
        return effort


class StoppingExpert(ScriptedExpert):
    """The expert, which stops after 0.2 to 0.7 s and holds still: seldom long enough to succeed."""

    def __init__(self, task: str, rng: np.random.Generator) -> None:
        super().__init__(task, rng)
        self._left = int(rng.integers(2, 8)) * CONTROL_STEPS
        self._grip = _OPEN

    def __call__(self, observation: FloatArray) -> FloatArray:
        self._left -= 1
        if self._left < 0:
            return np.array([0.0, 0.0, 0.0, self._grip])
        effort = super().__call__(observation)
        self._grip = effort[3]
        return effort


class RandomMotion:
    """Smooth motion that wants nothing: an Ornstein-Uhlenbeck velocity, drawn back to the workspace's middle.

    Velocity and grip change once a recorded action, so that replaying reproduces the episode.
    """

    _MIDDLE = np.array([0.0, 0.65, 0.2])
    _PULL = 1.5
    """Effort per metre away from the middle."""
    _MEMORY = 0.64
    """Of one action's velocity in the next: it forgets in about a quarter of a second."""

    def __init__(self, task: str, rng: np.random.Generator) -> None:
        self._rng = rng
        self._speed = rng.uniform(0.4, 1.0)
        self._steps = 0
        self._velocity = rng.normal(0.0, self._speed, 3)
        self._grip = _OPEN

    def __call__(self, observation: FloatArray) -> FloatArray:
        if self._steps % CONTROL_STEPS == 0:
            self._change()
        self._steps += 1
        pull = self._PULL * (self._MIDDLE - observation[_HAND])
        return np.append(np.clip(self._velocity + pull, -1.0, 1.0), self._grip)

    def _change(self) -> None:
        kick = self._speed * np.sqrt(1.0 - self._MEMORY**2)
        self._velocity = self._MEMORY * self._velocity + self._rng.normal(0.0, kick, 3)
        if self._rng.uniform() < 0.12:
            self._grip = -self._grip


class Detour:
    """Random motion for 0.2 to 0.7 s, then the expert: what it takes to come back from where no expert goes."""

    def __init__(self, task: str, rng: np.random.Generator) -> None:
        self._wandering, self._expert = RandomMotion(task, rng), ScriptedExpert(task, rng)
        self._left = int(rng.integers(2, 8)) * CONTROL_STEPS

    def __call__(self, observation: FloatArray) -> FloatArray:
        self._left -= 1
        return (self._wandering if self._left >= 0 else self._expert)(observation)


DRIVERS: Mapping[str, Callable[[str, np.random.Generator], Driver]] = MappingProxyType(
    {
        "expert": ScriptedExpert,
        "noisy": NoisyExpert,
        "detour": Detour,
        "near_miss": NearMiss,
        "wrong_goal": MisledExpert,
        "early_stop": StoppingExpert,
        "open_gripper": OpenGripper,
        "random": RandomMotion,
    }
)
UNHURT = ("expert", "noisy", "detour")
"""Kinds that may succeed: they are given the whole time."""


def check_kind(kind: str) -> str:
    """`kind` itself; raises `InvalidInput` listing the kinds for any other name."""
    if kind not in DRIVERS:
        raise InvalidInput(f"no kind of recording is called {kind!r}; there are {', '.join(DRIVERS)}")
    return kind


def driver(kind: str, task: str, rng: np.random.Generator) -> Driver:
    """A fresh driver for one episode."""
    return DRIVERS[check_kind(kind)](task, rng)
