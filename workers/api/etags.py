"""Answers that need not be sent twice: a strong ETag over the bytes, and 304 to whoever has them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from fastapi import Request, Response
from pydantic import BaseModel

JSON = "application/json"
CACHE = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}
"""May be kept by whoever asked, who asks whether it is still so: what is public today may be hidden tomorrow."""


def etag_of(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def is_known(request: Request, etag: str) -> bool:
    """Whether whoever asks has these bytes already (RFC 9110 13.1.2, weak comparison)."""
    asked = request.headers.get("if-none-match", "")
    return asked.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in asked.split(",")}


def tagged(
    request: Request, body: bytes | BaseModel, etag: str | None = None, media_type: str = JSON,
    headers: Mapping[str, str] | None = None,
) -> Response:  # fmt: skip
    """`body` with its ETag, or 304 without it."""
    content = body if isinstance(body, bytes) else body.model_dump_json().encode()
    tag = etag or etag_of(content)
    sent = {**CACHE, **(headers or {}), "ETag": tag}
    if is_known(request, tag):
        return Response(status_code=304, headers=sent)
    return Response(content, media_type=media_type, headers=sent)
