"""Frozen presets of world models, varied with `dataclasses.replace`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from arena.contracts import InvalidInput


class ActionRepresentation(StrEnum):
    """How a pose of the end effector becomes the numbers of an action token."""

    EULER = "euler"
    """Seven numbers: position, extrinsic-xyz Euler angles (unwrapped over time), gripper. The released form."""
    ROTATION_6D = "rotation_6d"
    """Ten numbers: position, the first two columns of the rotation matrix (Zhou et al. 2019), gripper. Never wraps."""

    @property
    def width(self) -> int:
        return 7 if self is ActionRepresentation.EULER else 10


class TextEncoding(StrEnum):
    """How the instruction reaches the action tokens."""

    CLIP = "clip"
    """The 512-number text embedding of a CLIP text encoder, tiled to the token's width."""
    HASHED = "hashed"
    """A small learned embedding of hashed words, for presets trained from nothing."""
    NONE = "none"


SVD_SCHEDULER: Mapping[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "interpolation_type": "linear",
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "steps_offset": 1,
}
"""Stable Video Diffusion's Euler scheduler, as its repository's `scheduler_config.json` states it."""

SVD_UNET: Mapping[str, Any] = {
    "sample_size": None,
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * 3 + ["DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal"] + ["CrossAttnUpBlockSpatioTemporal"] * 3,
    "block_out_channels": [320, 640, 1280, 1280],
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "transformer_layers_per_block": 1,
    "num_attention_heads": [5, 10, 20, 20],
    "num_frames": 25,
}

SVD_AUTOENCODER: Mapping[str, Any] = {
    "class": "AutoencoderKLTemporalDecoder",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "force_upcast": True,
    "scaling_factor": 0.18215,
}


@dataclass(frozen=True)
class NoiseConfig:
    """How noise is drawn in training (EDM, Karras et al. 2022) and what the sampler is told of it.

    `log_sigma_mean` and `log_sigma_std`: of the predicted frames' noise. `history_std`: scale of the
    noise on the history, `condition_max`: greatest noise on the concatenated current latent, both so
    that the model forgives its own earlier frames. `drop_condition`: how often the action is hidden.
    `augmentation_train` and `augmentation_sample` are the noise levels that the UNet is told; the
    released code has 0 in training and 0.02 in sampling, ours has one number for both.
    """

    log_sigma_mean: float = 0.7
    log_sigma_std: float = 1.6
    history_std: float = 0.3
    condition_max: float = 0.2
    drop_condition: float = 0.05
    augmentation_train: float = 0.0
    augmentation_sample: float = 0.0


@dataclass(frozen=True)
class WorldModelConfig:
    """Everything that shapes a world model's weights and its imagination.

    `history_offsets` are the frames before now (negative, oldest first) that the model is shown, the
    same in training and rollout; an offset before the start repeats the first frame. `num_frames`
    counts the predicted frames, the first of which is now. `patch` folds `patch x patch` pixels into
    channels before the autoencoder, which makes a small one fast.
    """

    name: str
    unet: Mapping[str, Any]
    autoencoder: Mapping[str, Any]
    views: tuple[str, ...] = ("exterior_1", "exterior_2", "wrist")
    view_height: int = 192
    view_width: int = 320
    fps: float = 5.0
    history_offsets: tuple[int, ...] = (-15, -12, -9, -6, -3, -1)
    num_frames: int = 5
    patch: int = 1
    pose_map_channels: int = 0
    """Channels of a small map that each action token unfolds into, pixel-aligned with the latents; 0 as released."""
    pose_history: float = 0.0
    """Share of training windows whose history is chosen by pose (`windows.history_by_pose`); 0 as released.
    Above 0, rollouts choose it so."""
    contact_weight: float = 0.0
    """How much more the loss counts where the robot's poses lead one to expect change (`contact.py`); 0 as released."""
    action_representation: ActionRepresentation = ActionRepresentation.EULER
    text: TextEncoding = TextEncoding.CLIP
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    scheduler: Mapping[str, Any] = field(default_factory=lambda: dict(SVD_SCHEDULER))
    fps_condition: int = 7
    motion_bucket: int = 127

    @property
    def num_history(self) -> int:
        return len(self.history_offsets)

    @property
    def window(self) -> int:
        """Frames that the UNet sees at once: history and predicted."""
        return self.num_history + self.num_frames

    @property
    def frames_per_call(self) -> int:
        """New frames that one call imagines."""
        return self.num_frames - 1

    @property
    def downsampling(self) -> int:
        """Pixels along one side of a latent position."""
        levels = len(self.autoencoder["block_out_channels"])
        return int(self.patch * 2 ** (levels - 1))

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """`(C, V * h, w)`: the views stacked on height."""
        factor = self.downsampling
        height = len(self.views) * (self.view_height // factor)
        return int(self.autoencoder["latent_channels"]), height, self.view_width // factor

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, path: Path) -> WorldModelConfig:
        """Read a checkpoint's `config.json`. Raises `InvalidInput` naming the file and what is wrong."""
        try:
            values = json.loads(path.read_text())
            values["noise"] = NoiseConfig(**values["noise"])
            values["action_representation"] = ActionRepresentation(values["action_representation"])
            values["text"] = TextEncoding(values["text"])
            for key in ("views", "history_offsets"):
                values[key] = tuple(values[key])
            return cls(**values)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"{path} is not a world model's config.json: {error}") from error


