"""How policies are written down: a word, and parameters after a question mark."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from arena.contracts import ActionSpace, InvalidInput, Policy, PolicyCard
from arena.policies.droid import DROID_ACHIEVED_VELOCITY, MAX_CHUNK, VELOCITY_SPACES

ADAPTED = "adapted"
ADAPTED_FORM = f"{ADAPTED}:FILE,openpi://HOST:PORT?action_space=joint_velocity&control_hz=15&chunk=15"


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


def split_adapted(spec: str) -> tuple[str, str]:
    """The adapter's file and the server's spec of `adapted:FILE,SPEC`. Raises `InvalidInput`."""
    file, comma, inner = spec.strip().partition(":")[2].partition(",")
    if not (file and comma and inner):
        raise InvalidInput(f"policy {spec!r}: write {ADAPTED_FORM}")
    return file, inner


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


@dataclass(frozen=True)
class Acts:
    """How a policy that is elsewhere acts, as its spec declares. `scale` is what a velocity of 1 means, None for SI."""

    space: ActionSpace
    control_hz: float
    chunk: int
    scale: float | None

    @property
    def declared(self) -> list[object]:
        """Its part of the declaration that is hashed."""
        return [self.space, self.control_hz, self.chunk, self.scale]


ACTS_HELP = {
    "action_space": "one of " + ", ".join(ActionSpace),
    "control_hz": "actions per second: the rate of the data that it was trained on, 15 for DROID",
    "chunk": "how many actions of each answer are carried out, e.g. 8",
    "velocity_scale": "what a velocity of 1 means, in rad/s or m/s; or si",
    "name": "what to call it",
}
"""Parameters that `declared_acts` reads, and the name."""


def must_declare(spec: str, given: Mapping[str, str], names: Sequence[str], example: str, hint: str = "") -> None:
    """Raises `InvalidInput` with an example where one of `names` was not given."""
    if missing := [name for name in names if name not in given]:
        raise InvalidInput(f"policy {spec!r} must declare {', '.join(missing)}, for instance {example}{hint}")


def declared_acts(spec: str, given: Mapping[str, str]) -> Acts:
    """From parameters that have all of `action_space`, `control_hz` and `chunk`. Raises `InvalidInput`."""
    space = declared_space(spec, given["action_space"])
    scale = declared_velocity_scale(spec, space, given.get("velocity_scale"))
    rate = number(spec, "control_hz", given["control_hz"], 0.1, 1000.0)
    return Acts(space, rate, whole_number(spec, "chunk", given["chunk"], 1, MAX_CHUNK), scale)


def named_cameras(spec: str, text: str) -> dict[str, str]:
    """`VIEW:CAMERA,VIEW:CAMERA` as a map. Raises `InvalidInput` for what is written otherwise."""
    found = {}
    for pair in filter(None, text.split(",")):
        view, colon, name = pair.rpartition(":")
        if not (colon and view and name):
            raise InvalidInput(f"policy {spec!r}: write cameras as VIEW:CAMERA,VIEW:CAMERA, not {pair!r}")
        found[view] = name
    return found


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
