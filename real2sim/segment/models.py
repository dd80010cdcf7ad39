"""OWLv2 finds what a noun names, SAM 2 gives its outline: both through transformers, from local folders only.

Ravi et al. 2024 (arXiv:2408.00714), Minderer et al. 2023 (arXiv:2306.09683). transformers' image processors need
torchvision; what they do to a picture is little, and is done here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, pad

from arena.contracts import Frames, InvalidInput

DETECTOR, OUTLINES = "owlv2", "sam2"
"""Folders of a `--segmenter`, each as `save_pretrained` writes it."""
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY = 0.5
LEAST_SCORE = 0.2


class Segmenter:
    """Masks of named things in pictures. Holds two models on `device`."""

    def __init__(self, detector: Any, tokenizer: Any, outlines: Any, device: str = "cpu") -> None:
        self._detector, self._outlines = detector.eval().to(device), outlines.eval().to(device)
        self._tokenizer, self._device = tokenizer, device

    @classmethod
    def from_local(cls, folder: Path, device: str = "cpu") -> Segmenter:
        """Read `folder/owlv2` and `folder/sam2`, safetensors only. Raises `InvalidInput` for what is missing."""
        from transformers import AutoTokenizer, Owlv2ForObjectDetection, Sam2Model

        weights_in(folder)
        try:
            detector = _whole(Owlv2ForObjectDetection, folder / DETECTOR)
            outlines = _whole(Sam2Model, folder / OUTLINES)
            tokenizer = AutoTokenizer.from_pretrained(folder / DETECTOR, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise InvalidInput(f"{folder} holds no OWLv2 and SAM 2 that transformers reads: {error}") from error
        return cls(detector, tokenizer, outlines, device)

    @torch.no_grad()
    def masks(self, picture: Frames, nouns: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
        """`(H, W)` for each of `nouns` that is seen in a picture `(H, W, 3)`: its most certain place."""
        boxes = self._boxes(picture, nouns)
        if not boxes:
            return {}
        height, width = picture.shape[:2]
        side = int(self._outlines.config.vision_config.backbone_config.image_size[0])
        pixels = _normalised(_resized(_tensor(picture), side, side), IMAGENET_MEAN, IMAGENET_STD).to(self._device)
        scale = torch.tensor([side / width, side / height] * 2)
        prompt = (torch.stack(list(boxes.values())) * scale)[None].to(self._device)
        logits = self._outlines(pixel_values=pixels, input_boxes=prompt, multimask_output=False).pred_masks[0].float()
        inside = interpolate(logits, (height, width), mode="bilinear", align_corners=False)[:, 0] > 0
        return {noun: mask.cpu().numpy() for noun, mask in zip(boxes, inside, strict=True) if mask.any()}

    def _boxes(self, picture: Frames, nouns: Sequence[str]) -> dict[str, Tensor]:
        """The best box `(4,)` of each noun, left, top, right and bottom in pixels, if it is certain enough."""
        if not nouns:
            return {}
        config = self._detector.config
        side, longest = int(config.vision_config.image_size), max(picture.shape[:2])
        square = pad(_tensor(picture), (0, longest - picture.shape[1], 0, longest - picture.shape[0]), value=GREY)
        pixels = _normalised(_resized(square, side, side), CLIP_MEAN, CLIP_STD).to(self._device)
        length = config.text_config.max_position_embeddings
        words = [f"a photo of a {noun}" for noun in nouns]
        tokens = self._tokenizer(words, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        text = {key: tokens[key].to(self._device) for key in ("input_ids", "attention_mask")}
        found = self._detector(pixel_values=pixels, **text)
        scores = found.logits[0].float().sigmoid().cpu()
        middle, size = found.pred_boxes[0].float().cpu().split(2, dim=-1)
        corners = torch.cat([middle - size / 2, middle + size / 2], dim=-1) * longest
        best = scores.max(dim=0)
        return {
            noun: corners[index]
            for noun, score, index in zip(nouns, best.values, best.indices, strict=True)
            if score >= LEAST_SCORE
        }


def weights_in(folder: Path) -> list[Path]:
    """The files that make a segmenter what it is. Raises `InvalidInput` for one that is missing."""
    found = [folder / name / file for name in (DETECTOR, OUTLINES) for file in ("config.json", "model.safetensors")]
    for file in found:
        if not file.is_file():
            raise InvalidInput(f"{file.parent} has no {file.name}: a segmenter is a folder of owlv2/ and sam2/")
    return found


def _whole(kind: Any, folder: Path) -> Any:
    """A model with all of its weights: transformers would draw those that are missing."""
    model, found = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, output_loading_info=True)
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"{folder} lacks {len(missing)} of its weights, such as {missing[0]}")
    return model


def _tensor(picture: Frames) -> Tensor:
    """`(1, 3, H, W)` in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255


def _resized(picture: Tensor, height: int, width: int) -> Tensor:
    return interpolate(picture, (height, width), mode="bilinear", align_corners=False, antialias=True)


def _normalised(picture: Tensor, mean: Sequence[float], deviation: Sequence[float]) -> Tensor:
    return (picture - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]
