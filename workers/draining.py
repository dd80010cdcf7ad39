"""Ending in an orderly way: how long a worker that was told to end may go on with what it is at."""

from __future__ import annotations

import time
from typing import Any

from celery.signals import worker_shutting_down


class Draining:
    """From Celery's word that the worker shuts down, which its handler of SIGTERM gives, `seconds` are counted."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def __enter__(self) -> Draining:
        worker_shutting_down.connect(self._begin, weak=False)
        return self

    def __exit__(self, *_: object) -> None:
        worker_shutting_down.disconnect(self._begin)

    def is_over(self) -> bool:
        return self._since is not None and time.monotonic() - self._since >= self._seconds

    def _begin(self, **_: Any) -> None:
        # Told twice, it does not begin anew.
        self._since = self._since or time.monotonic()
