"""Servers that failed several times in a row are left alone for a while.

Otherwise each trial of a batch waits for the whole deadline (minutes, as a server may be compiling) only to learn
what the one before it has learned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from arena.policies.errors import ServerResting

FAILURES = 3
"""In a row, each after a reconnection where the connection was lost."""
REST_SECONDS = 30.0


class Breaker:
    """Of one server; for any number of threads. After a rest one request goes through, and decides how it goes on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._failures, self._closed_until, self._reason = 0, 0.0, ""

    def enter(self) -> None:
        """Before a request. Raises `ServerResting`, with the last reason, where none should be made."""
        with self._lock:
            left = self._closed_until - self._clock()
            if self._failures < FAILURES:
                return
            if left > 0:
                raise ServerResting(
                    f"its server failed {self._failures} times in a row and is left alone for {left:.0f} s more; "
                    f"the last time: {self._reason}"
                )
            self._closed_until = self._clock() + REST_SECONDS  # for the others, until this request is over

    def failed(self, reason: str) -> None:
        """A request met nobody, a deadline, or a hang-up."""
        with self._lock:
            self._failures += 1
            self._reason = reason
            self._closed_until = self._clock() + REST_SECONDS

    def answered(self) -> None:
        """A request was answered, were it with an error."""
        with self._lock:
            self._failures, self._closed_until = 0, 0.0


class Breakers:
    """One breaker for each address, for as long as whoever holds this lives."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._of: dict[str, Breaker] = {}

    def of(self, address: str) -> Breaker:
        with self._lock:
            return self._of.setdefault(address, Breaker(self._clock))
