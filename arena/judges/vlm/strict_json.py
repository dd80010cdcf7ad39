"""JSON as RFC 8259 has it, and no looser: `json.loads` takes NaN, and of two equal keys silently the last."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_CHARACTERS = 65_536
FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n?```", re.DOTALL)


class NotStrictJson(ValueError):
    """A text is not one JSON value, or one that could be read in two ways."""


def loads(text: str, limit: int = MAX_CHARACTERS) -> Any:
    """The value of a JSON text.

    Raises `NotStrictJson` for anything else: NaN and infinities (also by overflow), a key that occurs twice in an
    object, nesting beyond Python's own limit, more than `limit` characters.
    """
    if len(text) > limit:
        raise NotStrictJson(f"{len(text)} characters, at most {limit} are read")
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)
    except NotStrictJson:
        raise
    except (ValueError, RecursionError) as error:
        raise NotStrictJson(f"not JSON: {error}") from None


def unfenced(text: str) -> str:
    """What a model says, without the Markdown fence that models like to put around all of it.

    Only a single fence around the whole of it is taken off. Words before or after one, or two of them, stay, and are
    refused as JSON: which of several objects was meant is not for us to guess.
    """
    stripped = text.strip()
    match = FENCE.fullmatch(stripped)
    return match[1] if match and "```" not in match[1] else stripped


def _refuse(name: str) -> Any:
    raise NotStrictJson(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise NotStrictJson(f"the number {digits[:20]} is too large")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise NotStrictJson(f"the key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return found
