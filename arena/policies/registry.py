"""The names under which policies are submitted, and what they stand for.

A spec is a word, or a word and parameters: `hold`, `noise?speed=0.2`,
`openpi://localhost:8000?action_space=joint_velocity&control_hz=15&chunk=8`, `bc:PATH`. The word, up to the
first `:` or `?`, picks a parser; who composes the system adds parsers of their own.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import parse_qsl

from arena.contracts import ActionSpace, InvalidInput, Policy, PolicyCard
from arena.policies import builtin
from arena.policies.address import parse_endpoint
from arena.policies.builtin import CHUNK_LENGTH, CONTROL_HZ, BuiltinPolicy, Plan
from arena.policies.droid import DROID_ACHIEVED_VELOCITY, IMAGE_SIZE, MAX_CHUNK, VELOCITY_SPACES
from arena.policies.remote import DEFAULT_DEADLINES, Deadlines, OpenPiPolicy, PolicyServer, openpi_cameras

BUILTIN_VERSION = 1
"""Raised whenever a built-in policy acts differently, so that its hash changes."""
HOW_TO_DECLARE = "openpi://HOST:PORT?action_space=joint_velocity&control_hz=15&chunk=8"


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


def parse_spec(spec: str, parsers: Mapping[str, SpecParser] | None = None) -> PolicyFactory:
    """The policy that `spec` names. `parsers` maps the first word of a spec; `default_parsers()` without it.

    Raises `InvalidInput` with a suggestion for a word that is not among them, and for bad parameters.
    """
    known = default_parsers() if parsers is None else parsers
    spec = spec.strip()
    word = re.split(r"[:?]", spec, maxsplit=1)[0]
    if word not in known:
        raise InvalidInput(f"unknown policy {spec!r}{_suggestion(word, known)}; valid: {', '.join(_forms(known))}")
    return known[word](spec)


def default_parsers(
    allow_private: bool = True, api_key: str | None = None, deadlines: Deadlines = DEFAULT_DEADLINES
) -> Mapping[str, SpecParser]:
    """Parsers of the built-in and the openpi policies. Add to them with `{**default_parsers(), "bc": ...}`.

    `allow_private` False refuses servers that are not on the public internet. `api_key` is sent to every
    openpi server as openpi-client does; it is never part of a spec, because specs are stored and shown.
    """

    def openpi(spec: str) -> PolicyFactory:
        return _parse_openpi(spec, allow_private, api_key, deadlines)

    builtins: dict[str, SpecParser] = dict.fromkeys(("hold", "noise", "replay", "reverse"), _parse_builtin)
    return MappingProxyType({**builtins, "openpi": openpi, "ws": openpi, "wss": openpi})


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
            raise InvalidInput(f"policy {spec!r} has no parameter {name!r}{_suggestion(name, allowed)}; valid: {valid}")
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


_NOISE = {"speed": 0.1, "turn_speed": 0.3, "gripper_speed": 0.3}
_NOISE_HELP = {
    "speed": "m/s, at most",
    "turn_speed": "rad/s, at most",
    "gripper_speed": "strokes/s, at most",
}


def _parse_builtin(spec: str) -> PolicyFactory:
    name = re.split(r"[:?]", spec, maxsplit=1)[0]
    if spec != name and not spec.startswith(f"{name}?"):
        raise InvalidInput(f"policy {spec!r}: {name} takes no {spec[len(name) :]!r}; parameters follow a question mark")
    given = parameters(spec, _NOISE_HELP if name == "noise" else {})
    settings = {**_NOISE, **{key: number(spec, key, text, 0.0, 10.0) for key, text in given.items()}}
    plans: dict[str, Plan] = {
        "hold": builtin.hold,
        "noise": builtin.noise(**settings),
        "replay": builtin.replay,
        "reverse": builtin.reverse,
    }
    declared = {"name": name, "version": BUILTIN_VERSION, **(settings if name == "noise" else {})}
    card = PolicyCard(
        name=spec,
        spec=spec,
        sha256=declaration_sha256(declared),
        action_space=ActionSpace.CARTESIAN_POSITION,
        control_hz=CONTROL_HZ,
        chunk_length=CHUNK_LENGTH,
    )
    return PolicyFactory(card, lambda: BuiltinPolicy(card, plans[name]))


_OPENPI_HELP = {
    "action_space": "one of " + ", ".join(ActionSpace),
    "control_hz": "actions per second, 15 for DROID",
    "chunk": "how many actions of each answer are carried out, e.g. 8",
    "velocity_scale": "what a velocity of 1 means, in rad/s or m/s; or si",
    "camera": "the exterior camera, exterior_1 by default",
    "image_size": "pixels, 224 by default",
    "name": "what to call it",
    "network": "public refuses a server that is on this machine or a private network",
}


def public_only(spec: str) -> bool:
    """Whether a spec says that its server has to be on the public internet, wherever it is connected to from."""
    return dict(parse_qsl(spec.partition("?")[2])).get("network") == "public"


def _parse_openpi(spec: str, allow_private: bool, api_key: str | None, deadlines: Deadlines) -> PolicyFactory:
    address = spec.partition("?")[0]
    endpoint = parse_endpoint(address)
    given = parameters(spec, _OPENPI_HELP)
    missing = [name for name in ("action_space", "control_hz", "chunk") if name not in given]
    if missing:
        raise InvalidInput(f"policy {spec!r} must declare {', '.join(missing)}, for instance {HOW_TO_DECLARE}")
    if given.get("network", "public") != "public":
        raise InvalidInput(f"policy {spec!r}: network can be public and nothing else")
    allow_private = allow_private and not public_only(spec)
    space = _action_space(spec, given["action_space"])
    scale = _velocity_scale(spec, space, given.get("velocity_scale"))
    camera = given.get("camera", "exterior_1")
    side = whole_number(spec, "image_size", given.get("image_size", str(IMAGE_SIZE[0])), 8, 2048)
    rate = number(spec, "control_hz", given["control_hz"], 0.1, 1000.0)
    chunk = whole_number(spec, "chunk", given["chunk"], 1, MAX_CHUNK)
    card = PolicyCard(
        name=given.get("name", address),
        spec=spec,
        sha256=declaration_sha256(
            {"url": endpoint.url, "acts": [space, rate, chunk, scale], "sees": [camera, side]}  # not what it is called
        ),
        action_space=space,
        control_hz=rate,
        chunk_length=chunk,
        cameras=openpi_cameras(camera),
        resolution=(side, side),
    )

    def build() -> Policy:
        server = PolicyServer(card.name, endpoint, deadlines, allow_private, api_key)
        return OpenPiPolicy(card, server, scale, camera, (side, side))

    return PolicyFactory(card, build)


def _action_space(spec: str, text: str) -> ActionSpace:
    try:
        return ActionSpace(text)
    except ValueError:
        spaces = {str(space): "" for space in ActionSpace}
        raise InvalidInput(
            f"policy {spec!r}: unknown action_space {text!r}{_suggestion(text, spaces)}; valid: {', '.join(spaces)}"
        ) from None


def _velocity_scale(spec: str, space: ActionSpace, text: str | None) -> float | None:
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


def _suggestion(word: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _forms(known: Mapping[str, object]) -> list[str]:
    remote = {"openpi": HOW_TO_DECLARE, "ws": "ws://...", "wss": "wss://...", "bc": "bc:PATH"}
    return [remote.get(word, word) for word in sorted(known)]
