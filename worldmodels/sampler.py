"""Imagining frames: an Euler sampler with a guidance scale that rises over the predicted frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import EulerDiscreteScheduler
from torch import Tensor

from worldmodels.ctrl_world import CtrlWorld


@dataclass(frozen=True)
class SamplerConfig:
    """`steps` denoising steps; `guidance` is the scale on the last predicted frame (1 on the first).

    Guidance 1 means none, and then the unconditional branch is not computed at all.
    """

    steps: int = 5
    guidance: float = 1.0


def sample(
    model: CtrlWorld,
    noise: Tensor,
    current: Tensor,
    history: Tensor,
    tokens: Tensor,
    config: SamplerConfig,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Denoise the predicted frames of a batch of clips.

    noise: `(B, P, C, h, w)` standard normal, before the scheduler's initial scale. current:
    `(B, C, h, w)`. history: `(B, K, C, h, w)`, used as it is. tokens: `(B, K + P, width)`.
    Returns `(B, P, C, h, w)` latents, the first of which is now. Deterministic: all chance is in `noise`.
    """
    scheduler = EulerDiscreteScheduler(**model.config.scheduler)
    scheduler.set_timesteps(config.steps, device=noise.device)
    guided = config.guidance != 1.0
    scale = torch.linspace(1.0, config.guidance, noise.shape[1], dtype=noise.dtype, device=noise.device)
    scale = scale[None, :, None, None, None]
    if guided:
        tokens = torch.cat([torch.zeros_like(tokens), tokens])
        current, history = torch.cat([current, current]), torch.cat([history, history])
    ids = model.added_time_ids(len(tokens), model.config.noise.augmentation_sample, noise)
    latents = noise * scheduler.init_noise_sigma
    for step, timestep in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(latents, timestep)
        frames = torch.cat([history, torch.cat([scaled, scaled]) if guided else scaled], dim=1)
        output = model.denoise(frames, current, tokens, timestep, ids)[:, history.shape[1] :]
        if guided:
            unconditional, conditional = output.chunk(2)
            output = unconditional + scale * (conditional - unconditional)
        latents = scheduler.step(output, timestep, latents).prev_sample
        if on_step is not None:
            on_step(step, latents)
    return latents
