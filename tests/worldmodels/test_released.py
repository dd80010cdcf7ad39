"""The import of released files: every weight is accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from safetensors.torch import save_file
from torch import Tensor

from arena.contracts import InvalidInput
from tests.worldmodels.factories import Bomb, write_clip
from worldmodels.actions import ActionStatistics
from worldmodels.checkpoint import KeyMismatch, load_checkpoint
from worldmodels.config import TextEncoding, WorldModelConfig
from worldmodels.model import WorldModel
from worldmodels.released import fetch, import_released
from worldmodels.text import ClipText, load_clip_text


@pytest.fixture
def released(
    tmp_path: Path, weights: dict[str, Tensor], small_config: WorldModelConfig, small_vae: AutoencoderKLTemporalDecoder
) -> dict[str, Any]:
    """Small files of the released form: checkpoint, SVD folder, CLIP folder, statistics."""
    clip = write_clip(tmp_path / "clip")
    (tmp_path / "svd").mkdir()
    small_vae.save_pretrained(tmp_path / "svd" / "vae")
    (tmp_path / "stat.json").write_text(json.dumps({"state_01": [-1.0] * 7, "state_99": [1.0] * 6 + [0.9]}))
    tensors = dict(weights)
    tensors |= {f"vae.{name}": tensor for name, tensor in small_vae.state_dict().items()}
    tensors |= {f"text_encoder.{name}": tensor for name, tensor in clip.state_dict().items()}
    tensors |= {"image_encoder.vision_model.weight": torch.ones(4), "image_encoder.visual_projection": torch.ones(2)}
    torch.save(tensors, tmp_path / "checkpoint.pt")
    return {
        "tensors": tensors,
        "arguments": {
            "checkpoint": tmp_path / "checkpoint.pt",
            "svd": tmp_path / "svd",
            "clip": tmp_path / "clip",
            "out": tmp_path / "imported",
            "statistics": tmp_path / "stat.json",
            "config": small_config,
        },
    }


def test_released_files_become_a_checkpoint(released: dict[str, Any], weights: dict[str, Tensor]) -> None:
    stages: list[tuple[int, int, str]] = []
    report = import_released(**released["arguments"], progress=lambda *stage: stages.append(stage))
    assert report.skipped == {"image_encoder": 2}
    assert report.text
    assert [done for done, *_ in stages] == [0, 1, 2, 3, 4]
    checkpoint = load_checkpoint(report.folder)
    assert checkpoint.sha256 == report.sha256
    assert len(checkpoint.tensors) == sum(report.kept.values()) == len(released["tensors"]) - 2
    torch.testing.assert_close(checkpoint.tensors["unet.conv_in.weight"], weights["unet.conv_in.weight"])
    card = (report.folder / "README.md").read_text()
    assert "skipped: image_encoder 2" in card
    assert "text: a CLIP text encoder" in card
    statistics = ActionStatistics.from_dict(checkpoint.statistics)
    assert statistics.high == (1.0,) * 6 + (0.9,)
    # Ready to use: the model, its autoencoder and its text encoder.
    model = WorldModel.from_checkpoint(checkpoint)
    images = torch.zeros(1, 3, 16, 16)
    with torch.no_grad():
        assert model.autoencoder.images(model.autoencoder.moments(images)).shape == images.shape
    text = load_clip_text(report.folder, checkpoint)
    assert text is not None
    wanted = ClipText.from_local(released["arguments"]["clip"]).embed(["press"])
    torch.testing.assert_close(text.embed(["press"]), wanted, rtol=0, atol=0)


def test_safetensors_import_alike_and_without_clip_runs_without_text(released: dict[str, Any], tmp_path: Path) -> None:
    save_file({k: v.contiguous() for k, v in released["tensors"].items()}, tmp_path / "checkpoint.safetensors")
    arguments = {**released["arguments"], "checkpoint": tmp_path / "checkpoint.safetensors", "clip": None}
    report = import_released(**{**arguments, "statistics": None})
    assert not report.text
    assert report.skipped["text_encoder"] > 10
    assert "text: none: it runs without text" in (report.folder / "README.md").read_text()
    checkpoint = load_checkpoint(report.folder)
    assert checkpoint.config.text is TextEncoding.NONE
    assert not any(name.startswith("text_encoder.") for name in checkpoint.tensors)


def test_every_missing_and_unexpected_key_of_a_release_is_named(released: dict[str, Any]) -> None:
    tensors = dict(released["tensors"])
    gone = ("unet.conv_in.bias", "vae.encoder.conv_in.bias", "text_encoder.text_projection.weight")
    for name in gone:
        del tensors[name]
    strange = ("module.unet.conv_in.bias", "unet.surprise", "vae.surprise")
    tensors |= {name: torch.zeros(1) for name in strange}
    torch.save(tensors, released["arguments"]["checkpoint"])
    with pytest.raises(KeyMismatch) as caught:
        import_released(**released["arguments"])
    assert set(caught.value.missing) == set(gone)
    assert set(caught.value.unexpected) == set(strange)
    assert all(name in str(caught.value) for name in (*gone, *strange))
    assert not released["arguments"]["out"].exists()


def test_a_released_pickle_bomb_is_not_run(released: dict[str, Any], tmp_path: Path) -> None:
    torch.save({**released["tensors"], "unet.x": Bomb(tmp_path / "boom")}, released["arguments"]["checkpoint"])
    with pytest.raises(InvalidInput, match="refused"):
        import_released(**released["arguments"])
    assert not (tmp_path / "boom").exists()
    assert not released["arguments"]["out"].exists()


@pytest.mark.parametrize(
    ("stat", "said"),
    [({"state_01": [0.0] * 7}, "state_99"), ({"state_01": [0.0] * 7, "state_99": [0.0] * 7}, "low below high")],
)
def test_statistics_that_are_not_the_released_ones_are_refused(
    released: dict[str, Any], stat: dict[str, Any], said: str
) -> None:
    released["arguments"]["statistics"].write_text(json.dumps(stat))
    with pytest.raises(InvalidInput, match=said):
        import_released(**released["arguments"])


def test_a_folder_that_lacks_a_file_and_a_name_that_is_none(
    released: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (released["arguments"]["svd"] / "vae" / "config.json").unlink()
    with pytest.raises(InvalidInput, match=r"svd has no vae/config\.json"):
        import_released(**released["arguments"])
    with pytest.raises(InvalidInput, match="neither a folder nor a name"):
        fetch(tmp_path / "nowhere", "config.json")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InvalidInput, match=r"owner/model is no local folder, and the hub does not give") as caught:
        fetch("owner/model", "vae/config.json")
    assert "\n" not in str(caught.value)
