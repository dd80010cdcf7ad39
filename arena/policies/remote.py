"""A policy behind an openpi websocket server.

The protocol: on connection the server sends its metadata, then answers each observation with a map that
holds `actions`; a text frame is a traceback. Both sides speak `arena.policies.wire`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from arena.contracts import ActionChunk, DreamarenaError, InvalidInput, Observation, PolicyCard, Scene
from arena.policies import wire
from arena.policies.address import AddressRefused, Endpoint, resolve
from arena.policies.droid import IMAGE_SIZE, WRIST_CAMERA, checked_actions, droid_request, to_contract_units
from arena.policies.transport import Connection, ConnectionLost, DeadlinePassed, TransportError, one_line


class PolicyError(DreamarenaError):
    """A policy did not do its part; the message names the policy and the step."""


class PolicyConnectionError(PolicyError):
    """The server cannot be reached, may not be, hung up twice, or breaks the websocket protocol."""


class PolicyTimeout(PolicyError):
    """The server stalled or dripped beyond the step's deadline."""


class PolicyServerError(PolicyError):
    """The server answered with a traceback; the message has its last line."""


class InvalidAction(PolicyError, InvalidInput):
    """The server answered something that is not a chunk of finite actions of the declared space."""


class UnfitObservation(PolicyError, InvalidInput):
    """The world does not show the policy what it needs: a camera, the joint positions."""


@dataclass(frozen=True)
class Deadlines:
    """Seconds. `first` covers connecting, and the first answer on a connection: the server may be compiling."""

    first: float = 300.0
    step: float = 30.0


DEFAULT_DEADLINES = Deadlines()


class PolicyServer:
    """Requests to one openpi server, in order, over a connection that is made when first needed.

    Every request reconnects once where the connection turns out to be lost, and then fails.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        deadlines: Deadlines = DEFAULT_DEADLINES,
        allow_private: bool = True,
        api_key: str | None = None,
    ) -> None:
        self._name, self._endpoint, self._deadlines = name, endpoint, deadlines
        self._allow_private, self._api_key = allow_private, api_key
        self._addresses: tuple[str, ...] = ()
        self._connection: Connection | None = None
        self._answered = False
        self._metadata: Mapping[str, Any] = {}

    def metadata(self) -> Mapping[str, Any]:
        """What the server says of itself on connection; connects if needed. Raises `PolicyError`."""
        with _named(self._name, "the handshake"):
            self._connect()
        return self._metadata

    def ask(self, request: Mapping[str, Any], step: int) -> Any:
        """The server's decoded answer to `request`; raises `PolicyError`, naming `step`."""
        try:
            with _named(self._name, f"step {step}"):
                answer = self._exchange(wire.encode(dict(request)))
                self._answered = True
                return _decoded(answer)
        except PolicyError:
            self.abort()
            raise

    def close(self) -> None:
        """Close the connection, if there is one; a later request makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abort(self) -> None:
        """Drop the connection without waiting for the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _exchange(self, message: bytes) -> bytes | str:
        try:
            return self._connect().exchange(message, self._deadline)
        except ConnectionLost:
            self.abort()
            return self._connect().exchange(message, self._deadline)

    @property
    def _deadline(self) -> float:
        return self._deadlines.step if self._answered else self._deadlines.first

    def _connect(self) -> Connection:
        """The open connection, or a new one whose metadata has been read."""
        if self._connection is not None:
            return self._connection
        # Resolved once in this object's life: a name that moves after the check must not move us.
        self._addresses = self._addresses or resolve(self._endpoint, self._allow_private)
        connection = Connection(self._endpoint, self._addresses, self._deadlines.first, self._api_key)
        try:
            metadata = _decoded(connection.exchange(None, self._deadlines.first))
            if not isinstance(metadata, dict):
                raise wire.WireError(f"its first message must be a map of metadata, not a {type(metadata).__name__}")
        except DreamarenaError:
            connection.abort()
            raise
        self._connection, self._metadata, self._answered = connection, metadata, False
        return connection


class OpenPiPolicy:
    """A policy of the DROID robot behind an openpi server (`arena.contracts.Policy`).

    Needs the cameras `exterior_camera` and `wrist` and the joint positions; sends images of `image_size`.
    Executes the first `card.chunk_length` actions of each answer. `velocity_scale` is what a velocity of 1
    means, None where velocities are in SI units (see `arena.policies.droid.to_contract_units`).
    """

    def __init__(
        self,
        card: PolicyCard,
        server: PolicyServer,
        velocity_scale: float | None,
        exterior_camera: str = "exterior_1",
        image_size: tuple[int, int] = IMAGE_SIZE,
    ) -> None:
        self._card, self._server = card, server
        self._velocity_scale, self._exterior_camera, self._image_size = velocity_scale, exterior_camera, image_size
        self._step = 0

    @property
    def card(self) -> PolicyCard:
        return self._card

    def reset(self, scene: Scene, seed: int) -> None:
        """Begin a trial. openpi servers keep no state and take no seed, so nothing is sent."""
        self._step = 0

    def act(self, observation: Observation) -> ActionChunk:
        """`(card.chunk_length, D)` actions in the units of the contracts.

        Raises a `PolicyError` that names the policy and the step: `InvalidAction` for an answer of the wrong
        shape, dtype or with NaN, `PolicyServerError` for the server's own error, `PolicyTimeout`,
        `PolicyConnectionError`; or `UnfitObservation`.
        """
        with _named(self._card.name, f"step {self._step}", invalid=UnfitObservation):
            request = droid_request(observation, self._exterior_camera, self._image_size)
        answer = self._server.ask(request, self._step)
        with _named(self._card.name, f"step {self._step}"):
            chunk = self._chunk(answer)
        self._step += 1
        return chunk

    def close(self) -> None:
        self._server.close()

    def _chunk(self, answer: Any) -> ActionChunk:
        space, length = self._card.action_space, self._card.chunk_length
        values = checked_actions(answer, space)
        if len(values) < length:
            raise InvalidInput(f"the server answered {len(values)} actions where chunk={length} was declared")
        values = to_contract_units(values[:length], space, self._velocity_scale)
        return ActionChunk(values, space, self._card.control_hz)


def openpi_cameras(exterior_camera: str) -> tuple[str, str]:
    """The cameras that a DROID policy of openpi needs."""
    return exterior_camera, WRIST_CAMERA


class _Traceback(DreamarenaError):
    """A text frame: the server's own error."""


def _decoded(answer: bytes | str) -> Any:
    if isinstance(answer, str):
        raise _Traceback(f"the server answered with an error: {last_line(answer)}")
    return wire.decode(answer)


def last_line(traceback: str) -> str:
    """The line of a traceback that says what happened."""
    lines = [line for line in traceback.splitlines() if line.strip()]
    return one_line(lines[-1]) if lines else "(an empty message)"


_CLASSES: tuple[tuple[type[DreamarenaError], type[PolicyError]], ...] = (
    (_Traceback, PolicyServerError),
    (DeadlinePassed, PolicyTimeout),
    (TransportError, PolicyConnectionError),
    (ConnectionLost, PolicyConnectionError),
    (AddressRefused, PolicyConnectionError),
)


@contextmanager
def _named(policy: str, where: str, invalid: type[PolicyError] = InvalidAction) -> Iterator[None]:
    """Give an error on its way out the policy's name and the step, and the class that says whose fault it is."""
    try:
        yield
    except DreamarenaError as error:
        named = next((named for plain, named in _CLASSES if isinstance(error, plain)), invalid)
        raise named(f"policy {policy!r} failed at {where}: {error}") from error
