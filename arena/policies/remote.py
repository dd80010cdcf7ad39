"""A policy behind a server: one loop of asking and answering, whatever the server speaks.

What differs from protocol to protocol is a `Form`: `arena.policies.openpi`, `.roboarena`, `.groot`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from arena.contracts import ActionChunk, FloatArray, Observation, PolicyCard, Scene
from arena.policies.droid import to_contract_units
from arena.policies.errors import UnfitObservation, named
from arena.policies.server import PolicyServer


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


def as_chunk(card: PolicyCard, values: FloatArray, velocity_scale: float | None) -> ActionChunk:
    """A form's actions as the contracts have them; raises `InvalidInput`."""
    values = to_contract_units(values, card.action_space, velocity_scale)
    return ActionChunk(values, card.action_space, card.control_hz)


class RemotePolicy:
    """A policy behind a server (`arena.contracts.Policy`).

    `velocity_scale` is what a velocity of 1 means, None where velocities are in SI units
    (see `arena.policies.droid.to_contract_units`).
    """

    def __init__(self, card: PolicyCard, server: PolicyServer, form: Form, velocity_scale: float | None) -> None:
        self._card, self._server, self._form, self._velocity_scale = card, server, form, velocity_scale
        self._step = 0

    @property
    def card(self) -> PolicyCard:
        return self._card

    def reset(self, scene: Scene, seed: int) -> None:
        """Begin a trial. None of the protocols takes a seed. Raises a `PolicyError` as `act` does."""
        self._step = 0
        with named(self._card.name, "the reset", invalid=UnfitObservation):
            self._form.begin(self._server, scene)

    def act(self, observation: Observation) -> ActionChunk:
        """`(N, D)` actions in the units of the contracts.

        Raises a `PolicyError` that names the policy and the step: `InvalidAction` for an answer of the wrong
        shape, dtype or with NaN, `PolicyServerError` for the server's own error, `PolicyTimeout`,
        `PolicyConnectionError`; or `UnfitObservation`.
        """
        where = f"step {self._step}"
        with named(self._card.name, where, invalid=UnfitObservation):
            request = self._form.request(observation)
        answer = self._server.ask(request, where)
        with named(self._card.name, where):
            chunk = as_chunk(self._card, self._form.actions(answer), self._velocity_scale)
        self._step += 1
        return chunk

    def close(self) -> None:
        self._server.close()
