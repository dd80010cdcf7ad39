"""The specs of policies that are servers: an address, and what its owner declares of it.

`openpi://host:8000?action_space=joint_velocity&control_hz=15&chunk=8`, and likewise `ws://`, `wss://` (openpi),
`roboarena://`, `roboarena+wss://` and `groot://`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from arena.contracts import ActionSpace, InvalidInput, PolicyCard
from arena.policies import groot, roboarena
from arena.policies.address import Endpoint, parse_endpoint
from arena.policies.droid import IMAGE_SIZE, WRIST_CAMERA
from arena.policies.openpi import OpenPiForm, openpi_cameras
from arena.policies.remote import Batches, Form, RemotePolicy, Together
from arena.policies.server import OPENPI, Access, Connect, Dialect, NetworkRoute, PolicyServer
from arena.policies.specs import (
    ACTS_HELP,
    PolicyFactory,
    declaration_sha256,
    declared_acts,
    must_declare,
    named_cameras,
    parameters,
    whole_number,
)
from arena.policies.transport import Connection
from arena.policies.zmtp import ZmtpConnection

EXTERIOR_CAMERAS = ("exterior_1", "exterior_2")
_COMMON = {
    **ACTS_HELP,
    "camera": "the exterior camera, exterior_1 by default",
    "network": "public refuses a server that is on this machine or a private network",
}


_DROID_VIEWS = ("exterior_image_1_left", "exterior_image_2_left", "wrist_image_left")
"""What GR00T's checkpoints for DROID call the exterior cameras and the wrist's."""


@dataclass(frozen=True)
class Served:
    """A policy that is a server, as its spec has it. Nothing is connected to yet.

    `forms` makes a form (what is sent, and what answers mean) for one trial.
    """

    card: PolicyCard
    endpoint: Endpoint
    velocity_scale: float | None
    access: Access = field(repr=False)
    connect: Connect = field(repr=False)
    dialect: Dialect = field(repr=False)
    forms: Callable[[PolicyCard], Form] = field(repr=False)
    group: Together | None = field(default=None, repr=False)

    def server(self) -> PolicyServer:
        route = NetworkRoute(self.endpoint, self.access, self.connect)
        return PolicyServer(self.card.name, route, self.access, self.dialect)

    def form(self) -> Form:
        return self.forms(self.card)

    def policy(self) -> RemotePolicy:
        return RemotePolicy(self.card, self.server(), self.form(), self.velocity_scale, self.group)


@dataclass(frozen=True)
class _Kind:
    """What is particular to the specs of one kind of server. `read` turns its parameters into what a form needs.

    `declares` are parameters that have to be given, with the values that an example has; `defaults` are the others'.
    """

    example: str
    declares: tuple[str, ...]
    defaults: Mapping[str, str]
    more: Mapping[str, str]
    read: Callable[[str, Mapping[str, str]], _Sees]


@dataclass(frozen=True)
class _Sees:
    """What a policy is shown: for its card, for its hash, and to make its forms."""

    cameras: tuple[str, ...]
    resolution: tuple[int, int] | None
    declared: tuple[object, ...]
    forms: Callable[[PolicyCard], Form]
    connect: Connect = Connection
    dialect: Callable[[Access], Dialect] = lambda access: OPENPI
    speaks: str | None = None
    """None for openpi, whose hashes are as old as the hash."""
    batches: Batches | None = None
    """How several trials are asked about in one request; None where the protocol has no such thing."""


def kind_of(spec: str) -> str | None:
    """`openpi`, `roboarena` or `groot`; None for what is no server."""
    return _WORDS.get(re.split(r"[:?]", spec.strip(), maxsplit=1)[0])


def public_only(spec: str) -> bool:
    """Whether a spec says that its server has to be on the public internet, wherever it is connected to from."""
    return dict(parse_qsl(spec.partition("?")[2])).get("network") == "public"


def completed(spec: str, space: ActionSpace | None, chunk: int = 1) -> str:
    """The spec with what a server's has to declare: what it does not declare itself is as given, and DROID's rate.

    Only for looking at a server: without `space`, one is made up. Other text is returned as it is.
    """
    address, _, query = spec.strip().partition("?")
    needed = {"action_space": str(space or ActionSpace.JOINT_POSITION), "chunk": str(chunk)}
    if kind_of(spec) == "openpi":
        needed["control_hz"] = f"{roboarena.CONTROL_HZ:g}"
    if space is ActionSpace.CARTESIAN_VELOCITY:
        needed["velocity_scale"] = "si"
    known = {pair.partition("=")[0] for pair in query.split("&")}
    added = [f"{name}={value}" for name, value in needed.items() if name not in known]
    if kind_of(spec) is None or not added:
        return spec
    return f"{address}?{'&'.join(filter(None, [query, *added]))}"


def parse_served(spec: str, access: Access) -> Served:
    """Raises `InvalidInput` for a bad address, for parameters that are unknown, and for those that are missing."""
    address = spec.partition("?")[0]
    endpoint, word = parse_endpoint(address), kind_of(spec)
    if word is None:  # as in OPENPI://, which is an address like any other
        raise InvalidInput(f"policy {spec!r} must begin with one of {', '.join(f'{name}://' for name in _WORDS)}")
    kind = _KINDS[word]
    given = {**kind.defaults, **parameters(spec, {**_COMMON, **kind.more})}
    hint = f"; `dreamarena policy probe {address}` tells what can be known of a server"
    must_declare(spec, given, kind.declares, kind.example, hint)
    if given.get("network", "public") != "public":
        raise InvalidInput(f"policy {spec!r}: network can be public and nothing else")
    acts, sees = declared_acts(spec, given), kind.read(spec, given)
    declared: dict[str, object] = {"url": endpoint.url, "acts": acts.declared, "sees": [*sees.declared]}
    if sees.speaks is not None:
        declared["speaks"] = sees.speaks
    card = PolicyCard(
        name=given.get("name", address),
        spec=spec,
        sha256=declaration_sha256(declared),  # not of what it is called
        action_space=acts.space,
        control_hz=acts.control_hz,
        chunk_length=acts.chunk,
        cameras=sees.cameras,
        resolution=sees.resolution,
    )
    if public_only(spec):
        access = Access(access.deadlines, False, access.api_key, access.breakers)
    group = None if sees.batches is None else Together(sees.batches)
    return Served(card, endpoint, acts.scale, access, sees.connect, sees.dialect(access), sees.forms, group)


def parse_server(spec: str, access: Access) -> PolicyFactory:
    """As `parse_served`, as a policy."""
    served = parse_served(spec, access)
    return PolicyFactory(served.card, served.policy)


def _openpi(spec: str, given: Mapping[str, str]) -> _Sees:
    camera = given.get("camera", EXTERIOR_CAMERAS[0])
    side = whole_number(spec, "image_size", given.get("image_size", str(IMAGE_SIZE[0])), 8, 2048)
    size = (side, side)
    return _Sees(openpi_cameras(camera), size, (camera, side), lambda card: OpenPiForm(card, camera, size))


def _roboarena(spec: str, given: Mapping[str, str]) -> _Sees:
    first = given.get("camera", EXTERIOR_CAMERAS[0])
    second = next(name for name in reversed(EXTERIOR_CAMERAS) if name != first)
    counted = whole_number(spec, "first_camera", given.get("first_camera", "0"), 0, 1)
    # Which of the cameras it wants, and how large, the server says when it is connected to.

    def form(card: PolicyCard) -> Form:
        return roboarena.RoboArenaForm(card, (first, second), counted)

    return _Sees((), None, (first, counted), form, speaks="roboarena")


def _groot(spec: str, given: Mapping[str, str]) -> _Sees:
    first = given.get("camera", EXTERIOR_CAMERAS[0])
    second = next(name for name in reversed(EXTERIOR_CAMERAS) if name != first)
    cameras = dict(zip(_DROID_VIEWS, (first, second, WRIST_CAMERA), strict=True))
    cameras |= named_cameras(spec, given.get("cameras", ""))
    size = _size(spec, given["image_size"])
    declared = (sorted(cameras.items()), size)
    return _Sees(
        (first, WRIST_CAMERA), size, declared, lambda card: groot.GrootForm(card, cameras, size),
        ZmtpConnection, lambda access: groot.groot_dialect(access.api_key), "groot", groot.BATCHES,
    )  # fmt: skip


def _size(spec: str, text: str) -> tuple[int, int]:
    """`180x320`, the height first."""
    height, _, width = text.partition("x")
    return whole_number(spec, "image_size", height, 8, 2048), whole_number(spec, "image_size", width, 8, 2048)


_KINDS = {
    "openpi": _Kind(
        "openpi://HOST:PORT?action_space=joint_velocity&control_hz=15&chunk=8",
        ("action_space", "control_hz", "chunk"),
        {},
        {"image_size": "pixels, 224 by default"},
        _openpi,
    ),
    "roboarena": _Kind(
        "roboarena://HOST:PORT?action_space=joint_position&chunk=8",
        ("action_space", "chunk"),
        {"control_hz": f"{roboarena.CONTROL_HZ:g}"},
        {"first_camera": "0, or 1 for a server that counts cameras from 1"},
        _roboarena,
    ),
    "groot": _Kind(
        "groot://HOST:PORT?action_space=joint_position&chunk=8",
        ("action_space", "chunk"),
        {"control_hz": f"{groot.CONTROL_HZ:g}", "image_size": "x".join(map(str, groot.IMAGE_SIZE))},
        {
            "image_size": "HEIGHTxWIDTH in pixels, 180x320 by default",
            "cameras": "VIEW:CAMERA,..., where the server's names of views are not those of DROID",
        },
        _groot,
    ),
}
_WORDS = {
    "openpi": "openpi",
    "ws": "openpi",
    "wss": "openpi",
    "roboarena": "roboarena",
    "roboarena+wss": "roboarena",
    "groot": "groot",
}
SERVERS = tuple(_WORDS)
"""The words that the spec of a server begins with."""
EXAMPLES = {name: kind.example for name, kind in _KINDS.items()}
