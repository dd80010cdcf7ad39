"""Servers whose joint velocities go through an adapter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from arena.contracts import ActionChunk, ActionSpace, FloatArray, InvalidInput, Observation, Scene
from arena.policies.adapted import AdaptedPolicy, adapted
from arena.policies.served import parse_served
from arena.policies.server import Access
from arena.policies.specs import split_adapted
from workers.plans import absolute_spec
from workers.registry import Workshop

Run = Callable[..., int]
VELOCITY = "action_space=joint_velocity&control_hz=15"
SPEC = f"adapted:a.pth,openpi://127.0.0.1:9?{VELOCITY}&chunk=15"


@dataclass(frozen=True)
class Halfway:
    """Joints follow half of what they are told, for 1/15 s each."""

    steps: int = 15
    control_hz: float = 15.0
    sha256: str = "a" * 64

    def __call__(self, joint_position: FloatArray, velocities: FloatArray) -> FloatArray:
        assert velocities.shape == (15, 7)
        return np.asarray(joint_position + 0.5 * np.cumsum(velocities, axis=0) / 15)


def told(count: int) -> FloatArray:
    return np.concatenate([np.linspace(-0.9, 1.4, 7 * count).reshape(count, 7), np.full((count, 1), 0.25)], axis=1)


@pytest.mark.parametrize("count", [15, 10])
def test_velocities_become_the_adapters_positions(
    count: int, run_openpi: Run, observation: Observation, scene: Scene
) -> None:
    port = run_openpi(lambda seen: {"actions": told(count)})
    spec = f"openpi://127.0.0.1:{port}?{VELOCITY}&chunk={count}"
    factory = adapted(f"adapted:a.pth,{spec}", parse_served(spec, Access(allow_private=True)), Halfway())
    assert factory.card.action_space is ActionSpace.JOINT_POSITION
    assert factory.card.sha256 != parse_served(spec, Access()).card.sha256
    policy = factory.create()
    policy.reset(scene, 0)
    chunk = policy.act(observation)
    assert observation.joint_position is not None
    # The server's own numbers, above 1 too.
    expected = observation.joint_position + 0.5 * np.cumsum(told(count)[:, :7], axis=0) / 15
    np.testing.assert_allclose(chunk.values[:, :7], expected, atol=1e-6)
    np.testing.assert_allclose(chunk.values[:, 7], 0.25, atol=1e-6)
    assert (chunk.space, chunk.control_hz) == (ActionSpace.JOINT_POSITION, 15.0)
    with pytest.raises(InvalidInput, match="no joint positions"):
        policy.act(replace(observation, joint_position=None))
    policy.close()


def test_more_actions_than_it_was_made_for_end_the_trial(observation: Observation) -> None:
    card = adapted(SPEC, parse_served(SPEC.partition(",")[2], Access()), Halfway()).card

    class Talkative:
        def act(self, observation: Observation) -> ActionChunk:
            return ActionChunk(told(16), ActionSpace.JOINT_VELOCITY, 15.0)

    with pytest.raises(InvalidInput, match="answered 16 actions: its adapter takes 15"):
        AdaptedPolicy(card, Talkative(), Halfway()).act(observation)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("action_space=joint_position&control_hz=15&chunk=8", "takes joint_velocity, not joint_position"),
        ("action_space=joint_velocity&control_hz=5&chunk=8", "at 15 Hz, not 8 at 5"),
        (f"{VELOCITY}&chunk=16", "up to 15 actions at 15 Hz, not 16"),
    ],
)
def test_what_an_adapter_cannot_take_is_said(query: str, says: str) -> None:
    spec = f"openpi://127.0.0.1:9?{query}"
    with pytest.raises(InvalidInput, match=says):
        adapted(f"adapted:a.pth,{spec}", parse_served(spec, Access(allow_private=True)), Halfway())


@pytest.mark.parametrize("spec", ["adapted:", "adapted:file.pth", "adapted:,openpi://h:1?x", "adapted:file.pth,"])
def test_half_a_spec_is_refused(spec: str) -> None:
    with pytest.raises(InvalidInput, match=r"write adapted:FILE,openpi://"):
        split_adapted(spec)


def test_the_workshop_makes_one_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    shapes: dict[str, Any] = {"net.0": (512, 112), "net.2": (512, 512), "net.4": (105, 512)}
    weights = {f"{name}.weight": 0.01 * torch.randn(shape) for name, shape in shapes.items()}
    weights |= {f"{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}
    save_file(weights, tmp_path / "adapter.safetensors")
    monkeypatch.chdir(tmp_path)
    spec = absolute_spec(f"adapted:adapter.safetensors,openpi://127.0.0.1:8000?{VELOCITY}&chunk=8")
    assert spec == f"adapted:{tmp_path}/adapter.safetensors,openpi://127.0.0.1:8000?{VELOCITY}&chunk=8"
    card = Workshop().policy(spec).card
    assert (card.action_space, card.spec) == (ActionSpace.JOINT_POSITION, spec)
