"""The CLIP text encoder: embeddings are those of transformers itself, and checkpoints carry it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from arena.contracts import InvalidInput
from arena.learned.optimise import Schedule
from tests.worldmodels.factories import MICRO, moving_square, write_clip
from worldmodels.autoencoder import ViewAutoencoder
from worldmodels.checkpoint import KeyMismatch, load_checkpoint, save_checkpoint
from worldmodels.config import TextEncoding
from worldmodels.ctrl_world import CtrlWorld
from worldmodels.text import ClipText, load_clip_text
from worldmodels.train import TrainConfig, train

TOKENIZER = ("vocab.json", "merges.txt")


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


def test_fine_tuning_carries_the_text_encoder_along(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip")
    unet = {**MICRO.unet, "cross_attention_dim": 512}
    config = replace(MICRO, unet=unet, text=TextEncoding.CLIP)
    tensors = {**CtrlWorld(config).state_dict()}
    tensors |= {f"vae.{name}": value for name, value in ViewAutoencoder(config).vae.state_dict().items()}
    tensors |= {f"text_encoder.{name}": value for name, value in clip.state_dict().items()}
    files = {
        f"clip/{path.name}": path.read_bytes()
        for path in (tmp_path / "clip").iterdir()
        if path.suffix != ".safetensors"
    }
    save_checkpoint(tmp_path / "base", config, tensors, {}, "", extra_files=files)
    start = load_checkpoint(tmp_path / "base")
    text = load_clip_text(tmp_path / "base", start)
    assert text is not None
    short = Schedule(1, 2, 1e-4)
    run = TrainConfig(autoencoder=replace(short, steps=0), denoiser=short, tracker=short)
    train(config, [moving_square(0)], tmp_path / "tuned", run, start, text.embed)
    carried = load_clip_text(tmp_path / "tuned", load_checkpoint(tmp_path / "tuned"))
    assert carried is not None
    # Weights are kept in half precision.
    torch.testing.assert_close(carried.embed(["press"]), text.embed(["press"]), rtol=1e-2, atol=1e-2)
