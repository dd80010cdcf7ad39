"""A Ctrl-World small enough for a test, of the released form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor

from worldmodels.checkpoint import save_checkpoint
from worldmodels.config import CTRL_WORLD, SVD_AUTOENCODER, WorldModelConfig
from worldmodels.ctrl_world import CtrlWorld


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_config() -> WorldModelConfig:
    """Two levels, one head each; three frames of history and three predicted; tokens of 512 numbers as CLIP's."""
    levels = 2
    unet = {
        **CTRL_WORLD.unet,
        "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * levels,
        "up_block_types": ["CrossAttnUpBlockSpatioTemporal"] * levels,
        "block_out_channels": [32] * levels,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 24,
        "layers_per_block": 1,
        "cross_attention_dim": 512,
        "num_attention_heads": [1] * levels,
        "num_frames": 6,
    }
    autoencoder = {
        **SVD_AUTOENCODER,
        "block_out_channels": [32, 32],
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "layers_per_block": 1,
    }
    return replace(
        CTRL_WORLD,
        name="small",
        unet=unet,
        autoencoder=autoencoder,
        view_height=16,
        view_width=16,
        history_offsets=(-5, -3, -1),
        num_frames=3,
    )


@pytest.fixture(scope="session")
def small_vae(small_config: WorldModelConfig) -> AutoencoderKLTemporalDecoder:
    torch.manual_seed(1)
    arguments = {key: value for key, value in small_config.autoencoder.items() if key != "class"}
    return AutoencoderKLTemporalDecoder(**arguments)


@pytest.fixture(scope="session")
def weights(small_config: WorldModelConfig) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(CtrlWorld(small_config).state_dict())


@pytest.fixture
def saved(tmp_path: Path, small_config: WorldModelConfig, weights: dict[str, Tensor]) -> Path:
    folder = tmp_path / "model"
    save_checkpoint(folder, small_config, weights, {"low": [0.0]}, "# a card\n")
    return folder
