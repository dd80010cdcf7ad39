"""How much anybody may ask for: token buckets in this process's memory, and bodies of a bounded size."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.api.problems import Problem, answer

MAX_BUCKETS = 10_000
"""Those that were used last are kept: a bucket that was forgotten is full again."""


@dataclass(frozen=True)
class Rate:
    """`per_second` on average, and `burst` at once."""

    per_second: float
    burst: float


class Limits:
    """One bucket for each name. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def spend(self, name: str, rate: Rate, cost: float = 1.0) -> None:
        """Take `cost` from a bucket. Raises `Problem` 429, with when to come back, where there is too little in it."""
        with self._lock:
            now = self._clock()
            level, then = self._levels.pop(name, (rate.burst, now))
            level = min(rate.burst, level + (now - then) * rate.per_second)
            enough = level >= cost
            self._levels[name] = (level - cost if enough else level, now)
            if len(self._levels) > MAX_BUCKETS:
                self._levels.popitem(last=False)
        if not enough:
            wait = math.ceil((cost - level) / rate.per_second)
            raise Problem(
                429, "too-many-requests", f"that were too many requests: come back in {wait} s",
                {"Retry-After": str(wait)},
            )  # fmt: skip


class BodyLimit:
    """ASGI middleware that lets no body be larger than `limit` bytes, or `larger` on paths that begin with `path`."""

    def __init__(self, app: ASGIApp, limit: int, path: str, larger: int) -> None:
        self._app, self._limit, self._path, self._larger = app, limit, path, larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._larger if scope["path"].startswith(self._path) else self._limit
        refused = answer(413, "too-large", f"a request's body holds at most {limit} bytes", {"Connection": "close"})
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared[:20]) > limit:
            await refused(scope, receive, send)
            return
        seen, over = 0, False

        async def counted() -> Message:
            nonlocal seen, over
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                over = True
                raise TooLarge(413)
            return message

        async def said(message: Message) -> None:
            # What the application makes of a body that was cut off is not what its sender has to hear.
            if not over:
                await send(message)

        with contextlib.suppress(TooLarge):
            await self._app(scope, counted, said)
        if over:
            await refused(scope, receive, send)


class TooLarge(HTTPException):
    """A body went on beyond what is allowed."""
