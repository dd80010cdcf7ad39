"""Checkpoints of LeRobot in a process of their own. lerobot itself is a stand-in with its names and shapes here."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from arena.contracts import ActionSpace, InvalidInput, Observation, Scene
from arena.learned.lerobot import parse_lerobot
from arena.policies import errors
from arena.policies.server import Access, Deadlines

STAND_IN = '''
"""As lerobot's `configs.policies` and `policies.factory`: a policy that steps by its weights."""
import json, os, socket, time
from pathlib import Path
import torch
from safetensors.torch import load_file

class PreTrainedConfig:
    @classmethod
    def from_pretrained(cls, folder):
        config = cls()
        config.__dict__.update(json.loads((Path(folder) / "config.json").read_text()))
        return config

class Policy:
    resets = 0
    @classmethod
    def from_pretrained(cls, folder, config):
        policy = cls()
        policy.config, policy.weights = config, load_file(Path(folder) / "model.safetensors")
        if getattr(config, "broken", False):
            raise RuntimeError("weights that do not fit")
        return policy
    def to(self, device): return self
    def eval(self): return self
    def reset(self): Policy.resets += 1
    def predict_action_chunk(self, batch):
        assert not torch.is_grad_enabled()
        task = batch["task"][0]
        if task == "boom": raise ValueError("planted failure")
        if task == "die": os._exit(7)
        if task == "sleep": time.sleep(60)
        if task == "call home":
            socket.create_connection(("127.0.0.1", 1), timeout=5)
        if task == "environment":
            assert "SECRET_TOKEN" not in os.environ and os.environ["HF_HUB_OFFLINE"] == "1", "environment"
        image = batch["observation.images.wrist"]
        assert image.shape == (1, 3, 8, 12) and image.dtype == torch.float32 and 0 <= image.min() and image.max() <= 1
        state = batch["observation.state"]
        assert state.shape == (1, 8) and state.dtype == torch.float32
        steps = torch.arange(1, 6)[None, :, None] * self.weights["step"]
        return (state[:, None] + steps) / 2

def get_policy_class(kind):
    assert kind == "act"
    return Policy

def make_pre_post_processors(config, pretrained_path, preprocessor_overrides, postprocessor_overrides):
    assert preprocessor_overrides == {"device_processor": {"device": config.device}}
    return (lambda batch: batch), (lambda action: action * 2)
