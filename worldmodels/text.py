"""Instructions to CLIP text embeddings, with weights from the local disk only."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from arena.contracts import InvalidInput
from worldmodels.checkpoint import (
    TEXT_FOLDER,
    TEXT_PREFIX,
    Checkpoint,
    Shape,
    check_finite,
    check_keys,
    load_strict,
    shapes_of,
)
from worldmodels.config import TextEncoding
from worldmodels.ctrl_world import CLIP_WIDTH
from worldmodels.weights import read_weights

CONFIG_FILE = "config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")
# A whole CLIP also has an image half; old files store position indices, which transformers now computes.
NOT_TEXT = ("vision_model.", "visual_projection.", "logit_scale", "text_model.embeddings.position_ids")

logger = logging.getLogger(__name__)


class ClipText:
    """A frozen CLIP text encoder with its tokenizer, used as the Ctrl-World authors do."""

    def __init__(self, encoder: CLIPTextModelWithProjection, tokenizer: CLIPTokenizer) -> None:
        self.encoder = encoder.eval().requires_grad_(False)
        self.tokenizer = tokenizer

    @classmethod
    def from_local(cls, folder: Path) -> ClipText:
        """Read a CLIP folder in transformers' layout. Raises `InvalidInput` naming what is missing or wrong."""
        weights = next((folder / n for n in ("model.safetensors", "pytorch_model.bin") if (folder / n).is_file()), None)
        if weights is None:
            raise InvalidInput(f"{folder} has no CLIP weights: it should hold model.safetensors or pytorch_model.bin")
        text_half = {k: v for k, v in read_weights(weights).items() if not k.startswith(NOT_TEXT)}
        return cls._build(folder, text_half, "", str(weights))

    @classmethod
    def from_checkpoint(cls, folder: Path, tensors: Mapping[str, Tensor]) -> ClipText:
        """The text encoder of an imported checkpoint: its `clip` folder and its `text_encoder.` weights."""
        return cls._build(folder / TEXT_FOLDER, tensors, TEXT_PREFIX, str(folder))

    @classmethod
    def _build(cls, folder: Path, tensors: Mapping[str, Tensor], prefix: str, where: str) -> ClipText:
        config = read_config(folder)
        # Names and shapes first, so that no config makes us allocate more than the weights hold.
        check_keys(shapes_of(tensors, prefix), text_shapes(config, prefix), where)
        check_finite({k: v for k, v in tensors.items() if k.startswith(prefix)}, where)
        encoder = CLIPTextModelWithProjection(config)
        load_strict(encoder, tensors, prefix, where)
        return cls(encoder, read_tokenizer(folder, config))

    @torch.no_grad()
    def embed(self, instructions: Sequence[str]) -> Tensor:
        """Instructions to `(B, 512)` float32 embeddings: the projected end-of-text token, not normalised.

        Padded to CLIP's full length and truncated there, as the released model was trained with.
        """
        length = self.encoder.config.max_position_embeddings
        tokens = self.tokenizer(
            list(instructions), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        device = self.encoder.text_projection.weight.device
        embeddings: Tensor = self.encoder(
            input_ids=tokens["input_ids"].to(device), attention_mask=tokens["attention_mask"].to(device)
        ).text_embeds
        return embeddings.float()


def load_clip_text(folder: Path, checkpoint: Checkpoint) -> ClipText | None:
    """The text encoder of a checkpoint, or None, said in a warning, where it should have one and has not."""
    if checkpoint.config.text is not TextEncoding.CLIP:
        return None
    if checkpoint.text_encoder:
        return ClipText.from_checkpoint(folder, checkpoint.tensors)
    logger.warning("%s has no CLIP text encoder: it runs without text; import it with --clip to have one", folder)
    return None


def read_config(folder: Path) -> CLIPTextConfig:
    """A text encoder's config, also from a whole CLIP's. Raises `InvalidInput` where it gives no 512 numbers."""
    if not (folder / CONFIG_FILE).is_file():
        raise InvalidInput(f"{folder} has no {CONFIG_FILE}: it should be a CLIP folder in transformers' layout")
    try:
        config = CLIPTextConfig.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"{folder / CONFIG_FILE} is not a CLIP text encoder's config: {reason}") from error
    if config.projection_dim != CLIP_WIDTH:
        raise InvalidInput(f"{folder} projects to {config.projection_dim} numbers; Ctrl-World wants {CLIP_WIDTH}")
    return config


def text_shapes(config: CLIPTextConfig, prefix: str = TEXT_PREFIX) -> dict[str, Shape]:
    """Names and shapes of a text encoder's weights, without allocating them."""
    try:
        with torch.device("meta"):
            encoder = CLIPTextModelWithProjection(config)
    except (TypeError, ValueError, KeyError, ZeroDivisionError, RuntimeError) as error:
        raise InvalidInput(f"the CLIP config describes no encoder that can be built: {error}") from error
    return {prefix + name: tuple(value.shape) for name, value in encoder.state_dict().items()}


def read_tokenizer(folder: Path, config: CLIPTextConfig) -> CLIPTokenizer:
    """The tokenizer of a CLIP folder. Raises `InvalidInput` where its words are not those of the encoder."""
    has = {name for name in TOKENIZER_FILES if (folder / name).is_file()}
    if "tokenizer.json" not in has and not {"vocab.json", "merges.txt"} <= has:
        raise InvalidInput(f"{folder} has no tokenizer: it should hold tokenizer.json, or vocab.json and merges.txt")
    try:
        tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # the Rust tokenizer raises bare Exception for files that it cannot read
        raise InvalidInput(f"{folder} holds a tokenizer that cannot be read: {str(error).splitlines()[0]}") from error
    if len(tokenizer) > config.vocab_size:
        raise InvalidInput(f"{folder}: the tokenizer has {len(tokenizer)} words, its encoder {config.vocab_size}")
    return tokenizer
