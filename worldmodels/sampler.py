"""Imagining frames: an Euler sampler with a guidance scale that rises over the predicted frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from diffusers import EulerDiscreteScheduler
from torch import Tensor

from arena.contracts import InvalidInput
from worldmodels.config import WorldModelConfig
from worldmodels.ctrl_world import CtrlWorld

FEW_STEPS = 12
"""Up to so many steps a call at the released schedule's end is one that is missed elsewhere."""
FEW_STEP_SIGMA = 0.1
"""What few steps end at. Measured: `docs/sampling.md`."""


@dataclass(frozen=True)
class SamplerConfig:
    """`steps` denoising steps; `guidance` is the scale on the last predicted frame (1 on the first).

    Guidance 1 means none, and then the unconditional branch is not computed at all. `lowest_sigma` is the noise
    level of the last step, which jumps from there to no noise; None is the model's scheduler's own, 0.002 as
    released. Raises `InvalidInput` for no steps or a level that is not positive.
    """

    steps: int = 5
    guidance: float = 1.0
    lowest_sigma: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InvalidInput(f"a sampler needs at least one step, not {self.steps}")
        if self.lowest_sigma is not None and not self.lowest_sigma > 0:
            raise InvalidInput(f"a sampler's lowest sigma must be positive, not {self.lowest_sigma}")

    def for_rollout(self) -> SamplerConfig:
        """What a rollout uses: few steps end at `FEW_STEP_SIGMA` unless told otherwise, many as released.

        At 0.002 a call alters the frames by less than their decoder shows: of three steps that would be one.
        """
        if self.lowest_sigma is not None or self.steps > FEW_STEPS:
            return self
        return replace(self, lowest_sigma=FEW_STEP_SIGMA)


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
    Raises `InvalidInput` for a lowest sigma that is above the scheduler's highest.
    """
    scheduler = _scheduler(model.config, config)
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


def _scheduler(model: WorldModelConfig, config: SamplerConfig) -> EulerDiscreteScheduler:
    """Karras' levels from the model's highest to the lowest one asked for; then none."""
    levels = dict(model.scheduler)
    if config.lowest_sigma is not None:
        if config.lowest_sigma > levels["sigma_max"]:
            raise InvalidInput(
                f"the lowest sigma {config.lowest_sigma:g} is above the highest of {model.name}, "
                f"{levels['sigma_max']:g}"
            )
        levels["sigma_min"] = config.lowest_sigma
    return EulerDiscreteScheduler(**levels)
