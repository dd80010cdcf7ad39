"""Ctrl-World (arXiv 2510.10125): Stable Video Diffusion's UNet, steered by one action token per frame.

Shapes: `B` clips, `F` frames (history then predicted), `C` latent channels, `h x w` latent positions
with the camera views stacked on height.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNetSpatioTemporalConditionModel
from torch import Tensor, nn

from worldmodels.config import TextEncoding, WorldModelConfig

CLIP_WIDTH = 512
HASH_BUCKETS = 512


class ActionEncoder(nn.Module):
    """Action tokens: an MLP on the normalised pose, plus the instruction's embedding.

    A CLIP text embedding is tiled to the token's width (512 twice, at full size); the hashed one is
    learned at that width.
    """

    def __init__(self, action_width: int, token_width: int, text: TextEncoding) -> None:
        super().__init__()
        self.text = text
        self.token_width = token_width
        # The names are those of the released checkpoint.
        self.action_encode = nn.Sequential(
            nn.Linear(action_width, token_width),
            nn.SiLU(),
            nn.Linear(token_width, token_width),
            nn.SiLU(),
            nn.Linear(token_width, token_width),
        )
        if text is TextEncoding.HASHED:
            self.words = nn.EmbeddingBag(HASH_BUCKETS, token_width, mode="mean")

    def forward(self, actions: Tensor, text_embedding: Tensor | None = None) -> Tensor:
        """`(B, F, A)` normalised actions and `(B, E)` text embeddings to `(B, F, token_width)`."""
        tokens: Tensor = self.action_encode(actions)
        if text_embedding is None:
            return tokens
        repeats = self.token_width // text_embedding.shape[-1]
        return tokens + text_embedding.repeat(1, repeats)[:, None]

    def embed_words(self, instructions: Sequence[str]) -> Tensor:
        """Instructions to `(B, token_width)`: the mean of their words' hashed embeddings."""
        bags = [hash_words(text) for text in instructions]
        starts = [0]
        for bag in bags[:-1]:
            starts.append(starts[-1] + len(bag))
        device = self.words.weight.device
        flat = torch.tensor([word for bag in bags for word in bag], device=device)
        embedded: Tensor = self.words(flat, torch.tensor(starts, device=device))
        return embedded


