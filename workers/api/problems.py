"""Errors as problem details (RFC 9457): a status, and one line that says what was wrong and what would be right."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from arena.contracts import DreamarenaError
from arena.store import NotFound, TokenRefused
from arena.votes.rules import VoteRefused
from workers.runner import BrokerUnreachable

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_DETAIL = 1000
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="dreamarena"'}

PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
"""The schema of an error."""
RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {"description": text, "content": {MEDIA_TYPE: {"schema": PROBLEM}}}
    for code, text in (
        ("4XX", "What was asked for cannot be done; `detail` says why"),
        ("5XX", "The server cannot do it now"),
    )
}
"""What every operation may answer."""


class Problem(DreamarenaError):
    """An answer that is an error. `kind` is for programs, `detail` for people."""

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.kind, self.headers = status, kind, dict(headers or {})


def answer(status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem as a response."""
    content = {
        "type": f"urn:dreamarena:{kind}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": " ".join(detail.split())[:MAX_DETAIL],
    }
    more = CHALLENGE if status == HTTPStatus.UNAUTHORIZED else {}
    return JSONResponse(content, status, {**more, **(headers or {})}, media_type=MEDIA_TYPE)


def described(error: DreamarenaError) -> JSONResponse:
    """An error that its user can mend."""
    if isinstance(error, Problem):
        return answer(error.status, error.kind, str(error), error.headers)
    if isinstance(error, TokenRefused):
        return answer(401, f"token-{error.why}", str(error))
    if isinstance(error, VoteRefused):
        return answer(error.status, error.why.value.replace("_", "-"), str(error))
    if isinstance(error, NotFound):
        return answer(404, "not-found", str(error))
    if isinstance(error, BrokerUnreachable):
        # Its line names the broker, which is nobody's business.
        log.warning("%s", error)
        return answer(503, "no-workers", "the workers cannot be reached now: what was asked for waits for them")
    return answer(400, "invalid-input", str(error))


def install(app: FastAPI) -> None:
    """Have every error of `app` answered as a problem."""

    @app.exception_handler(DreamarenaError)
    def _mendable(request: Request, error: DreamarenaError) -> JSONResponse:
        return described(error)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()[0]
        # What was sent is not repeated: it may be huge, or no text.
        where = ".".join(str(part)[:64] for part in found["loc"])
        return answer(422, "invalid-request", _printable(f"{where}: {found['msg']}"))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, "http", str(error.detail), error.headers)

    @app.exception_handler(OperationalError)
    def _database(request: Request, error: OperationalError) -> JSONResponse:
        log.error("the database does not answer: %s", error.orig)
        return answer(503, "no-database", "the database does not answer: try again", {"Retry-After": "5"})

    @app.exception_handler(Exception)
    def _bug(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return answer(500, "bug", "this is an error of the server, which its log describes")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
