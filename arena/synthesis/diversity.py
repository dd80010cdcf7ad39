"""How attempts at one scene differ: in what the policy is made to do besides what it wants, how long it commits, and
how far it is held to motions that were recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from arena.contracts import (
    ActionChunk,
    ActionSpace,
    FloatArray,
    InvalidInput,
    Observation,
    Policy,
    PolicyCard,
    Scene,
)
from arena.synthesis.guided import Motions, guided

MEMORY_SECONDS = 0.5
"""How long a push lasts: noise that changes at every action is averaged away by the arm."""
STEADY = 0.7
"""The share of the noise (its deviation) that lasts for the whole trial: a policy that misses always misses alike."""
LEVER = 0.5
"""Metres between a joint and the hand, about: what turns noise at the hand into noise of a joint."""


@dataclass(frozen=True)
class Variation:
    """`noise` is the deviation in m by which the hand is pushed off its way (in joint spaces, about as much).

    `chunk` is how many actions of each answer are carried out; None, as many as the policy declares. `weight` is what
    the policy's likelihood counts for against that of recorded motions (`arena.synthesis.guided`); None, all.
    """

    noise: float = 0.0
    chunk: int | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.noise) and 0.0 <= self.noise <= 0.5):
            raise InvalidInput(f"noise must be from 0 to 0.5 m, not {self.noise}")
        if self.chunk is not None and self.chunk < 1:
            raise InvalidInput(f"a chunk has at least 1 action, not {self.chunk}")
        if self.weight is not None and not 0.0 <= self.weight <= 1e6:
            raise InvalidInput(f"a policy's weight must be from 0 to 1e6, not {self.weight}")


@dataclass(frozen=True)
class Diversity:
    """What attempts take turns in. The first of each is the policy as it is."""

    noises: tuple[float, ...] = (0.0, 0.01, 0.02)
    chunks: tuple[int | None, ...] = (None,)
    weights: tuple[float | None, ...] = (None,)

    def __post_init__(self) -> None:
        if not self.noises or not self.chunks or not self.weights:
            raise InvalidInput("diversity needs at least one noise, one chunk length and one weight")
        for noise, chunk, weight in product(self.noises, self.chunks, self.weights):
            Variation(noise, chunk, weight)

    def variation(self, number: int) -> Variation:
        """Of the attempt with this number at its scene, from 0 on: all combinations take turns."""
        noises, chunks = len(self.noises), len(self.chunks)
        return Variation(
            self.noises[number % noises],
            self.chunks[number // noises % chunks],
            self.weights[number // (noises * chunks) % len(self.weights)],
        )


class VariedPolicy:
    """A policy that is pushed off its way (`arena.contracts.Policy`); without any variation, the policy itself.

    Its card is the policy's, but for the chunk length. The noise depends on `reset`'s seed alone. `motions` are the
    recorded ones that a variation with a weight stays near; raises `InvalidInput` where it has none of them.
    """

    def __init__(self, policy: Policy, variation: Variation, motions: Motions | None = None) -> None:
        if variation.weight is not None and motions is None:
            raise InvalidInput("policy-guided sampling needs recorded motions to stay near")
        self._policy, self._variation, self._motions = policy, variation, motions
        self._random = np.random.default_rng(0)
        length = policy.card.chunk_length
        self._card = replace(policy.card, chunk_length=min(length, variation.chunk or length))
        self._push: _Push | None = None

    @property
    def card(self) -> PolicyCard:
        return self._card

    def reset(self, scene: Scene, seed: int) -> None:
        self._policy.reset(scene, seed)
        self._random = np.random.default_rng([seed % 2**63, 0x6D])
        self._push = _Push(self._variation.noise, self._card.control_hz, seed) if self._variation.noise else None

    def act(self, observation: Observation) -> ActionChunk:
        """`(N, D)` in the policy's action space, N at most the card's chunk length."""
        chunk = self._policy.act(observation)
        values: FloatArray = np.array(chunk.values[: self._card.chunk_length], dtype=np.float64)
        if self._motions is not None and self._variation.weight is not None:
            values = guided(
                values, chunk.space, chunk.control_hz, self._motions, observation.state, self._variation.weight,
                self._random,
            )  # fmt: skip
        if self._push is not None:
            values += pushed(self._push.path(len(values)), chunk.space, chunk.control_hz)
        return ActionChunk(values, chunk.space, chunk.control_hz)

    def close(self) -> None:
        self._policy.close()


class _Push:
    """A displacement `(7,)` over time in m: a part that stays, and an Ornstein-Uhlenbeck process, from rest."""

    def __init__(self, deviation: float, control_hz: float, seed: int) -> None:
        self._random = np.random.default_rng([seed % 2**63, 0x5E7])
        self._steady = self._random.normal(0.0, STEADY * deviation, 7)
        self._kick = np.sqrt(1.0 - STEADY**2) * deviation
        self._keep = float(np.exp(-1.0 / (MEMORY_SECONDS * control_hz)))
        self._moving = np.zeros(7)
        self._last = np.zeros(7)

    def path(self, count: int) -> FloatArray:
        """`(count + 1, 7)`: where it was, and where it is after each of the next actions."""
        rows = [self._last]
        for _ in range(count):
            fresh = self._random.normal(0.0, self._kick * np.sqrt(1.0 - self._keep**2), 7)
            self._moving = self._keep * self._moving + fresh
            rows.append(self._steady + self._moving)
        self._last = rows[-1]
        return np.stack(rows)


def pushed(path: FloatArray, space: ActionSpace, control_hz: float) -> FloatArray:
    """What to add to `N` actions `(N, D)` so that the hand is displaced along `path` `(N + 1, 7)` in m.

    The gripper, last, and the orientation of Cartesian actions are left alone.
    """
    added = np.zeros((len(path) - 1, space.width))
    joints = space.width == 8
    moved = path / LEVER if joints else path[:, :3]
    velocity = space in (ActionSpace.JOINT_VELOCITY, ActionSpace.CARTESIAN_VELOCITY)
    change = np.diff(moved, axis=0) * control_hz if velocity else moved[1:]
    added[:, : change.shape[1]] = change
    return added
