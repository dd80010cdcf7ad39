"""Checkpoints on disk: what is written is read back, what is wrong is named."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from arena.contracts import InvalidInput
from arena.episodes.atomic import file_sha256
from tests.worldmodels.factories import Bomb
from worldmodels.checkpoint import KeyMismatch, load_checkpoint, load_strict, save_checkpoint
from worldmodels.config import WorldModelConfig
from worldmodels.ctrl_world import CtrlWorld


def overwrite(path: Path, data: bytes) -> None:
    """Change a file and keep the manifest true, as one who crafts a checkpoint would."""
    path.write_bytes(data)
    manifest = path.parent / "manifest.json"
    described = json.loads(manifest.read_text())
    described["files"][path.name] = {"size": len(data), "sha256": file_sha256(path)}
    manifest.write_text(json.dumps(described))


def test_what_is_saved_is_read_back(saved: Path, small_config: WorldModelConfig, weights: dict[str, Tensor]) -> None:
    checkpoint = load_checkpoint(saved)
    assert checkpoint.config == small_config
    assert checkpoint.statistics == {"low": [0.0]}
    assert set(checkpoint.tensors) == set(weights)
    for name, tensor in weights.items():
        torch.testing.assert_close(checkpoint.tensors[name], tensor, rtol=0, atol=0)
    assert (saved / "README.md").read_text() == "# a card\n"
    assert sorted(p.name for p in saved.parent.iterdir()) == ["model"]  # nothing temporary is left


def test_half_precision_halves_the_file_and_is_float32_again(
    saved: Path, tmp_path: Path, small_config: WorldModelConfig, weights: dict[str, Tensor]
) -> None:
    half = tmp_path / "half"
    save_checkpoint(half, small_config, weights, {}, "", torch.float16)
    ratio = (half / "model.safetensors").stat().st_size / (saved / "model.safetensors").stat().st_size
    assert ratio < 0.55
    tensors = load_checkpoint(half).tensors
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    torch.testing.assert_close(tensors["unet.conv_in.weight"], weights["unet.conv_in.weight"], rtol=1e-3, atol=1e-6)


def test_the_hash_is_of_weights_config_and_statistics(
    tmp_path: Path, small_config: WorldModelConfig, weights: dict[str, Tensor]
) -> None:
    def hashed(
        name: str, config: WorldModelConfig, tensors: Mapping[str, Tensor], stats: dict[str, Any], card: str
    ) -> str:
        sha256 = save_checkpoint(tmp_path / name, config, tensors, stats, card)
        assert load_checkpoint(tmp_path / name).sha256 == sha256
        return sha256

    base = hashed("a", small_config, weights, {"x": 1}, "one")
    assert hashed("b", small_config, weights, {"x": 1}, "another card") == base
    changed = {**weights, "unet.conv_in.bias": weights["unet.conv_in.bias"] + 1e-3}
    others = [
        hashed("c", small_config, changed, {"x": 1}, "one"),
        hashed("d", replace(small_config, fps=6.0), weights, {"x": 1}, "one"),
        hashed("e", small_config, weights, {"x": 2}, "one"),
    ]
    assert len({base, *others}) == 4


def test_one_error_names_every_difference(
    tmp_path: Path, small_config: WorldModelConfig, weights: dict[str, Tensor]
) -> None:
    wrong = {**weights, "unet.extra": torch.zeros(1), "stray": torch.zeros(1), "unet.conv_out.bias": torch.zeros(3)}
    del wrong["unet.conv_in.bias"], wrong["action_encoder.action_encode.0.weight"]
    with pytest.raises(KeyMismatch) as caught:
        save_checkpoint(tmp_path / "wrong", small_config, wrong, {}, "")
    error = caught.value
    assert error.missing == ("action_encoder.action_encode.0.weight", "unet.conv_in.bias")
    assert error.unexpected == ("stray", "unet.extra")
    assert error.misshapen == {"unet.conv_out.bias": ((3,), (4,))}
    assert all(name in str(error) for name in (*error.missing, *error.unexpected, *error.misshapen))
    assert "\n" not in str(error)
    assert not (tmp_path / "wrong").exists()


def test_a_long_list_of_names_is_cut_with_a_count_but_kept_whole(small_config: WorldModelConfig) -> None:
    with pytest.raises(KeyMismatch) as caught:
        load_strict(CtrlWorld(small_config).unet, {}, "unet.")
    assert f"and {len(caught.value.missing) - 20} more" in str(caught.value)
    assert len(str(caught.value)) < 3000
    assert len(caught.value.missing) > 100


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    tmp_path: Path, small_config: WorldModelConfig, weights: dict[str, Tensor], saved: Path, bad: float
) -> None:
    poisoned = {name: tensor.clone() for name, tensor in weights.items()}
    poisoned["unet.conv_in.bias"][3] = bad
    with pytest.raises(InvalidInput, match=r"NaN or infinite weights: unet\.conv_in\.bias"):
        save_checkpoint(tmp_path / "poisoned", small_config, poisoned, {}, "")
    save_file(poisoned, tmp_path / "poisoned.safetensors")
    overwrite(saved / "model.safetensors", (tmp_path / "poisoned.safetensors").read_bytes())
    with pytest.raises(InvalidInput, match=r"NaN or infinite weights: unet\.conv_in\.bias"):
        load_checkpoint(saved)


def test_overflow_in_half_precision_is_refused(
    tmp_path: Path, small_config: WorldModelConfig, weights: dict[str, Tensor]
) -> None:
    large = {**weights, "unet.conv_in.bias": weights["unet.conv_in.bias"] + 1e6}
    with pytest.raises(InvalidInput, match="infinite"):
        save_checkpoint(tmp_path / "large", small_config, large, {}, "", torch.float16)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.safetensors", b"\x80\x04not safetensors", "not a complete safetensors file"),
        ("config.json", b"{}", "not a world model's config.json"),
        ("config.json", b"[" * 10, "not a world model's config.json"),
        ("statistics.json", b"[1]", "should hold a JSON object"),
        ("statistics.json", b"{", "not JSON"),
    ],
)
def test_a_crafted_file_is_named(saved: Path, name: str, content: bytes, said: str) -> None:
    overwrite(saved / name, content)
    with pytest.raises(InvalidInput, match=said) as caught:
        load_checkpoint(saved)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(saved: Path) -> None:
    path = saved / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match=r"model\.safetensors"):
        load_checkpoint(saved)
    overwrite(path, whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match="not a complete safetensors file"):
        load_checkpoint(saved)


def test_a_config_that_builds_nothing_is_refused(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["unet"]["down_block_types"] = ["NoSuchBlock", "NoSuchBlock"]
    overwrite(saved / "config.json", json.dumps(config).encode())
    with pytest.raises(InvalidInput, match="NoSuchBlock"):
        load_checkpoint(saved)


def test_a_folder_with_a_pickle_instead_is_refused_unopened(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with pytest.raises(InvalidInput, match=r"model\.pt, a pickle"):
        load_checkpoint(tmp_path)
    with pytest.raises(InvalidInput, match="pickle"):
        load_checkpoint(tmp_path / "model.pt")
    assert not (tmp_path / "boom").exists()


def test_views_and_shared_storages_are_saved(
    tmp_path: Path, small_config: WorldModelConfig, weights: dict[str, Tensor]
) -> None:
    both = torch.arange(64.0)
    shared_names = ("unet.conv_in.bias", "unet.conv_norm_out.bias")
    views = {**weights, shared_names[0]: both[:32], shared_names[1]: both[32:]}
    twice = {**weights, **dict.fromkeys(shared_names, torch.ones(32))}
    for name, tensors in (("views", views), ("twice", twice)):
        save_checkpoint(tmp_path / name, small_config, tensors, {}, "")
        read = load_checkpoint(tmp_path / name).tensors
        for weight in shared_names:
            torch.testing.assert_close(read[weight], tensors[weight], rtol=0, atol=0)


def test_absent_and_existing_folders(tmp_path: Path, saved: Path, small_config: WorldModelConfig) -> None:
    with pytest.raises(InvalidInput, match="is not a world model"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="already exists"):
        save_checkpoint(saved, small_config, load_checkpoint(saved).tensors, {}, "")


def test_a_module_on_the_meta_device_is_filled(saved: Path, small_config: WorldModelConfig) -> None:
    checkpoint = load_checkpoint(saved)
    with torch.device("meta"):
        model = CtrlWorld(small_config)
    load_strict(model, checkpoint.tensors, "")
    with torch.no_grad():
        tokens = model.action_encoder(torch.zeros(1, 6, 7))
        ids = model.added_time_ids(1, 0.0, tokens)
        output = model.denoise(torch.zeros(1, 6, 4, 8, 8), torch.zeros(1, 4, 8, 8), tokens, torch.zeros(1), ids)
    assert output.isfinite().all()
