"""Signed tokens: what a browser holds, and cannot make or change.

A token is `PAYLOAD.SIGNATURE`, both base64url: JSON claims, and an HMAC-SHA256 over them under a purpose, so that a
token of one purpose is worth nothing for another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from arena.contracts import DreamarenaError, InvalidInput

MIN_SECRET_BYTES = 32
MAX_TOKEN_CHARACTERS = 2048


class Purpose(StrEnum):
    VOTER = "voter"
    OFFER = "offer"
    FILM = "film"


class TokenRefused(DreamarenaError):
    """`why` is `forged` or `expired`."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the token is {why}")
        self.why = why


class Signer:
    """Signs and reads claims with one secret. Raises `InvalidInput` for a secret that could be guessed."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise InvalidInput(f"a secret needs at least {MIN_SECRET_BYTES} bytes, not {len(secret)}")
        self._secret = secret

    def sign(self, purpose: Purpose, claims: Mapping[str, Any], expires: float | None = None) -> str:
        """`expires` in seconds since the epoch; None never does."""
        payload = json.dumps({**claims, "exp": expires}, separators=(",", ":"), sort_keys=True).encode()
        return f"{_encoded(payload)}.{_encoded(self._signature(purpose, payload))}"

    def read(self, purpose: Purpose, token: str, now: float) -> dict[str, Any]:
        """The claims of a token that this signer made for `purpose`. Raises `TokenRefused`."""
        payload, _, signature = token.partition(".")
        if len(token) > MAX_TOKEN_CHARACTERS or not signature:
            raise TokenRefused("forged")
        try:
            body, said = _decoded(payload), _decoded(signature)
        except (binascii.Error, ValueError):
            raise TokenRefused("forged") from None
        if not hmac.compare_digest(said, self._signature(purpose, body)):
            raise TokenRefused("forged")
        claims: dict[str, Any] = json.loads(body)
        expires = claims.pop("exp")
        if expires is not None and now > expires:
            raise TokenRefused("expired")
        return claims

    def pseudonym(self, origin: str, external: str) -> str:
        """A name for someone known to others as `external`, from which that cannot be found without the secret."""
        return hmac.new(self._secret, f"pseudonym\n{origin}\n{external}".encode(), hashlib.sha256).hexdigest()

    def _signature(self, purpose: Purpose, payload: bytes) -> bytes:
        return hmac.new(self._secret, f"{purpose}\n".encode() + payload, hashlib.sha256).digest()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
