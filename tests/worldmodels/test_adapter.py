"""The released action adapter: its arithmetic, from either kind of file, and files that are none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from arena.contracts import InvalidInput
from worldmodels import adapter as module
from worldmodels.adapter import load_adapter


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    """As the authors lay it out: 7 joints and 15 normalised velocities in, 15 normalised changes out."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(112, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU(), nn.Linear(512, 105))


def tensors(network: nn.Sequential) -> dict[str, Tensor]:
    return {f"net.{name}": value for name, value in network.state_dict().items()}


@pytest.fixture
def files(network: nn.Sequential, tmp_path: Path) -> list[Path]:
    torch.save(tensors(network), tmp_path / "model2_15_9.pth")
    save_file(tensors(network), tmp_path / "adapter.safetensors")
    return [tmp_path / "model2_15_9.pth", tmp_path / "adapter.safetensors"]


def test_it_is_the_networks_arithmetic(network: nn.Sequential, files: list[Path]) -> None:
    random = np.random.default_rng(0)
    joints, told = random.uniform(-2, 2, 7), random.uniform(-1, 1, (15, 7))
    low, high = torch.from_numpy(module._VELOCITY)
    normal = (torch.from_numpy(told) - low) / (high - low) * 2 - 1
    with torch.no_grad():
        out = network(torch.cat([torch.from_numpy(joints), normal.flatten()]).float()).reshape(15, 7).double()
    low, high = torch.from_numpy(module._CHANGE)
    expected = torch.from_numpy(joints) + low + (high - low) * (out + 1) / 2
    for file in files:
        adapter = load_adapter(file)
        np.testing.assert_allclose(adapter(joints, told), expected.numpy(), atol=2e-6)
    assert load_adapter(files[0]).sha256 != load_adapter(files[1]).sha256


def test_what_is_no_adapter_is_refused(network: nn.Sequential, tmp_path: Path) -> None:
    whole = tensors(network)
    cases: list[tuple[dict[str, Tensor], str]] = [
        ({name: value for name, value in whole.items() if name != "net.4.bias"}, "net.4.bias"),
        (whole | {"net.6.bias": torch.zeros(3)}, "net.6.bias"),
        (whole | {"net.0.weight": torch.zeros(512, 128)}, "net.0.weight"),
        (whole | {"net.2.bias": torch.full((512,), torch.nan)}, "finite"),
    ]
    for number, (wrong, says) in enumerate(cases):
        save_file(wrong, tmp_path / f"{number}.safetensors")
        with pytest.raises(InvalidInput, match=re.escape(says)):
            load_adapter(tmp_path / f"{number}.safetensors")
