"""A policy in a process of its own on this machine, as a connection that it is spoken to over."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from arena.policies.errors import last_line
from arena.policies.transport import ConnectionLost, DeadlinePassed, TransportError
from arena.policies.wire import MAX_MESSAGE_BYTES

PASSED_ON = ("PATH", "LANG", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
"""Of our environment. The rest may hold tokens and passwords."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
GOODBYE_SECONDS = 5.0
LOG_BYTES = 10_000


class ChildProcess:
    """A started process (`arena.policies.server.Channel`). Its home is a folder that goes when it goes.

    Messages are a letter (`b` for bytes, `t` for text), four bytes of length, and that many bytes.
    """

    def __init__(self, command: Sequence[str], arguments: Sequence[str]) -> None:
        """Start `command`, the number of a socket, then `arguments`. Raises `TransportError` where it cannot be."""
        self._home = tempfile.TemporaryDirectory(prefix="dreamarena-policy-", ignore_cleanup_errors=True)
        self._log = Path(self._home.name) / "log"
        ours, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        try:
            with theirs, self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [*command, str(theirs.fileno()), *arguments],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(theirs.fileno(),), close_fds=True,
                    cwd=self._home.name, env={**environment, **OFFLINE, "HOME": self._home.name},
                    start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            ours.close()
            self._home.cleanup()
            raise TransportError(f"{command[0]} cannot be started: {error.strerror or error}") from error
        self._stream = ours

    def exchange(self, message: bytes | None, seconds: float) -> bytes | str:
        """Send `message` (None to only listen) and return the answer, or text for a traceback, all within `seconds`.

        Raises `DeadlinePassed`, `ConnectionLost` with the last line of what the process printed, `TransportError`.
        """
        deadline = time.monotonic() + seconds
        try:
            if message is not None:
                self._stream.settimeout(_left(deadline))
                self._stream.sendall(b"b" + struct.pack(">I", len(message)) + message)
            kind, size = struct.unpack(">cI", self._receive(5, deadline))
            if kind not in b"bt" or size > MAX_MESSAGE_BYTES:
                raise TransportError(f"its process sent what is no message of at most {MAX_MESSAGE_BYTES} bytes")
            payload = self._receive(size, deadline)
        except TimeoutError as error:
            raise DeadlinePassed(f"no answer within {seconds:g} s") from error
        except OSError as error:
            raise ConnectionLost(f"its process ended ({self._last_words()})") from error
        return payload if kind == b"b" else payload.decode(errors="replace")

    def close(self) -> None:
        """Have it end by itself, and end it where it does not."""
        self._stream.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GOODBYE_SECONDS)
        self.abort()

    def abort(self) -> None:
        """End it, and whatever it started."""
        self._stream.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._home.cleanup()

    def _receive(self, size: int, deadline: float) -> bytes:
        received = bytearray()
        while len(received) < size:
            self._stream.settimeout(_left(deadline))
            part = self._stream.recv(min(size - len(received), 2**20))
            if not part:
                raise ConnectionLost(f"its process ended ({self._last_words()})")
            received += part
        return bytes(received)

    def _last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GOODBYE_SECONDS)
        with suppress(OSError), self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - LOG_BYTES))
            return f"status {self._process.poll()}: {last_line(log.read().decode(errors='replace'))}"
        return f"status {self._process.poll()}"


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
