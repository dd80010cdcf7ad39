"""Checkpoints on disk and the import of released files: what is written is read back, what is wrong is named."""

from __future__ import annotations

import json
import logging
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from arena.contracts import InvalidInput
from arena.episodes.atomic import file_sha256
from worldmodels.actions import ActionStatistics
from worldmodels.checkpoint import KeyMismatch, load_checkpoint, load_strict, save_checkpoint
from worldmodels.config import TextEncoding, WorldModelConfig
from worldmodels.ctrl_world import CtrlWorld
from worldmodels.model import WorldModel
from worldmodels.released import fetch, import_released
from worldmodels.text import ClipText, load_clip_text
from worldmodels.weights import read_weights


@pytest.fixture(scope="module")
def weights(small_config: WorldModelConfig) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(CtrlWorld(small_config).state_dict())


@pytest.fixture
def saved(tmp_path: Path, small_config: WorldModelConfig, weights: dict[str, Tensor]) -> Path:
    folder = tmp_path / "model"
    save_checkpoint(folder, small_config, weights, {"low": [0.0]}, "# a card\n")
    return folder


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


class Bomb:
    """Unpickling this writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


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


# --- reading foreign weights ---


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_are_read(tmp_path: Path, zipped: bool) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1, dtype=torch.float16)}
    torch.save(tensors, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    read = read_weights(tmp_path / "w.pt")
    assert set(read) == {"a", "b"}
    torch.testing.assert_close(read["a"], tensors["a"])


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_bomb_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "bomb.pt"
    torch.save({"a": torch.zeros(1), "b": Bomb(tmp_path / "boom")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InvalidInput, match=r"bomb\.pt is refused: it is damaged or holds more than tensors") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "boom").exists()


def test_a_plain_pickle_under_a_torch_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bomb.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with pytest.raises(InvalidInput, match=r"bomb\.bin"):
        read_weights(tmp_path / "bomb.bin")
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([torch.zeros(1)], "a dictionary of tensors, not a list"),
        ({"a": {"b": torch.zeros(1)}}, "'a' is a dict"),
        ({0: torch.zeros(1)}, "only tensors by name"),
        ({"a": torch.zeros(1).expand(10**12)}, "more than it stores"),
    ],
)
def test_torch_files_of_another_form_are_refused(tmp_path: Path, value: object, said: str) -> None:
    torch.save(value, tmp_path / "w.pt")
    with pytest.raises(InvalidInput, match=said):
        read_weights(tmp_path / "w.pt")


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(InvalidInput, match="unpacks to 10000000 bytes"):
        read_weights(tmp_path / "w.pt")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"hello")
    for path, said in (
        (tmp_path / "w.pt", "w.pt"),
        (tmp_path / "no.pt", "does not exist"),
        (tmp_path / "w.h5", "no kind"),
    ):
        with pytest.raises(InvalidInput, match=said):
            read_weights(path)


# --- the text encoder ---


def write_clip(folder: Path, width: int = 512, vocabulary: str = "abcdefghijklmnopqrstuvwxyz") -> nn.Module:
    """A tiny CLIP text encoder with random weights and a tokenizer of letters, in transformers' layout."""
    words = [*vocabulary, *(f"{letter}</w>" for letter in vocabulary), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    torch.manual_seed(5)
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=12,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
        pad_token_id=len(words) - 1,
    )
    model = CLIPTextModelWithProjection(config).eval()
    model.save_pretrained(folder)
    return model


def test_clip_embeddings_are_those_of_transformers_itself(tmp_path: Path) -> None:
    model = write_clip(tmp_path / "clip")
    text = ClipText.from_local(tmp_path / "clip")
    embedded = text.embed(["pick up", "", "a sentence that is far longer than twelve tokens"])
    assert embedded.shape == (3, 512)
    assert embedded.dtype == torch.float32
    start, end = model.config.bos_token_id, model.config.eos_token_id
    letters = {letter: index for index, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    # By hand: one token per letter, the last of a word being another one; padded with the end token.
    ids = [start, letters["p"], letters["i"], letters["c"], letters["k"] + 26, letters["u"], letters["p"] + 26, end]
    mask = torch.tensor([[1] * len(ids) + [0] * (12 - len(ids))])
    ids_padded = torch.tensor([ids + [end] * (12 - len(ids))])
    with torch.no_grad():
        wanted = model(input_ids=ids_padded, attention_mask=mask).text_embeds
    torch.testing.assert_close(embedded[:1], wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(text.embed(["pick up"]), embedded[:1], rtol=1e-5, atol=1e-5)


def test_the_text_half_of_a_whole_clip_is_taken(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip")
    tensors = load_file(tmp_path / "clip" / "model.safetensors")
    whole = {**tensors, "vision_model.x": torch.zeros(1), "logit_scale": torch.zeros(())}
    whole["text_model.embeddings.position_ids"] = torch.arange(12)[None]
    (tmp_path / "clip" / "model.safetensors").unlink()
    torch.save(whole, tmp_path / "clip" / "pytorch_model.bin")
    embedded = ClipText.from_local(tmp_path / "clip").embed(["go"])
    renamed = {f"text_encoder.{name}": tensor for name, tensor in tensors.items()}
    torch.testing.assert_close(embedded, ClipText.from_checkpoint(tmp_path, renamed).embed(["go"]), rtol=0, atol=0)


@pytest.mark.parametrize("absent", ["model.safetensors", "config.json", "vocab.json"])
def test_an_incomplete_clip_folder_is_named(tmp_path: Path, absent: str) -> None:
    write_clip(tmp_path / "clip")
    (tmp_path / "clip" / absent).unlink()
    with pytest.raises(InvalidInput, match=absent.replace(".", r"\.")):
        ClipText.from_local(tmp_path / "clip")


def test_a_clip_of_another_width_or_with_missing_weights_is_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "wide", width=768)
    with pytest.raises(InvalidInput, match="projects to 768"):
        ClipText.from_local(tmp_path / "wide")
    write_clip(tmp_path / "clip")
    path = tmp_path / "clip" / "model.safetensors"
    tensors = load_file(path)
    del tensors["text_projection.weight"]
    save_file(tensors, path)
    with pytest.raises(KeyMismatch, match=r"1 missing: text_projection\.weight"):
        ClipText.from_local(tmp_path / "clip")


def test_a_model_without_its_text_encoder_says_so(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = load_checkpoint(saved)
    with caplog.at_level(logging.WARNING):
        assert load_clip_text(saved, checkpoint) is None
    assert "runs without text" in caplog.text
    caplog.clear()
    silent = replace(checkpoint, config=replace(checkpoint.config, text=TextEncoding.NONE))
    assert load_clip_text(saved, silent) is None
    assert not caplog.text


# --- the import of released files ---


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
