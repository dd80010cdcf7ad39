"""OWLv2 and SAM 2 of small random weights, through the real loading code: shapes, geometry, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arena.contracts import InvalidInput
from real2sim.segment.models import Segmenter, _resized, _tensor

NOUNS = ("red block", "bowl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Owlv2Config, Owlv2ForObjectDetection, Sam2Config, Sam2Model

    root = tmp_path_factory.mktemp("segmenter")
    torch.manual_seed(0)
    half: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {**half, "vocab_size": 600, "max_position_embeddings": 16, "eos_token_id": 599, "bos_token_id": 598}
    owl = Owlv2Config(text_config=text, vision_config={**half, "image_size": 64, "patch_size": 16}, projection_dim=32)
    Owlv2ForObjectDetection(owl).save_pretrained(root / "owlv2")
    _tokenizer(root / "owlv2")
    backbone = {
        "model_type": "sam2_hiera_det_model", "hidden_size": 12, "num_attention_heads": 1, "image_size": [64, 64],
        "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [12, 24, 48, 96],
        "num_attention_heads_per_stage": [1, 1, 2, 4], "window_size_per_stage": [8, 4, 14, 7],
        "global_attention_blocks": [3], "window_positional_embedding_background_size": [4, 4],
    }  # fmt: skip
    sam = Sam2Config(
        vision_config={
            "backbone_config": backbone, "backbone_channel_list": [96, 48, 24, 12], "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "patch_size": 16},
        mask_decoder_config={
            "hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16,
            "num_hidden_layers": 2,
        },
    )  # fmt: skip
    Sam2Model(sam).save_pretrained(root / "sam2")
    return root


def _tokenizer(folder: Path) -> None:
    """CLIP's tokenizer with no merges: letter by letter."""
    letters = "abcdefghijklmnopqrstuvwxyz "
    words = [*letters, *(letter + "</w>" for letter in letters)]
    vocabulary = {word: index for index, word in enumerate(words)} | {"<|startoftext|>": 598, "<|endoftext|>": 599}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))


def test_masks_are_of_the_pictures_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("real2sim.segment.models.LEAST_SCORE", 0.0)
    picture = np.random.default_rng(0).integers(0, 255, (48, 96, 3), dtype=np.uint8)
    segmenter = Segmenter.from_local(folder)
    masks = segmenter.masks(picture, NOUNS)
    assert set(masks) <= set(NOUNS)
    assert all(mask.shape == (48, 96) and mask.dtype == np.bool_ for mask in masks.values())
    again = segmenter.masks(picture, NOUNS)
    assert all((masks[noun] == again[noun]).all() for noun in masks)


def test_boxes_are_in_the_pictures_pixels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OWLv2 sees a square of the longer side: a box in its middle is in the middle of that."""
    monkeypatch.setattr("real2sim.segment.models.LEAST_SCORE", 0.0)
    segmenter = Segmenter.from_local(folder)
    shape = (1, 16, len(NOUNS))
    scores = torch.full(shape, -9.0)
    scores[0, 3, 0], scores[0, 7, 1] = 5.0, 5.0
    boxes = torch.rand(1, 16, 4)
    boxes[0, 3], boxes[0, 7] = torch.tensor([0.5, 0.25, 0.5, 0.5]), torch.tensor([0.25, 0.125, 0.1, 0.1])

    class Found:
        logits, pred_boxes = scores, boxes

    class Detector(torch.nn.Module):
        config = segmenter._detector.config

        def forward(self, **inputs: Any) -> Found:
            assert inputs["pixel_values"].shape == (1, 3, 64, 64)
            return Found()

    found = Segmenter(Detector(), segmenter._tokenizer, segmenter._outlines)._boxes(
        np.zeros((48, 96, 3), np.uint8), NOUNS
    )
    assert found["red block"].tolist() == pytest.approx([24, 0, 72, 48])
    assert found["bowl"].tolist() == pytest.approx([19.2, 7.2, 28.8, 16.8])


def test_what_is_not_certain_has_no_mask(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("real2sim.segment.models.LEAST_SCORE", 1.1)
    assert Segmenter.from_local(folder).masks(np.zeros((48, 96, 3), np.uint8), NOUNS) == {}


def test_pictures_are_resized_without_a_shift() -> None:
    ramp = np.repeat(np.arange(96, dtype=np.uint8)[None, :, None], 48, 0).repeat(3, 2)
    half = _resized(_tensor(ramp), 24, 48)[0, 0, 12] * 255
    assert half[10:-10].numpy() == pytest.approx(np.arange(48)[10:-10] * 2 + 0.5, abs=0.05)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"owlv2 has no config\.json"):
        Segmenter.from_local(tmp_path)


def test_weights_of_something_else_are_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "wrong")
    (tmp_path / "wrong" / "sam2" / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(InvalidInput, match="holds no OWLv2 and SAM 2"):
        Segmenter.from_local(tmp_path / "wrong")
