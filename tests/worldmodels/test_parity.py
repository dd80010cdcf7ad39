"""Our Ctrl-World against numbers from the authors' code, and the checks that make such a comparison worth having."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from arena.contracts import InvalidInput
from worldmodels.checkpoint import KeyMismatch, shapes_of
from worldmodels.config import NoiseConfig, TextEncoding, WorldModelConfig
from worldmodels.ctrl_world import ActionEncoder, CtrlWorld
from worldmodels.parity import full_size_key_check, named_weight, parity, relative_error
from worldmodels.sampler import SamplerConfig, sample

TOLERANCE = 1e-4


def test_every_output_of_the_authors_code_is_met(shared: Path) -> None:
    stages: list[tuple[int, int, str]] = []
    result = parity(shared / "golden" / "ctrl_world_tiny", progress=lambda *stage: stages.append(stage))
    stored = load_file(shared / "golden" / "ctrl_world_tiny.safetensors")
    assert set(result["outputs"]) == {name for name in stored if name.startswith("out.")}
    assert result["max_error"] == max(result["outputs"].values()) <= TOLERANCE
    assert stages[-1][:2] == (len(result["outputs"]),) * 2


def test_full_size_names_and_shapes_are_the_published_ones(shared: Path, tmp_path: Path) -> None:
    path = shared / "golden" / "ctrl_world_full_keys.json"
    checked = full_size_key_check(path)
    assert checked == {"keys": 1434, "parameters": 1_526_730_474}
    published = json.loads(path.read_text())
    published["unet.conv_in.bias"] = [321]
    published["unet.renamed"] = published.pop("unet.conv_in.weight")
    (tmp_path / "keys.json").write_text(json.dumps(published))
    with pytest.raises(KeyMismatch) as caught:
        full_size_key_check(tmp_path / "keys.json")
    assert caught.value.missing == ("unet.conv_in.weight",)
    assert caught.value.unexpected == ("unet.renamed",)
    assert caught.value.misshapen == {"unet.conv_in.bias": ((321,), (320,))}


# --- a golden file of another shape: one clip, odd guidance, another action width ---

ACTION_WIDTH = 9


@pytest.fixture(scope="module")
def golden(small_config: WorldModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PREFIX of a golden file of our own: three steps at guidance 1.5, history of three, one clip, no text."""
    config = replace(small_config, noise=NoiseConfig(augmentation_sample=0.02))
    model = CtrlWorld(config)
    model.action_encoder = ActionEncoder(ACTION_WIDTH, 512, TextEncoding.NONE)
    shapes = shapes_of(model.state_dict())
    model.load_state_dict({name: named_weight(name, shape) for name, shape in shapes.items()})
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "in.actions": torch.randn(1, 6, ACTION_WIDTH, generator=generator),
        "in.current_latent": torch.randn(1, 4, 8, 8, generator=generator),
        "in.history_latents": torch.randn(1, 3, 4, 8, 8, generator=generator),
        "in.initial_noise": torch.randn(1, 3, 4, 8, 8, generator=generator),
    }
    trace: list[Tensor] = []
    given = [tensors[f"in.{name}"] for name in ("initial_noise", "current_latent", "history_latents")]
    with torch.no_grad():
        tokens = model.action_encoder(tensors["in.actions"])
        run = sample(model.eval(), *given, tokens, SamplerConfig(3, 1.5), lambda _, latents: trace.append(latents))
    tensors |= {
        "out.action_hidden": tokens,
        "out.sample_steps3_guidance1.5": run,
        "out.sample_trace": torch.stack(trace),
    }
    prefix = tmp_path_factory.mktemp("golden") / "other.v2"
    described = {
        "unet": {"_class_name": "UNetSpatioTemporalConditionModel", **config.unet},
        "scheduler": dict(config.scheduler),
        "vae": {"scaling_factor": config.autoencoder["scaling_factor"]},
        "unet_keys": {k[5:]: v for k, v in shapes.items() if k.startswith("unet.")},
        "action_encoder_keys": {k[15:]: v for k, v in shapes.items() if k.startswith("action_encoder.")},
    }
    Path(f"{prefix}.json").write_text(json.dumps(described))
    save_file(tensors, f"{prefix}.safetensors")
    return prefix


