"""A policy behind a server: one loop of asking and answering, whatever the server speaks.

What differs from protocol to protocol is a `Form`: `arena.policies.openpi`, `.roboarena`, `.groot`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from arena.contracts import ActionChunk, DreamarenaError, FloatArray, Observation, Policy, PolicyCard, Scene
from arena.policies.droid import to_contract_units
from arena.policies.errors import UNREACHED, UnfitObservation, named
from arena.policies.server import PolicyServer

log = logging.getLogger(__name__)

MAX_TOGETHER = 8
"""Trials in one request: two images of each are 2.8 MB."""


class Form(Protocol):
    """What one kind of server is sent and what its answers mean, in one trial. Each trial needs its own."""

    def begin(self, server: PolicyServer, scene: Scene) -> None:
        """Before the first request of a trial. Raises `PolicyError`, or `InvalidInput` for what does not fit."""
        ...

    def request(self, observation: Observation) -> Mapping[str, Any]:
        """What the server is asked; raises `InvalidInput` where the world does not show what it needs."""
        ...

    def raw(self, answer: Any) -> NDArray[Any]:
        """`(N, D)` numbers as the server answered them, however wrong; raises `InvalidInput` where there are none."""
        ...

    def actions(self, answer: Any) -> FloatArray:
        """The `(N, D)` float64 actions to be carried out, in the server's units; raises `InvalidInput`."""
        ...


@dataclass(frozen=True)
class Batches:
    """How one kind of server is asked about several trials in one request."""

    merge: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]
    """One request from those of each trial."""
    split: Callable[[Any, int], list[Any]]
    """Answers as each trial alone would have had them; raises `InvalidInput` where there are not so many."""


class Together:
    """`arena.contracts.PolicyGroup` of the trials of one server. A server that once fails to answer for several is
    asked about each alone from then on.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._works = True

    def foresee(self, asked: Sequence[tuple[Policy, Observation]]) -> None:
        members = [(policy, observation) for policy, observation in asked if isinstance(policy, RemotePolicy)]
        for start in range(0, len(members), MAX_TOGETHER):
            part = members[start : start + MAX_TOGETHER]
            if self._works and len(part) > 1:
                self._ask(part)

    def _ask(self, members: Sequence[tuple[RemotePolicy, Observation]]) -> None:
        try:
            requests = [policy.request(observation) for policy, observation in members]
            answer = members[0][0].server.ask(self._batches.merge(requests), f"a step of {len(members)} trials")
            answers = self._batches.split(answer, len(members))
        except UNREACHED:
            return
        except DreamarenaError as error:
            log.warning("asked about each trial alone from now on: %s", error)
            self._works = False
            return
        for (policy, observation), each in zip(members, answers, strict=True):
            policy.keep(observation, each)


def as_chunk(card: PolicyCard, values: FloatArray, velocity_scale: float | None) -> ActionChunk:
    """A form's actions as the contracts have them; raises `InvalidInput`."""
    values = to_contract_units(values, card.action_space, velocity_scale)
    return ActionChunk(values, card.action_space, card.control_hz)


class RemotePolicy:
    """A policy behind a server (`arena.contracts.Policy`).

    `velocity_scale` is what a velocity of 1 means, None where velocities are in SI units
    (see `arena.policies.droid.to_contract_units`).
    """

    def __init__(
        self, card: PolicyCard, server: PolicyServer, form: Form, velocity_scale: float | None,
        group: Together | None = None,
    ) -> None:  # fmt: skip
        self._card, self._form, self._velocity_scale = card, form, velocity_scale
        self.server, self.group = server, group
        self._step = 0
        self._kept: tuple[Observation, Any] | None = None

    @property
    def card(self) -> PolicyCard:
        return self._card

    def reset(self, scene: Scene, seed: int) -> None:
        """Begin a trial. None of the protocols takes a seed. Raises a `PolicyError` as `act` does."""
        self._step, self._kept = 0, None
        with named(self._card.name, "the reset", invalid=UnfitObservation):
            self._form.begin(self.server, scene)

    def act(self, observation: Observation) -> ActionChunk:
        """`(N, D)` actions in the units of the contracts.

        Raises a `PolicyError` that names the policy and the step: `InvalidAction` for an answer of the wrong
        shape, dtype or with NaN, `PolicyServerError` for the server's own error, `PolicyTimeout`,
        `PolicyConnectionError`; or `UnfitObservation`.
        """
        where = f"step {self._step}"
        kept, self._kept = self._kept, None
        if kept is not None and _alike(kept[0], observation):
            answer = kept[1]
        else:
            answer = self.server.ask(self.request(observation), where)
        with named(self._card.name, where):
            chunk = as_chunk(self._card, self._form.actions(answer), self._velocity_scale)
        self._step += 1
        return chunk

    def request(self, observation: Observation) -> Mapping[str, Any]:
        """What the server is asked next; raises `UnfitObservation`."""
        with named(self._card.name, f"step {self._step}", invalid=UnfitObservation):
            return self._form.request(observation)

    def keep(self, observation: Observation, answer: Any) -> None:
        """Have `act` take this answer where it is about this observation."""
        self._kept = (observation, answer)

    def close(self) -> None:
        self.server.close()


def _alike(one: Observation, other: Observation) -> bool:
    """Whether both show the same: the very images, and a robot that is in the same place."""

    def place(seen: Observation) -> list[Any]:
        return [seen.cartesian_position, seen.gripper_position, seen.joint_position, seen.instruction]

    images = all(other.cameras.get(name) is image for name, image in one.cameras.items())
    return images and all(np.array_equal(a, b) for a, b in zip(place(one), place(other), strict=True))