class PoseMap(nn.Module):
    """Each frame's action token, with that of now, unfolded into a map that is pixel-aligned with the latents.

    A token alone reaches the UNet as a bias that is equal everywhere, so where the arm will be has to be made up
    from nothing; a map says it. The views' geometry is learned, so this suits cameras that stay where they are.
    """

    HIDDEN = 64

    def __init__(self, token_width: int, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.shape = (channels, height, width)
        self.unfold = nn.Sequential(
            nn.Linear(2 * token_width, self.HIDDEN), nn.SiLU(), nn.Linear(self.HIDDEN, channels * height * width)
        )

    def forward(self, tokens: Tensor, now: int) -> Tensor:
        """`(B, F, token_width)` and the index of the current frame to `(B, F, P, h, w)`."""
        paired = torch.cat([tokens, tokens[:, now : now + 1].expand_as(tokens)], dim=-1)
        unfolded: Tensor = self.unfold(paired).unflatten(-1, self.shape)
        return unfolded


def hash_words(instruction: str) -> list[int]:
    """Buckets of an instruction's words; bucket 0 stands for no words at all."""
    words = "".join(c if c.isalnum() else " " for c in instruction.lower()).split()
    return [1 + zlib.crc32(word.encode()) % (HASH_BUCKETS - 1) for word in words] or [0]


def build_unet(config: WorldModelConfig) -> UNetSpatioTemporalConditionModel:
    """diffusers' own SVD UNet, taught to accept one context token per frame.

    The UNet repeats the context once per frame, so that row `b * F + f` holds all tokens of clip `b`.
    Given `F` tokens, each block is handed token `f` of that row alone; given one token for the whole
    clip it works as released.
    """
    unet = UNetSpatioTemporalConditionModel(**{k: v for k, v in config.unet.items() if v is not None})
    for block in [*unet.down_blocks, unet.mid_block, *unet.up_blocks]:
        block.register_forward_pre_hook(_keep_own_token, with_kwargs=True)
    return unet


def _keep_own_token(
    _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    context = kwargs.get("encoder_hidden_states")
    if context is None or context.shape[1] == 1:
        return args, kwargs
    frames = context.shape[1]
    per_frame = context.unflatten(0, (-1, frames)).diagonal(dim1=1, dim2=2)  # (B, width, F)
    own = per_frame.transpose(1, 2).flatten(0, 1)[:, None]
    return args, {**kwargs, "encoder_hidden_states": own}


class CtrlWorld(nn.Module):
    """The denoiser: UNet and action encoder under the released checkpoint's prefixes."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = build_unet(config)
        self.action_encoder = ActionEncoder(
            config.action_representation.width, int(config.unet["cross_attention_dim"]), config.text
        )
        self.pose_map: PoseMap | None = None
        if config.pose_map_channels:
            _, height, width = config.latent_shape
            self.pose_map = PoseMap(int(config.unet["cross_attention_dim"]), config.pose_map_channels, height, width)

    def tokens(
        self,
        actions: Tensor,
        instructions: Sequence[str],
        embed_text: Callable[[Sequence[str]], Tensor] | None = None,
    ) -> Tensor:
        """`(B, F, A)` normalised actions and B instructions to `(B, F, width)` action tokens.

        `embed_text` gives the CLIP embeddings, `(B, 512)`; without it a CLIP-conditioned model runs without text.
        """
        if self.config.text is TextEncoding.HASHED:
            text: Tensor | None = self.action_encoder.embed_words(instructions)
        else:
            text = embed_text(instructions).to(actions) if embed_text is not None else None
        encoded: Tensor = self.action_encoder(actions, text)
        return encoded

    def added_time_ids(self, batch: int, augmentation: float, like: Tensor) -> Tensor:
        """`(B, 3)`: frame rate, motion bucket and noise augmentation, as SVD was conditioned."""
        ids = [self.config.fps_condition, self.config.motion_bucket, augmentation]
        return torch.tensor([ids], dtype=like.dtype, device=like.device).repeat(batch, 1)

    def denoise(self, latents: Tensor, condition: Tensor, tokens: Tensor, noise_level: Tensor, ids: Tensor) -> Tensor:
        """The UNet's output for `(B, F, C, h, w)` scaled latents.

        condition: `(B, C, h, w)` the current latent, divided by the autoencoder's scaling factor and
        concatenated on channels to every frame. tokens: `(B, F or 1, width)`. noise_level: `(B,)` or a
        scalar, EDM's `log(sigma) / 4`. ids: `(B, 3)`. Returns `(B, F, C, h, w)`.
        """
        scaled = condition / float(self.config.autoencoder["scaling_factor"])
        stacked = torch.cat([latents, scaled[:, None].expand_as(latents)], dim=2)
        if self.pose_map is not None:
            stacked = torch.cat([stacked, self.pose_map(tokens, self.config.num_history)], dim=2)
        output: Tensor = self.unet(stacked, noise_level, encoder_hidden_states=tokens, added_time_ids=ids).sample
        return output


@dataclass(frozen=True)
class LossDraws:
    """Every random number of one training loss, in the order the released code draws them."""

    sigma_condition_uniform: Tensor
    noise_condition: Tensor
    keep_condition_uniform: Tensor
    log_sigma_normal: Tensor
    noise_latents: Tensor
    sigma_history_normal: Tensor
    noise_history: Tensor

    @classmethod
    def draw(cls, latents: Tensor, num_history: int, generator: torch.Generator) -> LossDraws:
        """Draws for `(B, F, C, h, w)` latents, on the generator's device and moved to the latents'."""
        batch, _, channels, height, width = latents.shape
        frame = (channels, height, width)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, device=generator.device).to(latents)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=generator.device).to(latents)

        return cls(
            uniform(batch, 1, 1, 1),
            normal(batch, *frame),
            uniform(batch),
            normal(batch, 1, 1, 1, 1),
            normal(*latents.shape),
            normal(batch, num_history, 1, 1, 1),
            normal(batch, num_history, *frame),
        )


def training_loss(
    model: CtrlWorld, latents: Tensor, tokens: Tensor, draws: LossDraws, place: Tensor | None = None
) -> Tensor:
    """EDM's denoising loss on the predicted frames (Karras et al. 2022, as SVD and Ctrl-World use it).

    latents: `(B, F, C, h, w)`, clean, history first. tokens: `(B, F, width)`. place: how much each latent position
    of the predicted frames counts, `(B, P, 1, h, w)`; equally where None. Returns a scalar.
    """
    noise, history = model.config.noise, model.config.num_history
    # 1. The current frame, lightly noised, conditions all frames.
    sigma_condition = draws.sigma_condition_uniform * noise.condition_max
    condition = (latents[:, history] + draws.noise_condition * sigma_condition) / (sigma_condition**2 + 1).sqrt()
    # 2. Now and then the action is hidden, for classifier-free guidance.
    keep = (draws.keep_condition_uniform > noise.drop_condition).to(tokens.dtype)
    tokens = tokens * keep[:, None, None]
    # 3. Noise on the frames to predict, and some on the history so that its flaws are forgiven in rollout.
    sigma = (draws.log_sigma_normal * noise.log_sigma_std + noise.log_sigma_mean).exp()
    noisy = latents + draws.noise_latents * sigma
    sigma_history = draws.sigma_history_normal * noise.history_std
    past = (latents[:, :history] + draws.noise_history * sigma_history) / (sigma_history**2 + 1).sqrt()
    scaled = noisy[:, history:] / (sigma**2 + 1).sqrt()
    # 4. The UNet predicts v; the error is of the clean latents, weighted as EDM weighs it.
    ids = model.added_time_ids(len(latents), noise.augmentation_train, latents)
    output = model.denoise(torch.cat([past, scaled], dim=1), condition, tokens, sigma.log().flatten() / 4, ids)
    predicted = (noisy / (sigma**2 + 1) - output * sigma / (sigma**2 + 1).sqrt())[:, history:]
    weight = (sigma**2 + 1) / sigma**2
    error = weight * (predicted - latents[:, history:]) ** 2
    return error.mean() if place is None else (error * place).mean()