'''
CONFIG = {
    "type": "act",
    "n_obs_steps": 1,
    "input_features": {
        "observation.images.wrist": {"type": "VISUAL", "shape": [3, 8, 12]},
        "observation.state": {"type": "STATE", "shape": [8]},
    },
    "output_features": {"action": {"type": "ACTION", "shape": [8]}},
}
DECLARED = "?action_space=joint_position&control_hz=15&chunk=4"
PATIENT = Deadlines(first=120, step=60)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter of its own, which finds the stand-in, torch and msgpack."""
    root = tmp_path_factory.mktemp("env")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", root / "venv"], check=True)
    for module, names in {"configs/policies": "PreTrainedConfig", "policies/factory": ""}.items():
        file = root / "site" / "lerobot" / f"{module}.py"
        file.parent.mkdir(parents=True)
        file.write_text(f"from lerobot.stand_in import {names or 'get_policy_class, make_pre_post_processors'}\n")
    (root / "site" / "lerobot" / "stand_in.py").write_text(STAND_IN)
    site = next((root / "venv").glob("lib/python*/site-packages"))
    (site / "found.pth").write_text(f"{root / 'site'}\n{sysconfig.get_paths()['purelib']}\n")
    return str(root / "venv" / "bin" / "python")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "pretrained_model")


def write_checkpoint(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    save_file({"step": np.linspace(0.01, 0.08, 8, dtype=np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def observation() -> Observation:
    image = np.full((40, 60, 3), 120, np.uint8)
    return Observation({"wrist": image}, np.zeros(6), np.array([0.25]), "go", np.linspace(0, 0.6, 7))


@pytest.fixture
def scene(observation: Observation) -> Scene:
    return Scene("s", observation, {"wrist": observation.cameras["wrist"][None]}, observation.state[None], "go", 5.0)


def test_a_checkpoint_acts(checkpoint: Path, python: str, observation: Observation, scene: Scene) -> None:
    """Two trials share a process; each answer goes through lerobot's processors and back into our units."""
    factory = parse_lerobot(f"lerobot:{checkpoint}{DECLARED}&name=mine", Access(PATIENT), python)
    assert (factory.card.name, factory.card.cameras, factory.card.resolution) == ("mine", ("wrist",), (8, 12))
    one, two = factory.create(), factory.create()
    for policy in (one, two):
        policy.reset(scene, 0)
        chunk = policy.act(observation)
        assert (chunk.space, chunk.control_hz) == (ActionSpace.JOINT_POSITION, 15.0)
        expected = np.append(np.linspace(0, 0.6, 7), 0.25) + np.arange(1, 5)[:, None] * np.linspace(0.01, 0.08, 8)
        np.testing.assert_allclose(chunk.values, expected, atol=1e-6)
    one.close()
    two.close()


def test_it_is_alone(
    checkpoint: Path, python: str, observation: Observation, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No tokens, no network (where the machine lets us take it away), and an end with the policy's."""
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    policy = parse_lerobot(f"lerobot:{checkpoint}{DECLARED}", Access(PATIENT), python).create()
    policy.reset(scene, 0)
    policy.act(replace(observation, instruction="environment"))
    server = policy.server  # type: ignore[attr-defined]
    process = server._channel._process
    home = Path(server._channel._home.name)
    assert home.is_dir()
    if server.metadata()["network"] is False:
        with pytest.raises(errors.PolicyServerError, match="Network is unreachable"):
            policy.act(replace(observation, instruction="call home"))
    policy.close()
    assert process.poll() is not None
    assert not home.exists()


def test_failures_are_named_and_lived_through(
    checkpoint: Path, python: str, observation: Observation, scene: Scene
) -> None:
    policy = parse_lerobot(f"lerobot:{checkpoint}{DECLARED}", Access(Deadlines(120, 3)), python).create()
    policy.reset(scene, 0)
    with pytest.raises(errors.PolicyServerError, match="ValueError: planted failure"):
        policy.act(replace(observation, instruction="boom"))
    with pytest.raises(errors.PolicyConnectionError, match=r"its process ended \(status 7"):
        policy.act(replace(observation, instruction="die"))
    policy.act(observation)
    started = time.monotonic()
    with pytest.raises(errors.PolicyTimeout, match="no answer within 3 s"):
        policy.act(replace(observation, instruction="sleep"))
    assert time.monotonic() - started < 30
    policy.close()


def test_what_cannot_be_loaded_says_why(tmp_path: Path, python: str, checkpoint: Path, scene: Scene) -> None:
    broken = write_checkpoint(tmp_path / "broken", broken=True)
    with pytest.raises(errors.PolicyServerError, match="RuntimeError: weights that do not fit"):
        parse_lerobot(f"lerobot:{broken}{DECLARED}", Access(PATIENT), python).create().reset(scene, 0)
    with pytest.raises(errors.PolicyServerError, match="No module named 'lerobot'"):
        parse_lerobot(f"lerobot:{checkpoint}{DECLARED}", Access(PATIENT)).create().reset(scene, 0)
    with pytest.raises(errors.PolicyConnectionError, match="nowhere/python cannot be started: No such file"):
        parse_lerobot(f"lerobot:{checkpoint}{DECLARED}", Access(PATIENT), "nowhere/python").create().reset(scene, 0)


def test_a_pickle_is_refused_unopened(checkpoint: Path) -> None:
    (checkpoint / "optimizer.pt").write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    with pytest.raises(InvalidInput, match=r"optimizer\.pt is refused: a checkpoint holds files of \.json"):
        parse_lerobot(f"lerobot:{checkpoint}{DECLARED}", Access())


def test_hashes_follow_the_weights_and_the_declaration(checkpoint: Path) -> None:
    def sha256(more: str = "") -> str:
        return parse_lerobot(f"lerobot:{checkpoint}{DECLARED}{more}", Access()).card.sha256

    first = sha256()
    assert sha256("&name=other") == first
    assert sha256("&cameras=wrist:exterior_1") != first
    save_file({"step": np.ones(8, dtype=np.float32)}, checkpoint / "model.safetensors")
    assert sha256() != first


@pytest.mark.parametrize(
    ("changes", "more", "says"),
    [
        ({"n_obs_steps": 2}, "", "looks at 2 observations"),
        ({"input_features": {"observation.state": {"type": "STATE", "shape": [14]}}}, "", "what its 14 numbers"),
        ({}, "&state=joints", "not 'joints'"),
        ({"input_features": {"observation.images.top": {"type": "VISUAL", "shape": [3, 8, 8]}}},
         "&state=gripper_position", "which camera its image 'top' is with cameras=top:CAMERA"),
        ({"input_features": [1]}, "", "is not the config of a policy"),
        ({"input_features": {"observation.images.wrist": {"type": "VISUAL", "shape": [3, 8]}}}, "", "not the config"),
        ({"input_features": {"observation.images.wrist": {"type": "VISUAL", "shape": [3, 0, 8]}}}, "", "no size"),
        ({}, "&camera=wrist", "no parameter 'camera'"),
    ],
)  # fmt: skip
def test_bad_checkpoints_and_specs(tmp_path: Path, changes: dict[str, Any], more: str, says: str) -> None:
    folder = write_checkpoint(tmp_path / "pretrained_model", **changes)
    with pytest.raises(InvalidInput, match=says):
        parse_lerobot(f"lerobot:{folder}{DECLARED}{more}", Access())


def test_what_is_no_checkpoint(tmp_path: Path, checkpoint: Path) -> None:
    for spec, says in [
        (f"lerobot:{tmp_path}/nowhere{DECLARED}", "there is no folder"),
        (f"lerobot:{tmp_path}{DECLARED}", "holds no model.safetensors"),
        (f"lerobot:{checkpoint}", "must declare action_space, control_hz, chunk, for instance lerobot:FOLDER"),
        ("lerobot:", "must declare"),
    ]:
        with pytest.raises(InvalidInput, match=says):
            parse_lerobot(spec, Access())
