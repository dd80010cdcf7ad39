"""A server's joint velocities turned into joint positions by a network that knows how the arm follows them."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from arena.contracts import ActionChunk, ActionSpace, FloatArray, InvalidInput, Observation, Policy, PolicyCard, Scene
from arena.policies.served import Served
from arena.policies.specs import PolicyFactory, declaration_sha256


class Adapter(Protocol):
    """Where joints are after each of `steps` steps at `control_hz`."""

    @property
    def steps(self) -> int: ...

    @property
    def control_hz(self) -> float: ...

    @property
    def sha256(self) -> str: ...

    def __call__(self, joint_position: FloatArray, velocities: FloatArray) -> FloatArray:
        """`(steps, 7)` rad from joints `(7,)` rad and what they are told `(steps, 7)`, as the server says it."""
        ...


def adapted(spec: str, served: Served, adapter: Adapter) -> PolicyFactory:
    """`served` with its velocities carried out as `adapter` says. Raises `InvalidInput` for a policy that answers
    something else, at another rate, or more at a time than the adapter knows of.
    """
    card = served.card
    if card.action_space is not ActionSpace.JOINT_VELOCITY:
        raise InvalidInput(f"policy {spec!r}: the adapter takes joint_velocity, not {card.action_space}")
    if card.control_hz != adapter.control_hz or card.chunk_length > adapter.steps:
        raise InvalidInput(
            f"policy {spec!r}: the adapter takes up to {adapter.steps} actions at {adapter.control_hz:g} Hz, "
            f"not {card.chunk_length} at {card.control_hz:g}"
        )
    sha256 = declaration_sha256({"policy": card.sha256, "adapter": adapter.sha256})
    ours = replace(card, spec=spec, sha256=sha256, action_space=ActionSpace.JOINT_POSITION)
    # The server's own numbers: the adapter knows what they mean.
    raw = replace(served, velocity_scale=None)
    return PolicyFactory(ours, lambda: AdaptedPolicy(ours, raw.policy(), adapter))


class AdaptedPolicy:
    """A policy of joint positions (`arena.contracts.Policy`) from one of joint velocities."""

    def __init__(self, card: PolicyCard, policy: Policy, adapter: Adapter) -> None:
        self._card, self._policy, self._adapter = card, policy, adapter

    @property
    def card(self) -> PolicyCard:
        return self._card

    def reset(self, scene: Scene, seed: int) -> None:
        self._policy.reset(scene, seed)

    def act(self, observation: Observation) -> ActionChunk:
        """`(N, 8)`: joint positions in rad and the gripper.

        Where the adapter takes more actions, the last is told on, as its authors do. Raises as the server's policy
        does, and `InvalidInput` where joints are not known.
        """
        if observation.joint_position is None:
            raise InvalidInput(f"policy {self._card.name!r} acts in joint space, and this scene has no joint positions")
        chunk = self._policy.act(observation)
        if len(chunk) > self._adapter.steps:
            raise InvalidInput(
                f"policy {self._card.name!r} answered {len(chunk)} actions: its adapter takes {self._adapter.steps}"
            )
        told = np.vstack([chunk.values[:, :-1], np.repeat(chunk.values[-1:, :-1], self._adapter.steps - len(chunk), 0)])
        joints = self._adapter(np.asarray(observation.joint_position, dtype=np.float64), told)[: len(chunk)]
        values = np.concatenate([joints, chunk.values[:, -1:]], axis=1)
        return ActionChunk(values, ActionSpace.JOINT_POSITION, chunk.control_hz)

    def close(self) -> None:
        self._policy.close()
