"""Specs: what they stand for, and what is said of bad ones."""

from __future__ import annotations

import socket

import pytest

from arena.contracts import ActionSpace, InvalidInput
from arena.policies.droid import DROID_ACHIEVED_VELOCITY
from arena.policies.registry import default_parsers, parse_spec
from arena.policies.specs import PolicyFactory

DROID = "openpi://host:8000?action_space=joint_velocity&control_hz=15&chunk=8"


def test_a_remote_spec_declares_everything() -> None:
    card = parse_spec(DROID + "&camera=exterior_2&name=pi05").card
    assert card.name == "pi05"
    assert card.action_space is ActionSpace.JOINT_VELOCITY
    assert (card.control_hz, card.chunk_length) == (15.0, 8)
    assert card.cameras == ("exterior_2", "wrist")
    assert card.resolution == (224, 224)


def test_hashes_name_the_declaration() -> None:
    assert parse_spec(DROID).card.sha256 == parse_spec(DROID).card.sha256
    assert parse_spec(DROID).card.sha256 == parse_spec(f"{DROID}&velocity_scale={DROID_ACHIEVED_VELOCITY}").card.sha256
    specs = [DROID, DROID + "&velocity_scale=3", DROID.replace("=15", "=10"), "noise", "noise?speed=0.2", "hold"]
    assert len({parse_spec(spec).card.sha256 for spec in specs}) == len(specs)
    assert parse_spec("noise").card.sha256 == parse_spec("noise?speed=0.1").card.sha256


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nois", "did you mean 'noise'.*valid: groot://HOST.*hold, noise, openpi://HOST.*roboarena://HOST"),
        ("", "unknown policy"),
        ("grpc://host", "unknown policy"),
        ("bc:weights.safetensors", "unknown policy"),
        ("noise?sped=1", "no parameter 'sped'; did you mean 'speed'.*m/s"),
        ("noise?speed=fast", "speed must be a number from 0 to 10, not 'fast'"),
        ("noise?speed=nan", "speed must be a number"),
        ("noise?speed=-1", "speed must be a number"),
        ("noise?speed", "NAME=VALUE"),
        ("noise?speed=1&speed=2", "once"),
        ("noise:fast", "question mark"),
        ("hold?speed=1", "no parameter 'speed'; valid: none"),
        ("openpi://host:8000", "must declare action_space, control_hz, chunk, for instance openpi://HOST"),
        (DROID.replace("&control_hz=15", ""), "must declare control_hz, for"),
        (DROID.replace("joint_velocity", "joint_velocty"), "did you mean 'joint_velocity'"),
        (DROID.replace("=8", "=0"), "chunk must be a number from 1"),
        (DROID.replace("=8", "=2.5"), "whole number"),
        (DROID.replace("=15", "=inf"), "control_hz"),
        (DROID.replace("joint_velocity", "cartesian_velocity"), "must declare velocity_scale"),
        (DROID.replace("joint_velocity", "joint_position") + "&velocity_scale=1", "no meaning for joint_position"),
        (DROID + "&velocity_scale=fast", "velocity_scale must be a number"),
        (DROID.replace("host", "user:pw@host"), "user name or password"),
    ],
)
def test_bad_specs_say_what_would_be_right(spec: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        parse_spec(spec)
    assert "\n" not in str(caught.value)


def test_the_composition_root_adds_schemes() -> None:
    seen = []

    def cloned(spec: str) -> PolicyFactory:
        seen.append(spec)
        return parse_spec("hold")

    parsers = {**default_parsers(), "bc": cloned}
    assert parse_spec("bc:runs/tiny?x=1", parsers).card.name == "hold"
    assert seen == ["bc:runs/tiny?x=1"]
    with pytest.raises(InvalidInput, match="bc:PATH"):
        parse_spec("clone", parsers)


def test_creating_a_remote_policy_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **named: asked.append(given))
    monkeypatch.setattr(socket, "create_connection", lambda *given, **named: asked.append(given))
    policy = parse_spec(DROID.replace("host", "no-such-host.invalid")).create()
    assert policy.card.name.endswith("no-such-host.invalid:8000")
    policy.close()
    assert not asked
