"""One websocket connection to a policy server, with deadlines of our own.

Built on the parts of `websockets` below its `connect()`, which follows redirects (to loopback, if a server
says so) and uses proxies from the environment. No keep-alive pings: an openpi server computes in its event
loop, so that a first call of a minute would kill a client that pings. No compression, as openpi has it.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection
from websockets.uri import parse_uri

from arena.contracts import DreamarenaError
from arena.policies.address import Endpoint
from arena.policies.wire import MAX_MESSAGE_BYTES

TCP_TIMEOUT = 10.0
"""Seconds for a TCP connection: a busy server's kernel still accepts at once, so that more hides a wrong address."""
CLOSE_TIMEOUT = 1.0
LOOK_UP = 0.2
"""Seconds between two looks at the state of the connection while an answer is awaited."""
MAX_QUEUED_FRAMES = 2
"""Frames read ahead of us: a server that floods is held back by TCP rather than kept in memory."""
MESSAGE_TOO_BIG = 1009


class TransportError(DreamarenaError):
    """The server cannot be reached, or what it does is not the websocket protocol. Trying again is useless."""


class DeadlinePassed(DreamarenaError):
    """The server did not do what was due in the time given."""


class ConnectionLost(DreamarenaError):
    """The connection broke; a new one may work."""


class Connection:
    """An open connection. `exchange` one message at a time, then `close`."""

    def __init__(self, endpoint: Endpoint, addresses: tuple[str, ...], seconds: float, api_key: str | None) -> None:
        """Connect to one of the numeric `addresses` of `endpoint`, all within `seconds`.

        Raises `TransportError` (nobody there, not a websocket, a redirect), `DeadlinePassed`.
        """
        deadline = time.monotonic() + seconds
        headers = {"Authorization": f"Api-Key {api_key}"} if api_key else None
        with ExitStack() as undo:
            raw = undo.enter_context(open_tcp(endpoint, addresses, min(TCP_TIMEOUT, seconds)))
            stream = undo.enter_context(_tls(raw, endpoint, deadline)) if endpoint.secure else raw
            stream.settimeout(None)
            protocol = ClientProtocol(parse_uri(endpoint.url), max_size=MAX_MESSAGE_BYTES)
            websocket = ClientConnection(
                stream, protocol, ping_interval=None, close_timeout=CLOSE_TIMEOUT, max_queue=MAX_QUEUED_FRAMES
            )
            _shake_hands(websocket, headers, deadline)
            undo.pop_all()
        self._open = ExitStack()
        self._websocket = self._open.enter_context(websocket)

    def exchange(self, message: bytes | None, seconds: float) -> bytes | str:
        """Send `message` (None to only listen) and return the next frame: bytes, or text for a server's error.

        `seconds` bound the whole exchange, sending included, however slowly bytes drip. Raises `DeadlinePassed`,
        `ConnectionLost`, or `TransportError` for a frame beyond `MAX_MESSAGE_BYTES` or text that is not UTF-8.
        """
        deadline = time.monotonic() + seconds
        with _cut_off(self._websocket.socket, seconds) as was_cut_off:
            try:
                if message is not None:
                    self._websocket.send(message)
                return self._listen(deadline)
            except TimeoutError as error:
                raise DeadlinePassed(f"no answer within {seconds:g} s") from error
            except ConnectionClosed as error:
                if was_cut_off.is_set():
                    raise DeadlinePassed(f"no answer within {seconds:g} s") from error
                raise _lost(error) from error

    def _listen(self, deadline: float) -> bytes | str:
        """The next frame. Looks up now and then: a server that breaks the protocol and floods on is not listened to."""
        while True:
            left = deadline - time.monotonic()
            try:
                return self._websocket.recv(timeout=max(0.0, min(left, LOOK_UP)))
            except TimeoutError:
                if self._websocket.protocol.close_sent is not None:  # by websockets itself, on a violation
                    _hang_up(self._websocket.socket)
                elif left <= LOOK_UP:
                    raise

    def close(self) -> None:
        """Close at once: a server that stalls is not waited for beyond `CLOSE_TIMEOUT`."""
        self._open.close()

    def abort(self) -> None:
        """Drop the connection without the closing handshake, for a server that has proved itself slow or hostile."""
        _hang_up(self._websocket.socket)
        self._open.close()


