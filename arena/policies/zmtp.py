"""One ZeroMQ request socket to a policy server, with deadlines and caps of our own.

ZMTP 3.0 (rfc.zeromq.org/spec/23) as far as a REQ socket without encryption needs it. libzmq itself cannot be used
with strangers: its `MAXMSGSIZE` bounds a part of a message and nothing bounds how many parts one has, so that a
server that never ends its message fills our memory (462 MB in 3 s with libzmq 4.3.5).
"""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress

from arena.policies.address import Endpoint
from arena.policies.transport import TCP_TIMEOUT, ConnectionLost, DeadlinePassed, TransportError, one_line, open_tcp
from arena.policies.wire import MAX_MESSAGE_BYTES

MAX_COMMAND_BYTES = 1024
MORE, LONG, COMMAND = 1, 2, 4
"""Bits of a frame's flags."""
_GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_READY = b"\x05READY" + b"\x0bSocket-Type" + struct.pack(">I", 3) + b"REQ" + b"\x08Identity" + bytes(4)
_ANSWERERS = (b"REP", b"ROUTER")


class ZmtpConnection:
    """An open connection (`arena.policies.server.Channel`). After an error it is of no more use: make another."""

    def __init__(
        self, endpoint: Endpoint, addresses: tuple[str, ...], seconds: float, api_key: str | None = None
    ) -> None:
        """Connect to one of the numeric `addresses` of `endpoint`, all within `seconds`.

        A key travels in requests, as GR00T has it. Raises `TransportError` (nobody there, no ZeroMQ, another kind of
        socket, encryption), `DeadlinePassed`, `ConnectionLost`.
        """
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds
        self._stream = open_tcp(endpoint, addresses, min(TCP_TIMEOUT, seconds))
        try:
            self._shake_hands()
        except BaseException:
            self._stream.close()
            raise

    def exchange(self, message: bytes | None, seconds: float) -> bytes:
        """Send `message` and return the answer; `seconds` bound all of it, however slowly bytes drip.

        Raises `DeadlinePassed`, `ConnectionLost`, or `TransportError` for an answer of more than one part or more
        than `MAX_MESSAGE_BYTES`.
        """
        self._deadline, self._seconds = time.monotonic() + seconds, seconds
        if message is not None:
            self._send(_frame(MORE, b"") + _frame(0, message))
        flags, delimiter = self._next_frame()
        if delimiter or not flags & MORE:
            raise TransportError("the server's answer does not begin with an empty part, as a ZeroMQ reply does")
        flags, answer = self._next_frame()
        if flags & MORE:
            raise TransportError("the server answered in several parts where one was due")
        return answer

    def close(self) -> None:
        self._stream.close()

    def abort(self) -> None:
        self._stream.close()

    def _shake_hands(self) -> None:
        self._send(_GREETING)
        greeting = self._receive(12)
        if greeting[0] != 0xFF or greeting[9] != 0x7F or greeting[10] < 3:
            raise TransportError("the server does not speak ZeroMQ (ZMTP 3)")
        mechanism = self._receive(52)[:20].rstrip(b"\0")
        if mechanism != b"NULL":
            raise TransportError(f"the server wants {one_line(mechanism.decode(errors='replace'), 20)} security")
        self._send(_frame(COMMAND, _READY))
        flags, command = self._frame()
        if not flags & COMMAND or not command.startswith(b"\x05READY"):
            raise TransportError(f"the server refuses: {one_line(command.decode(errors='replace'))}")
        if _properties(command[6:]).get(b"socket-type") not in _ANSWERERS:
            raise TransportError("the server's ZeroMQ socket is not one that answers (REP or ROUTER)")

    def _next_frame(self) -> tuple[int, bytes]:
        """The next frame that is no command. Pings are answered, as libzmq does."""
        while True:
            flags, body = self._frame()
            if not flags & COMMAND:
                return flags, body
            if body.startswith(b"\x04PING"):
                self._send(_frame(COMMAND, b"\x04PONG" + body[7:]))  # 5 bytes of name, 2 of time to live

    def _frame(self) -> tuple[int, bytes]:
        """Flags and body, the length judged before anything is kept."""
        flags = self._receive(1)[0]
        if flags & ~(MORE | LONG | COMMAND):
            raise TransportError(f"the server breaks the ZeroMQ protocol: frame flags 0x{flags:02x}")
        size = struct.unpack(">Q", self._receive(8))[0] if flags & LONG else self._receive(1)[0]
        if size > (MAX_COMMAND_BYTES if flags & COMMAND else MAX_MESSAGE_BYTES):
            raise TransportError(f"the server sent more than {MAX_MESSAGE_BYTES} bytes in one message")
        return flags, self._receive(size)

    def _receive(self, size: int) -> bytes:
        received = bytearray()
        try:
            while len(received) < size:
                self._stream.settimeout(self._left())
                part = self._stream.recv(min(size - len(received), 2**20))
                if not part:
                    raise ConnectionLost("the server closed the connection")
                received += part
        except TimeoutError as error:
            raise self._late() from error
        except OSError as error:
            raise ConnectionLost(f"the server closed the connection ({one_line(str(error))})") from error
        return bytes(received)

    def _send(self, data: bytes) -> None:
        try:
            self._stream.settimeout(self._left())
            self._stream.sendall(data)  # its timeout is for all of it
        except TimeoutError as error:
            raise self._late() from error
        except OSError as error:
            raise ConnectionLost(f"the server closed the connection ({one_line(str(error))})") from error

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._late()
        return left

    def _late(self) -> DeadlinePassed:
        with suppress(OSError):  # closed already
            self._stream.shutdown(socket.SHUT_RDWR)
        return DeadlinePassed(f"no answer within {self._seconds:g} s")


def _frame(flags: int, body: bytes) -> bytes:
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | LONG]) + struct.pack(">Q", len(body)) + body


def _properties(metadata: bytes) -> dict[bytes, bytes]:
    """Names, in lower case, and values; raises `TransportError` where they are cut short."""
    found, position = {}, 0
    while position < len(metadata):
        name = metadata[position + 1 : position + 1 + metadata[position]]
        position += 1 + len(name)
        if position + 4 > len(metadata):
            raise TransportError("the server breaks the ZeroMQ protocol: its metadata are cut short")
        length = struct.unpack_from(">I", metadata, position)[0]
        found[name.lower()] = metadata[position + 4 : position + 4 + length]
        position += 4 + length
    return found
