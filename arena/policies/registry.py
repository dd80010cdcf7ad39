"""The names under which policies are submitted, and what they stand for.

A spec is a word, or a word and parameters: `hold`, `noise?speed=0.2`,
`openpi://localhost:8000?action_space=joint_velocity&control_hz=15&chunk=8`, `bc:PATH`. The word, up to the
first `:` or `?`, picks a parser; who composes the system adds parsers of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from arena.contracts import ActionSpace, InvalidInput, PolicyCard
from arena.policies import builtin
from arena.policies.builtin import CHUNK_LENGTH, CONTROL_HZ, BuiltinPolicy, Plan
from arena.policies.served import EXAMPLES, SERVERS, parse_server
from arena.policies.server import Access
from arena.policies.specs import (
    ADAPTED,
    ADAPTED_FORM,
    PolicyFactory,
    SpecParser,
    declaration_sha256,
    number,
    parameters,
    suggestion,
)

BUILTIN_VERSION = 2
"""Raised whenever a built-in policy acts differently, so that its hash changes."""


def parse_spec(spec: str, parsers: Mapping[str, SpecParser] | None = None) -> PolicyFactory:
    """The policy that `spec` names. `parsers` maps the first word of a spec; `default_parsers()` without it.

    Raises `InvalidInput` with a suggestion for a word that is not among them, and for bad parameters.
    """
    known = default_parsers() if parsers is None else parsers
    spec = spec.strip()
    word = re.split(r"[:?]", spec, maxsplit=1)[0]
    if word not in known:
        raise InvalidInput(f"unknown policy {spec!r}{suggestion(word, known)}; valid: {', '.join(_forms(known))}")
    return known[word](spec)


def default_parsers(access: Access | None = None) -> Mapping[str, SpecParser]:
    """Parsers of the built-in policies and of servers. Add to them with `{**default_parsers(), "bc": ...}`.

    `access` says how servers are called; keep it, and a server that fails is known to fail the next time as well.
    """
    how = Access() if access is None else access

    def server(spec: str) -> PolicyFactory:
        return parse_server(spec, how)

    builtins: dict[str, SpecParser] = dict.fromkeys(("hold", "noise", "replay", "reverse"), _parse_builtin)
    return MappingProxyType({**builtins, **dict.fromkeys(SERVERS, server)})


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


def _forms(known: Mapping[str, object]) -> list[str]:
    forms = {
        **{word: f"{word}://..." for word in SERVERS},
        **EXAMPLES,
        "bc": "bc:PATH",
        "lerobot": "lerobot:FOLDER?...",
        ADAPTED: ADAPTED_FORM,
    }
    return [forms.get(word, word) for word in sorted(known)]