def open_tcp(endpoint: Endpoint, addresses: tuple[str, ...], seconds: float) -> socket.socket:
    """A connection to the first of the numeric `addresses` that answers; raises `TransportError`."""
    reason = "it has no address"
    for address in addresses:
        try:
            stream = socket.create_connection((address, endpoint.port), timeout=seconds / len(addresses))
        except OSError as error:
            reason = error.strerror or str(error)
            continue
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        return stream
    raise TransportError(f"nobody answers at {endpoint.host}:{endpoint.port} ({reason})")


def _tls(raw: socket.socket, endpoint: Endpoint, deadline: float) -> ssl.SSLSocket:
    # The socket's own timeout is per read, so the total is enforced from outside.
    raw.settimeout(None)
    with _cut_off(raw, deadline - time.monotonic()) as was_cut_off:
        try:
            return ssl.create_default_context().wrap_socket(raw, server_hostname=endpoint.host)
        except OSError as error:
            if was_cut_off.is_set():
                raise DeadlinePassed(f"no TLS with {endpoint.host}:{endpoint.port} in time") from error
            raise TransportError(f"no TLS with {endpoint.host}:{endpoint.port}: {error}") from error


def _shake_hands(websocket: ClientConnection, headers: dict[str, str] | None, deadline: float) -> None:
    left = max(0.0, deadline - time.monotonic())
    try:
        websocket.handshake(headers, timeout=left)
    except TimeoutError as error:
        _stop(websocket)
        raise DeadlinePassed(f"no answer to the websocket handshake within {left:.1f} s") from error
    except InvalidStatus as error:
        _stop(websocket)
        code = error.response.status_code
        what = f"redirects ({code}), which is not followed" if 300 <= code < 400 else f"refuses with HTTP status {code}"
        raise TransportError(f"the server {what}") from error
    except (WebSocketException, OSError, EOFError, ValueError, AssertionError) as error:
        # websockets asserts what a server that hangs up at the wrong moment makes untrue.
        _stop(websocket)
        raise TransportError(f"the server does not speak websocket, or hung up: {one_line(str(error))}") from error


def _stop(websocket: ClientConnection) -> None:
    websocket.close_socket()
    websocket.recv_events_thread.join()


def _lost(error: ConnectionClosed) -> DreamarenaError:
    if error.sent is not None and error.sent.code == MESSAGE_TOO_BIG:
        return TransportError(f"the server sent more than {MAX_MESSAGE_BYTES} bytes in one message")
    if error.sent is not None and error.rcvd is None:
        return TransportError(f"the server broke the websocket protocol: {one_line(str(error))}")
    return ConnectionLost(f"the server closed the connection ({one_line(str(error))})")


@contextmanager
def _cut_off(stream: socket.socket, seconds: float) -> Iterator[threading.Event]:
    """Hang up after `seconds`: the only thing that also ends a blocked `sendall`. Yields whether it happened."""
    happened = threading.Event()

    def act() -> None:
        happened.set()
        _hang_up(stream)

    timer = threading.Timer(max(0.0, seconds), act)
    timer.daemon = True
    timer.start()
    try:
        yield happened
    finally:
        timer.cancel()


def _hang_up(stream: socket.socket) -> None:
    with suppress(OSError):  # closed already, which was the aim
        stream.shutdown(socket.SHUT_RDWR)


def one_line(text: str, limit: int = 200) -> str:
    """Text from a server, made safe to print: one line, printable, at most `limit` characters."""
    flat = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(flat.split())[:limit]
