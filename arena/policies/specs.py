"""How policies are written down: a word, and parameters after a question mark."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from arena.contracts import ActionSpace, InvalidInput, Policy, PolicyCard
from arena.policies.droid import DROID_ACHIEVED_VELOCITY, VELOCITY_SPACES


@dataclass(frozen=True)
class PolicyFactory:
    """A policy that has been named and checked but not started: `create()` gives one for each trial."""

    card: PolicyCard
    build: Callable[[], Policy] = field(repr=False)

    def create(self) -> Policy:
        """A policy of its own for one trial. Opens no connection yet."""
        return self.build()


SpecParser = Callable[[str], PolicyFactory]
"""From a whole spec to a factory; raises `InvalidInput`."""


def parameters(spec: str, allowed: Mapping[str, str]) -> dict[str, str]:
    """What follows the `?` of a spec. `allowed` maps each name to what it means, for the error.

    Raises `InvalidInput` for unknown, repeated or empty parameters.
    """
    _, _, query = spec.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise InvalidInput(f"policy {spec!r}: write parameters as NAME=VALUE joined by &") from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed:
            valid = ", ".join(f"{key} ({meaning})" for key, meaning in allowed.items()) or "none"
            raise InvalidInput(f"policy {spec!r} has no parameter {name!r}{suggestion(name, allowed)}; valid: {valid}")
        if name in found or not value:
            raise InvalidInput(f"policy {spec!r}: parameter {name!r} must be given once and with a value")
        found[name] = value
    return found


def number(spec: str, name: str, text: str, low: float, high: float) -> float:
    """A finite number in [low, high]; raises `InvalidInput` that names the parameter."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise InvalidInput(f"policy {spec!r}: {name} must be a number from {low:g} to {high:g}, not {text!r}")
    return value


def whole_number(spec: str, name: str, text: str, low: int, high: int) -> int:
    """An integer in [low, high]; raises `InvalidInput` that names the parameter."""
    value = number(spec, name, text, low, high)
    if value != int(value):
        raise InvalidInput(f"policy {spec!r}: {name} must be a whole number, not {text!r}")
    return int(value)


def declaration_sha256(declaration: Mapping[str, object]) -> str:
    """Hash of what a policy was declared to be. Of a remote one it is all that can be hashed: its weights are away."""
    return hashlib.sha256(json.dumps(declaration, sort_keys=True).encode()).hexdigest()


def suggestion(word: str, known: Mapping[str, object]) -> str:
    """What may have been meant, as the end of a sentence; empty where nothing is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def declared_space(spec: str, text: str) -> ActionSpace:
    """Raises `InvalidInput` that lists them for what is none."""
    try:
        return ActionSpace(text)
    except ValueError:
        spaces = {str(space): "" for space in ActionSpace}
        raise InvalidInput(
            f"policy {spec!r}: unknown action_space {text!r}{suggestion(text, spaces)}; valid: {', '.join(spaces)}"
        ) from None


def declared_velocity_scale(spec: str, space: ActionSpace, text: str | None) -> float | None:
    """What a velocity of 1 means; None for SI units. DROID's joint velocities have a default, measured."""
    if space not in VELOCITY_SPACES:
        if text is not None:
            raise InvalidInput(f"policy {spec!r}: velocity_scale has no meaning for {space}")
        return None
    if text == "si":
        return None
    if text is not None:
        return number(spec, "velocity_scale", text, 1e-3, 100.0)
    if space is ActionSpace.JOINT_VELOCITY:
        return DROID_ACHIEVED_VELOCITY
    raise InvalidInput(
        f"policy {spec!r} must declare velocity_scale: si for m/s and rad/s, or what a velocity of 1 means"
    )