def rewritten(golden: Path, folder: Path, described: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
    """A copy of the golden file with some parts replaced; a tensor that is set to None is left out."""
    contents = {**json.loads(Path(f"{golden}.json").read_text()), **described}
    (folder / "changed.json").write_text(json.dumps(contents))
    stored = {**load_file(f"{golden}.safetensors"), **tensors}
    save_file({k: v.contiguous() for k, v in stored.items() if v is not None}, folder / "changed.safetensors")
    return folder / "changed"


def test_files_of_other_shapes_are_understood(golden: Path) -> None:
    result = parity(golden)
    assert set(result["outputs"]) == {"out.action_hidden", "out.sample_steps3_guidance1.5", "out.sample_trace"}
    assert result["max_error"] <= 1e-6


@pytest.mark.parametrize("name", ["out.action_hidden", "out.sample_steps3_guidance1.5"])
def test_one_wrong_number_is_seen(golden: Path, tmp_path: Path, name: str) -> None:
    wrong = load_file(f"{golden}.safetensors")[name].clone()
    wrong.view(-1)[7] += 0.01 * wrong.abs().max()
    errors = parity(rewritten(golden, tmp_path, {}, {name: wrong}))["outputs"]
    assert errors[name] > TOLERANCE


def test_a_wrong_last_step_of_a_trace_is_seen_beside_large_first_ones(golden: Path, tmp_path: Path) -> None:
    trace = load_file(f"{golden}.safetensors")["out.sample_trace"].clone()
    trace[1] *= 1.001
    errors = parity(rewritten(golden, tmp_path, {}, {"out.sample_trace": trace}))["outputs"]
    assert errors["out.sample_trace"] == pytest.approx(1e-3, rel=0.05)


def test_another_scheduler_gives_other_samples(golden: Path, tmp_path: Path) -> None:
    scheduler = json.loads(Path(f"{golden}.json").read_text())["scheduler"]
    prefix = rewritten(golden, tmp_path, {"scheduler": {**scheduler, "sigma_max": 600.0}}, {})
    errors = parity(prefix)["outputs"]
    assert errors["out.action_hidden"] < TOLERANCE < errors["out.sample_steps3_guidance1.5"]


@pytest.mark.parametrize(
    ("described", "tensors", "said"),
    [
        ({}, {"out.surprise": torch.zeros(1), "out.train_grad_x": torch.zeros(1)}, r"out\.surprise, out\.train_grad_x"),
        ({}, {"in.initial_noise": None}, r"lacks in\.initial_noise"),
        ({}, {"in.actions": torch.full((1, 6, ACTION_WIDTH), float("nan"))}, r"NaN or infinite numbers in in\.actions"),
        ({}, {"in.actions": torch.zeros(1, 6, 5)}, "cannot be computed"),
        ({}, {"out.action_hidden": torch.zeros(2, 6, 512)}, "golden shape"),
        ({"unet": None}, {}, "an object 'unet'"),
        ({"unet": {"no_such_argument": 1}}, {}, "no model that can be built"),
        ({"scheduler": {"no_such_argument": 1}}, {}, "no model that can be built"),
        ({"unet_keys": {"conv_in.weight": [1]}}, {}, "missing|another shape"),
        ({"unet_keys": 3}, {}, "names of weights"),
    ],
)
def test_a_malformed_file_is_named_in_one_line(
    golden: Path, tmp_path: Path, described: dict[str, Any], tensors: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        parity(rewritten(golden, tmp_path, described, tensors))
    assert "changed" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absent_files_and_files_without_outputs_are_refused(golden: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.json does not exist"):
        parity(tmp_path / "nowhere")
    nothing = {name: None for name in load_file(f"{golden}.safetensors") if name.startswith("out.")}
    with pytest.raises(InvalidInput, match="no outputs"):
        parity(rewritten(golden, tmp_path, {}, nothing))


def test_named_weights_follow_the_published_recipe() -> None:
    # What golden/README.md implies of their statistics.
    assert float(named_weight("unet.conv_in.bias", (32,)).std()) == pytest.approx(0.1, rel=0.5)
    assert float(named_weight("unet.norm.weight", (4096,)).mean()) == pytest.approx(1.0, abs=0.01)
    assert float(named_weight("unet.a.weight", (64, 16, 3, 3)).std()) == pytest.approx(1 / 12, rel=0.05)
    torch.testing.assert_close(named_weight("unet.a", (3, 3)), named_weight("unet.a", (3, 3)), rtol=0, atol=0)


def test_relative_error_is_of_the_worst_element() -> None:
    golden = torch.tensor([1.0, -4.0, 2.0])
    assert relative_error(golden + torch.tensor([0.0, 0.0, 0.2]), golden) == pytest.approx(0.05)
    assert relative_error(torch.zeros(2), torch.zeros(2)) == 0.0
    images = torch.ones(2, 1, 3, 2, 2)
    wrong = images.clone()
    wrong[1, 0] *= 1.1  # one image of two: no average hides it
    assert relative_error(wrong, images) == pytest.approx(0.1)
    with pytest.raises(InvalidInput, match="shape"):
        relative_error(golden, golden[:2])
