"""A dreamarena elsewhere, from Python: `connect("https://arena.example", token).leaderboard()`.

Nothing but the standard library and the contracts' errors: it needs no store, no torch and no robot.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from arena.contracts import DreamarenaError, InvalidInput

Json = dict[str, Any]

TIMEOUT_SECONDS = 60.0
TRIES = 3
MAX_WAIT_SECONDS = 30.0
MAX_ANSWER = 64 << 20
"""Bytes of an answer that is read whole."""
POLL_SECONDS = 2.0
OVER = ("done", "failed", "cancelled")


class ServerRefused(DreamarenaError):
    """The server's answer is an error. `status` is HTTP's, 0 where there was no answer; `kind` is for programs."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.kind = status, kind


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would carry the token elsewhere."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def connect(url: str, token: str | None = None) -> Client:
    """The dreamarena API at `url`, e.g. https://arena.example, with `token` or that in DREAMARENA_TOKEN.

    Raises `InvalidInput` for what is no address. Nothing is asked yet.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise InvalidInput(f"{url!r} is not the address of a dreamarena API, e.g. https://arena.example")
    held = token if token is not None else os.environ.get("DREAMARENA_TOKEN")
    if held is not None and not (held.isascii() and held.isprintable() and " " not in held):
        raise InvalidInput("the token has letters that no token has: is it whole, and alone?")
    return Client(url.rstrip("/"), held)


@dataclass
class Client:
    """What can be asked. Methods return JSON as it came, and raise `ServerRefused`. For one thread at a time."""

    url: str
    token: str | None = field(default=None, repr=False)
    _opener: OpenerDirector = field(default_factory=lambda: build_opener(_NoRedirects), init=False, repr=False)
    _known: dict[str, tuple[str, Json]] = field(default_factory=dict, init=False, repr=False)

    def me(self) -> Json:
        """Whose the token is, and what it allows."""
        return self.get("me")

    def status(self) -> Json:
        """How much is done, waits, and failed."""
        return self.get("status")

    def submit(self, policy: str, evaluation: str | None = None, private: bool = False, priority: int = 0) -> Json:
        """Have a policy ranked among those of an evaluation, the newest by default. Returns the job."""
        asked = {"policy": policy, "evaluation": evaluation, "private": private, "priority": priority}
        return self.post("submissions", asked)

    def probe(self, url: str, action_space: str | None = None, calls: int = 4) -> Json:
        """Have the server look at a policy server, by its address or its whole spec."""
        return self.post("probes", {"url": url, "action_space": action_space, "calls": calls})

    def upload(self, archive: bytes) -> Json:
        """Hand in a cloned policy as a zip. What it is to be submitted as is in the answer's `policy`."""
        return self._asked("POST", "uploads", archive, "application/zip")

    def jobs(self) -> Iterator[Json]:
        """Those that this token's owner asked for, newest first."""
        return self.pages("jobs")

    def job(self, key: str) -> Json:
        return self.get(f"jobs/{quote(key, safe='')}")

    def cancel(self, key: str) -> Json:
        return self.post(f"jobs/{quote(key, safe='')}/cancel", None)

    def retry(self, key: str) -> Json:
        return self.post(f"jobs/{quote(key, safe='')}/retry", None)

    def wait(self, key: str, watch: Callable[[Json], None] = lambda job: None, poll: float = POLL_SECONDS) -> Json:
        """Wait until a job is over, whatever became of it. `watch` is called with it now and then."""
        while True:
            job = self.job(key)
            watch(job)
            if job["status"] in OVER:
                return job
            time.sleep(poll)

    def leaderboard(self, evaluation: str | None = None) -> Json:
        """The ranking of an evaluation, the newest finished one by default. What did not change is not sent again."""
        return self.get(
            "leaderboard" if evaluation is None else f"evaluations/{quote(evaluation, safe='')}/leaderboard"
        )

    def evaluations(self) -> Iterator[Json]:
        return self.pages("evaluations")

    def rollouts(self, evaluation: str, policy: str | None = None, scene: str | None = None) -> Iterator[Json]:
        """The rollouts of an evaluation, with what judges said of them."""
        asked = {"policy": policy, "scene": scene}
        return self.pages(f"evaluations/{quote(evaluation, safe='')}/rollouts", asked)

    def film(self, rollout: str, camera: str, start: int = 0, stop: int | None = None) -> bytes:
        """The mp4 of one camera, or its bytes `start` to `stop` (exclusive)."""
        path = f"rollouts/{quote(rollout, safe='')}/films/{quote(camera, safe='')}"
        whole = start == 0 and stop is None
        part = {} if whole else {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
        return self._send("GET", path, None, part)[0]

    def get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Json:
        """Whatever is at a path below /v1."""
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        return self._asked("GET", f"{path}?{urlencode(given)}" if given else path)

    def post(self, path: str, said: Mapping[str, Any] | None) -> Json:
        body = None if said is None else json.dumps(said, allow_nan=False).encode()
        return self._asked("POST", path, body, "application/json")

    def pages(self, path: str, parameters: Mapping[str, Any] | None = None) -> Iterator[Json]:
        """The items of a list, page after page."""
        cursor = None
        while True:
            page = self.get(path, {**(parameters or {}), "cursor": cursor})
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def _asked(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Json:
        known = self._known.get(path) if method == "GET" else None
        headers = {"Content-Type": kind} if body is not None else {}
        if known is not None:
            headers["If-None-Match"] = known[0]
        content, status, answered = self._send(method, path, body, headers)
        if status == http.HTTPStatus.NOT_MODIFIED and known is not None:
            return known[1]
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ServerRefused(status, "no-json", f"{self.url} does not answer as a dreamarena API does")
        tag = next((value for name, value in answered.items() if name.lower() == "etag"), None)
        if method == "GET" and tag is not None:
            self._known[path] = (tag, found)
        return found

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Ask, and ask again where the server is busy or away: every operation may be repeated."""
        for tried in range(TRIES):
            request = Request(f"{self.url}/v1/{path}", body, {**self._identity(), **headers}, method=method)
            try:
                with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                    return _read(answer), answer.status, dict(answer.headers)
            except HTTPError as error:
                if error.code == http.HTTPStatus.NOT_MODIFIED:
                    return b"", error.code, dict(error.headers)
                problem = _problem(error, self.url)
                if error.code not in (429, 503) or tried == TRIES - 1:
                    raise problem from None
                wait = min(_seconds(error.headers.get("Retry-After")), MAX_WAIT_SECONDS)
            except (URLError, OSError, http.client.HTTPException) as error:
                if tried == TRIES - 1:
                    reason = getattr(error, "reason", error)
                    raise ServerRefused(0, "no-answer", f"{self.url} does not answer: {reason}") from error
                wait = 0.5 * 2**tried
            time.sleep(wait)
        raise AssertionError("every try returns or raises")

    def _identity(self) -> dict[str, str]:
        found = {"Accept": "application/json, */*", "User-Agent": "dreamarena"}
        return found if self.token is None else {**found, "Authorization": f"Bearer {self.token}"}


def _read(answer: Any) -> bytes:
    content: bytes = answer.read(MAX_ANSWER + 1)
    if len(content) > MAX_ANSWER:
        raise ServerRefused(answer.status, "too-large", f"the answer is larger than {MAX_ANSWER >> 20} MB")
    return content


def _problem(error: HTTPError, url: str) -> ServerRefused:
    """What problem details say; for anything else, that it is no such server."""
    try:
        found = json.loads(error.read(1 << 20))
        return ServerRefused(error.code, str(found["type"]).rpartition(":")[2], str(found["detail"]))
    except (ValueError, KeyError, TypeError, RecursionError, OSError, http.client.HTTPException):
        return ServerRefused(error.code, "http", f"{url} answers {error.code} {error.reason}")


def _seconds(text: str | None) -> float:
    return float(text) if text is not None and text.isdigit() else 1.0