CTRL_WORLD = WorldModelConfig(name="ctrl-world", unet=SVD_UNET, autoencoder=SVD_AUTOENCODER)
"""Full size: the shapes of the released checkpoint (arXiv 2510.10125)."""

TINY = WorldModelConfig(
    name="tiny",
    unet={
        **SVD_UNET,
        "in_channels": 19,
        "out_channels": 8,
        # Attention at the coarse level only: at the fine one it costs more than it gives at this size.
        "down_block_types": ["DownBlockSpatioTemporal", "CrossAttnDownBlockSpatioTemporal"],
        "up_block_types": ["CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal"],
        "block_out_channels": [64, 64],
        "addition_time_embed_dim": 32,
        "projection_class_embeddings_input_dim": 96,
        "layers_per_block": 1,
        "cross_attention_dim": 128,
        "num_attention_heads": [2, 2],
        "num_frames": 9,
    },
    autoencoder={
        "class": "AutoencoderKL",
        "block_out_channels": [64, 80],
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "layers_per_block": 1,
        "latent_channels": 8,
        "norm_num_groups": 16,
        "mid_block_add_attention": False,
        "scaling_factor": 1.0,
    },
    view_height=64,
    view_width=96,
    fps=20.0,
    history_offsets=(-8, -3, -1),
    num_frames=6,
    patch=4,
    pose_map_channels=3,
    action_representation=ActionRepresentation.ROTATION_6D,
    text=TextEncoding.HASHED,
    noise=NoiseConfig(log_sigma_mean=1.0, log_sigma_std=1.4, condition_max=0.1),
    # Small latents hold little redundancy: less noise suffices to hide them than at full size.
    scheduler={**SVD_SCHEDULER, "sigma_max": 80.0},
)
"""At most 4 M parameters: learns three Meta-World tasks on two CPU cores."""

SMALL = replace(
    TINY,
    name="small",
    # The second exterior view costs half as much again and shows little that the first does not.
    views=("exterior_1", "wrist"),
    unet={
        **TINY.unet,
        "in_channels": 27,
        "out_channels": 12,
        "block_out_channels": [64, 96],
        "num_attention_heads": [2, 3],
        "num_frames": 8,
    },
    autoencoder={**TINY.autoencoder, "latent_channels": 12, "block_out_channels": [64, 96]},
    fps=10.0,
    history_offsets=(-6, -3, -1),
    num_frames=5,
    pose_history=0.5,
    contact_weight=1.0,
    noise=NoiseConfig(log_sigma_mean=1.2, log_sigma_std=1.4, condition_max=0.1),
    # The few-step sampler begins where training still looks: at 20, a four-hundredth of the energy is signal.
    scheduler={**SVD_SCHEDULER, "sigma_max": 20.0},
)
"""At most 7 M parameters: eleven Meta-World tasks on two CPU cores."""

PRESETS: Mapping[str, WorldModelConfig] = {config.name: config for config in (CTRL_WORLD, TINY, SMALL)}


def preset(name: str) -> WorldModelConfig:
    """A preset by name. Raises `InvalidInput` with a suggestion where the name is unknown."""
    if name in PRESETS:
        return PRESETS[name]
    close = difflib.get_close_matches(name, PRESETS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise InvalidInput(f"no world model preset {name!r}: there are {', '.join(sorted(PRESETS))}{hint}")
