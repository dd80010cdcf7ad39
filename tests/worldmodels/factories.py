"""Small models and made-up episodes for tests of training and imagination."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from arena.contracts import ActionChunk, ActionSpace, Episode, Source
from arena.episodes.video import ArrayFrames
from worldmodels.config import TINY, WorldModelConfig

VIEWS = ("exterior_1", "wrist")

MICRO: WorldModelConfig = replace(
    TINY,
    name="micro",
    views=VIEWS,
    view_height=16,
    view_width=24,
    unet={**TINY.unet, "block_out_channels": [32, 32], "cross_attention_dim": 16, "num_attention_heads": [1, 1]},
    autoencoder={**TINY.autoencoder, "block_out_channels": [16, 16]},
    history_offsets=(-3, -1),
    num_frames=3,
    patch=2,
)
"""The same architecture as `tiny` at a size that trains a step in milliseconds."""


def moving_square(seed: int, length: int = 16, commands: bool = True, config: WorldModelConfig = MICRO) -> Episode:
    """An episode in which a bright square is where the end effector is commanded to be."""
    rng = np.random.default_rng(seed)
    command = np.zeros((length, 7))
    command[:, :2] = np.cumsum(rng.normal(0, 0.03, (length, 2)), axis=0)
    command[:, 3] = np.pi - 0.01 * np.arange(length)
    command[:, 6] = rng.random(length)
    state = np.concatenate([command[:1], command[:-1]])
    height, width = config.view_height, config.view_width
    video = np.full((length, height, width, 3), 40, np.uint8)
    for frame, pose in enumerate(state):
        row = int(np.clip(height / 2 + 40 * pose[0], 0, height - 4))
        column = int(np.clip(width / 2 + 40 * pose[1], 0, width - 4))
        video[frame, row : row + 4, column : column + 4] = (230, 60, 60)
    return Episode(
        id=f"square-{seed}",
        cameras={name: ArrayFrames(video) for name in config.views},
        fps=config.fps,
        cartesian_position=state[:, :6],
        gripper_position=state[:, 6:],
        instruction="follow the square",
        source=Source("test", "memory", seed, f"sha-{seed}"),
        action=ActionChunk(command, ActionSpace.CARTESIAN_POSITION, config.fps) if commands else None,
        success=True,
        task="square",
    )


class Bomb:
    """Unpickling this writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


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
