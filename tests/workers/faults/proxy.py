"""A wire between a worker and its database that can be cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

Judge = Callable[[bytes], str]
"""Told what a client is about to say: `pass`, `cut` before it is passed on, or `after`: pass it on and cut before the
answer comes back."""


class Proxy:
    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.judge: Judge = lambda said: "pass"
        self._is_cut = False
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Hang up on everybody, and answer nobody until `mend`."""
        self.refuse()
        self.hang_up()

    def refuse(self) -> None:
        """Answer nobody else until `mend`."""
        self._is_cut = True

    def mend(self) -> None:
        self._is_cut = False

    def hang_up(self) -> None:
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def close(self) -> None:
        self._listener.close()
        self.hang_up()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            with self._lock:
                self._open += [client, server]
            threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while said := client.recv(1 << 16):
                verdict = self.judge(said)
                if verdict == "after":
                    # The answer has nobody to go to before the question is asked.
                    client.shutdown(socket.SHUT_RDWR)
                if verdict != "cut":
                    server.sendall(said)
                if verdict != "pass":
                    break
        self._end(client, server, wait=True)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while said := server.recv(1 << 16):
                client.sendall(said)
        self._end(client, server)

    def _end(self, client: socket.socket, server: socket.socket, wait: bool = False) -> None:
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            # What was said is read to its end by the server before it notices that nobody listens.
            server.shutdown(socket.SHUT_WR if wait else socket.SHUT_RDWR)
