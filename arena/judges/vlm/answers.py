"""What a model may answer, as JSON schemas, and reading its answers by them: exactly these fields, nothing guessed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from arena.judges.vlm.strict_json import NotStrictJson, loads, unfenced

MAX_REASON = 300
"""Characters of a model's reason that are kept: it is shown to people, and was perhaps dictated by a picture."""
CHOICES = ("first", "second", "tie", "both_bad")

Json = Mapping[str, Any]
T = TypeVar("T")


class BadAnswer(ValueError):
    """An answer that does not fit its schema: it says nothing."""


@dataclass(frozen=True)
class Scores:
    """Of one window of frames: progress in [0, 100] of each, and the probability that the task is done at its end."""

    progress: tuple[float, ...]
    success: float
    reason: str


@dataclass(frozen=True)
class Preference:
    """Which of two rollouts went better: one of `CHOICES`."""

    better: str
    reason: str


@dataclass(frozen=True)
class Form(Generic[T]):
    """A kind of answer: the schema that a server is asked to keep to, and the reading of it, which trusts no server.

    `read` takes an answer's text and raises `BadAnswer`.
    """

    name: str
    schema: Json
    read: Callable[[str], T]


def scores_form(frames: int) -> Form[Scores]:
    """The form of an answer about `frames` numbered frames. The reason comes first, so that it is thought of first."""
    schema = object_schema(
        reason={"type": "string"},
        progress={
            "type": "array", "items": {"type": "number", "minimum": 0, "maximum": 100},
            "minItems": frames, "maxItems": frames,
        },
        success={"type": "number", "minimum": 0, "maximum": 1},
    )  # fmt: skip

    def read(text: str) -> Scores:
        fields = read_object(text, schema)
        progress = fields["progress"]
        if not isinstance(progress, list) or len(progress) != frames:
            raise BadAnswer(f"'progress' must be a list of {frames} numbers")
        checked = tuple(_number("progress", value, 100) for value in progress)
        return Scores(checked, _number("success", fields["success"], 1), _reason(fields["reason"]))

    return Form("scores", schema, read)


def preference_form() -> Form[Preference]:
    """The form of an answer about two rollouts."""
    schema = object_schema(reason={"type": "string"}, better={"type": "string", "enum": list(CHOICES)})

    def read(text: str) -> Preference:
        fields = read_object(text, schema)
        if fields["better"] not in CHOICES:
            raise BadAnswer(f"'better' must be one of {', '.join(CHOICES)}")
        return Preference(fields["better"], _reason(fields["reason"]))

    return Form("preference", schema, read)


def object_schema(**properties: Json) -> Json:
    """Of an object with exactly these fields."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_object(text: str, schema: Json) -> dict[str, Any]:
    """The fields of an answer's object. Raises `BadAnswer` where it has not exactly those of the schema."""
    try:
        value = loads(unfenced(text))
    except NotStrictJson as error:
        raise BadAnswer(str(error)) from None
    if not isinstance(value, dict):
        raise BadAnswer(f"a JSON {type(value).__name__} where an object was asked for")
    if value.keys() != set(schema["required"]):
        raise BadAnswer(f"fields {sorted(value)} where {sorted(schema['required'])} were asked for"[:MAX_REASON])
    return value


def _number(name: str, value: Any, most: float) -> float:
    # In Python a boolean is an integer, in JSON it is not a number.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise BadAnswer(f"{name!r} must be a number from 0 to {most:g}")
    return float(value)


def _reason(value: Any) -> str:
    if not isinstance(value, str):
        raise BadAnswer("'reason' must be a string")
    return printable(value)


def printable(text: str) -> str:
    """What a stranger wrote as one line of at most `MAX_REASON` printable characters."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:MAX_REASON]
