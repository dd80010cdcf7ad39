"""One policy server, whatever it speaks: connections, deadlines, one reconnection, and errors that say who failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from arena.contracts import DreamarenaError
from arena.policies import wire
from arena.policies.address import Endpoint, resolve
from arena.policies.breaker import Breakers
from arena.policies.errors import UNREACHED, PolicyError, ServerTraceback, named
from arena.policies.transport import Connection, ConnectionLost

Found = TypeVar("Found")


@dataclass(frozen=True)
class Deadlines:
    """Seconds. `first` covers connecting, and the first answer on a connection: the server may be compiling."""

    first: float = 300.0
    step: float = 30.0


DEFAULT_DEADLINES = Deadlines()


@dataclass(frozen=True)
class Access:
    """How servers are called. `allow_private` False refuses those that are not on the public internet.

    `api_key` is sent to every server as its own clients do; it is never part of a spec, because specs are stored and
    shown. `breakers` remember which servers failed.
    """

    deadlines: Deadlines = DEFAULT_DEADLINES
    allow_private: bool = True
    api_key: str | None = field(default=None, repr=False)
    breakers: Breakers = field(default_factory=Breakers)


class Channel(Protocol):
    """An open connection; see `arena.policies.transport.Connection`, which is one."""

    def exchange(self, message: bytes | None, seconds: float) -> bytes | str:
        """Send `message` (None to only listen) and return the answer: bytes, or text for a server's word or error."""
        ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


@dataclass(frozen=True)
class Dialect:
    """What a server speaks. `greets` is true where it begins with a map of metadata about itself."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    greets: bool


OPENPI = Dialect(wire.encode, wire.decode, greets=True)
"""RoboArena's too."""
Connect = Callable[[Endpoint, tuple[str, ...], float, str | None], Channel]
"""To one of the numeric addresses of an endpoint, within seconds, with a key."""


class Route(Protocol):
    """Where a server is, and how it is reached. Of one trial, or of trials that share a connection."""

    @property
    def address(self) -> str:
        """By which it is known to breakers."""
        ...

    def open(self, seconds: float) -> Channel:
        """A new connection within `seconds`; raises a `DreamarenaError`."""
        ...


class NetworkRoute:
    """To a server on the network. Its name is resolved once: one that moves after the check must not move us."""

    def __init__(self, endpoint: Endpoint, access: Access, connect: Connect = Connection) -> None:
        self._endpoint, self._access, self._connect = endpoint, access, connect
        self._addresses: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        return self._endpoint.url

    def open(self, seconds: float) -> Channel:
        self._addresses = self._addresses or resolve(self._endpoint, self._access.allow_private)
        return self._connect(self._endpoint, self._addresses, seconds, self._access.api_key)


class PolicyServer:
    """Requests to one server, in order, over a connection that is made when first needed.

    Every request reconnects once where the connection turns out to be lost, and then fails.
    """

    def __init__(self, name: str, route: Route, access: Access, dialect: Dialect = OPENPI) -> None:
        self._name, self._route, self._access, self._dialect = name, route, access, dialect
        self._breaker = access.breakers.of(route.address)
        self._channel: Channel | None = None
        self._answered = False
        self._metadata: Mapping[str, Any] = {}

    def metadata(self) -> Mapping[str, Any]:
        """What the server says of itself on connection; connects if needed. Raises `PolicyError`."""

        def call() -> Mapping[str, Any]:
            self._connect()
            return self._metadata

        return self._called("the handshake", call)

    def ask(self, request: Mapping[str, Any], where: str) -> Any:
        """The server's decoded answer to `request`; raises `PolicyError`, naming `where`, e.g. `step 3`."""
        return self._called(where, lambda: self._answer(self._exchange(request)))

    def tell(self, request: Mapping[str, Any], where: str) -> None:
        """As `ask`, where the answer is an acknowledgement: text, unless it is a traceback, or anything else."""

        def call() -> None:
            answer = self._exchange(request)
            if not isinstance(answer, str) or answer.lstrip().startswith("Traceback"):
                self._answer(answer)

        self._called(where, call)

    def close(self) -> None:
        """Close the connection, if there is one; a later request makes a new one."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def abort(self) -> None:
        """Drop the connection without waiting for the server."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.abort()

    def _called(self, where: str, call: Callable[[], Found]) -> Found:
        with named(self._name, where):
            self._breaker.enter()
        try:
            with named(self._name, where):
                found = call()
        except PolicyError as error:
            self.abort()
            if isinstance(error, UNREACHED):
                self._breaker.failed(str(error.__cause__))
            else:
                self._breaker.answered()
            raise
        self._breaker.answered()
        return found

    def _exchange(self, request: Mapping[str, Any]) -> bytes | str:
        message = self._dialect.encode(dict(request))
        try:
            answer = self._connect().exchange(message, self._deadline)
        except ConnectionLost:
            self.abort()
            answer = self._connect().exchange(message, self._deadline)
        self._answered = True
        return answer

    @property
    def _deadline(self) -> float:
        return self._access.deadlines.step if self._answered else self._access.deadlines.first

    def _answer(self, answer: bytes | str) -> Any:
        if isinstance(answer, str):
            raise ServerTraceback(answer)
        return self._dialect.decode(answer)

    def _connect(self) -> Channel:
        """The open connection, or a new one whose metadata has been read."""
        if self._channel is not None:
            return self._channel
        first = self._access.deadlines.first
        channel = self._route.open(first)
        if self._dialect.greets:
            try:
                metadata = self._answer(channel.exchange(None, first))
                if not isinstance(metadata, dict):
                    found = type(metadata).__name__
                    raise wire.WireError(f"its first message must be a map of metadata, not a {found}")
            except DreamarenaError:
                channel.abort()
                raise
            self._metadata = metadata
        self._channel, self._answered = channel, False
        return channel
