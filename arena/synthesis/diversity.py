"""How attempts at one scene differ: in what the policy is made to do besides what it wants, and how long it commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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

MEMORY_SECONDS = 0.5
"""How long a push lasts: noise that changes at every action is averaged away by the arm."""
STEADY = 0.7
"""The share of the noise (its deviation) that lasts for the whole trial: a policy that misses always misses alike."""
LEVER = 0.5
"""Metres between a joint and the hand, about: what turns noise at the hand into noise of a joint."""


@dataclass(frozen=True)
class Variation:
    """`noise` is the deviation in m by which the hand is pushed off its way (in joint spaces, about as much).

    `chunk` is how many actions of each answer are carried out; None, as many as the policy declares.
    """

    noise: float = 0.0
    chunk: int | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.noise) and 0.0 <= self.noise <= 0.5):
            raise InvalidInput(f"noise must be from 0 to 0.5 m, not {self.noise}")
        if self.chunk is not None and self.chunk < 1:
            raise InvalidInput(f"a chunk has at least 1 action, not {self.chunk}")


@dataclass(frozen=True)
class Diversity:
    """What attempts take turns in. The first of each is the policy as it is."""

    noises: tuple[float, ...] = (0.0, 0.01, 0.02)
    chunks: tuple[int | None, ...] = (None,)

    def __post_init__(self) -> None:
        if not self.noises or not self.chunks:
            raise InvalidInput("diversity needs at least one noise and one chunk length")
        for noise in self.noises:
            for chunk in self.chunks:
                Variation(noise, chunk)

    def variation(self, number: int) -> Variation:
        """Of the attempt with this number at its scene, from 0 on: all combinations take turns."""
        return Variation(
            self.noises[number % len(self.noises)], self.chunks[number // len(self.noises) % len(self.chunks)]
        )


class VariedPolicy:
    """A policy that is pushed off its way (`arena.contracts.Policy`); with no noise and no chunk, the policy itself.

    Its card is the policy's, but for the chunk length. The noise depends on `reset`'s seed alone.
    """

    def __init__(self, policy: Policy, variation: Variation) -> None:
        self._policy, self._variation = policy, variation
        length = policy.card.chunk_length
        self._card = replace(policy.card, chunk_length=min(length, variation.chunk or length))
        self._push: _Push | None = None

    @property
    def card(self) -> PolicyCard:
        return self._card

    def reset(self, scene: Scene, seed: int) -> None:
        self._policy.reset(scene, seed)
        self._push = _Push(self._variation.noise, self._card.control_hz, seed) if self._variation.noise else None

    def act(self, observation: Observation) -> ActionChunk:
        """`(N, D)` in the policy's action space, N at most the card's chunk length."""
        chunk = self._policy.act(observation)
        values = np.array(chunk.values[: self._card.chunk_length], dtype=np.float64)
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


def varied(policies: Sequence[Policy], variations: Sequence[Variation]) -> list[VariedPolicy]:
    """Each policy with its own variation."""
    return [VariedPolicy(policy, variation) for policy, variation in zip(policies, variations, strict=True)]
