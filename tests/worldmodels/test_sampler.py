"""The sampler: guidance, noise levels, determinism, independence of the batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import EulerDiscreteScheduler
from torch import Tensor

from arena.contracts import InvalidInput
from worldmodels.checkpoint import shapes_of
from worldmodels.config import WorldModelConfig
from worldmodels.ctrl_world import CtrlWorld
from worldmodels.parity import named_weight
from worldmodels.sampler import FEW_STEP_SIGMA, FEW_STEPS, SamplerConfig, sample

HISTORY, PREDICTED, LATENT = 3, 3, (4, 12, 8)


class CountingWorld(CtrlWorld):
    """Records how many clips the UNet is run on at each step, and at which noise level."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__(config)
        self.batches: list[int] = []
        self.sigmas: list[float] = []

    def denoise(self, latents: Tensor, condition: Tensor, tokens: Tensor, noise_level: Tensor, ids: Tensor) -> Tensor:
        self.batches.append(len(latents))
        self.sigmas.append(float((4 * noise_level).exp()))
        return super().denoise(latents, condition, tokens, noise_level, ids)


class NormalWorld(CtrlWorld):
    """Knows the one answer for latents that are normal with deviation 1: its denoised frames are exact."""

    def denoise(self, latents: Tensor, condition: Tensor, tokens: Tensor, noise_level: Tensor, ids: Tensor) -> Tensor:
        sigma = (4 * noise_level).exp()
        noisy = latents * (sigma**2 + 1).sqrt()
        denoised = noisy / (sigma**2 + 1)
        # v, of which the sampler makes `noisy / (sigma^2 + 1) - v * sigma / sqrt(sigma^2 + 1)`.
        return (noisy / (sigma**2 + 1) - denoised) * (sigma**2 + 1).sqrt() / sigma


@pytest.fixture
def model(small_config: WorldModelConfig) -> CountingWorld:
    world = CountingWorld(small_config)
    # Weights at which actions matter; torch's initial ones hardly let them through.
    world.load_state_dict({name: named_weight(name, shape) for name, shape in shapes_of(world.state_dict()).items()})
    return world.eval()


def inputs(batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return (
        normal(batch, PREDICTED, *LATENT),
        normal(batch, *LATENT),
        normal(batch, HISTORY, *LATENT),
        normal(batch, HISTORY + PREDICTED, 512),
    )


@torch.no_grad()
def run(model: CtrlWorld, given: tuple[Tensor, ...], steps: int = 3, guidance: float = 1.0) -> Tensor:
    return sample(model, *given, SamplerConfig(steps, guidance))


def test_without_guidance_there_is_no_unconditional_branch(model: CountingWorld) -> None:
    run(model, inputs(2), steps=3, guidance=1.0)
    assert model.batches == [2, 2, 2]
    model.batches.clear()
    run(model, inputs(2), steps=3, guidance=1.5)
    assert model.batches == [4, 4, 4]


def test_guidance_near_one_is_no_guidance(model: CountingWorld) -> None:
    plain, guided = run(model, inputs(2), guidance=1.0), run(model, inputs(2), guidance=1.0 + 1e-6)
    torch.testing.assert_close(plain, guided, rtol=1e-3, atol=1e-3)


def test_guidance_leaves_the_first_predicted_frame_of_one_step_alone(model: CountingWorld) -> None:
    plain, guided = run(model, inputs(2), steps=1, guidance=1.0), run(model, inputs(2), steps=1, guidance=4.0)
    change = (plain - guided).abs().amax(dim=(0, 2, 3, 4))
    assert change[0] < 1e-3
    assert change[2] > change[1] > 10 * change[0]


def test_same_noise_same_frames(model: CountingWorld) -> None:
    first, second = run(model, inputs(2), guidance=2.0), run(model, inputs(2), guidance=2.0)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_clip_is_imagined_alike_alone_and_in_a_batch(model: CountingWorld, guidance: float) -> None:
    given = inputs(3)
    together = run(model, given, steps=5, guidance=guidance)
    for clip in range(3):
        alone = run(model, tuple(tensor[clip : clip + 1] for tensor in given), steps=5, guidance=guidance)
        assert float((alone - together[clip : clip + 1]).abs().max() / together.abs().max()) < 1e-5


def test_each_step_is_reported_and_the_last_is_the_result(model: CountingWorld) -> None:
    steps: list[tuple[int, Tensor]] = []
    with torch.no_grad():
        result = sample(model, *inputs(1), SamplerConfig(4, 2.0), lambda step, latents: steps.append((step, latents)))
    assert [step for step, _ in steps] == [0, 1, 2, 3]
    torch.testing.assert_close(steps[-1][1], result, rtol=0, atol=0)
    assert result.shape == (1, PREDICTED, *LATENT)


def test_actions_change_what_is_imagined(model: CountingWorld) -> None:
    noise, current, history, tokens = inputs(1)
    other = tokens.clone()
    other[:, -1] += 1.0
    assert not torch.allclose(
        run(model, (noise, current, history, tokens)), run(model, (noise, current, history, other))
    )


def test_the_released_schedule_is_the_default_and_ends_at_its_own_level(model: CountingWorld) -> None:
    scheduler = EulerDiscreteScheduler(**model.config.scheduler)
    scheduler.set_timesteps(4)
    run(model, inputs(1), steps=4)
    assert model.sigmas == pytest.approx([float(sigma) for sigma in scheduler.sigmas[:-1]], rel=1e-4)
    assert model.sigmas[-1] == pytest.approx(0.002, rel=1e-4)


@pytest.mark.parametrize(("steps", "guidance"), [(1, 1.0), (2, 1.0), (4, 2.0)])
@torch.no_grad()
def test_the_last_call_is_at_the_lowest_sigma_asked_for(model: CountingWorld, steps: int, guidance: float) -> None:
    sample(model, *inputs(1), SamplerConfig(steps, guidance, lowest_sigma=0.3))
    assert len(model.sigmas) == steps
    assert model.sigmas[0] == pytest.approx(model.config.scheduler["sigma_max"], rel=1e-4)
    if steps > 1:
        assert model.sigmas[-1] == pytest.approx(0.3, rel=1e-4)
    assert model.sigmas == sorted(model.sigmas, reverse=True)


@torch.no_grad()
def test_a_single_step_is_one_jump_whatever_the_lowest_sigma(model: CountingWorld) -> None:
    given = inputs(1)
    jumps = [sample(model, *given, SamplerConfig(1, lowest_sigma=sigma)) for sigma in (None, 0.3)]
    torch.testing.assert_close(*jumps, rtol=0, atol=0)


def test_few_steps_of_a_rollout_end_at_a_useful_level_and_many_as_released() -> None:
    assert SamplerConfig(3).for_rollout() == SamplerConfig(3, lowest_sigma=FEW_STEP_SIGMA)
    assert SamplerConfig(FEW_STEPS, 2.0).for_rollout().lowest_sigma == FEW_STEP_SIGMA
    assert SamplerConfig(3, lowest_sigma=0.002).for_rollout() == SamplerConfig(3, lowest_sigma=0.002)
    released = SamplerConfig(50, 2.0)
    assert released.for_rollout() is released
    assert released.lowest_sigma is None
    assert SamplerConfig(3).for_rollout().for_rollout() == SamplerConfig(3).for_rollout()


def test_what_makes_no_sampler_is_named(model: CountingWorld) -> None:
    with pytest.raises(InvalidInput, match="at least one step, not 0"):
        SamplerConfig(0)
    with pytest.raises(InvalidInput, match="must be positive, not 0"):
        SamplerConfig(3, lowest_sigma=0.0)
    with pytest.raises(InvalidInput, match=r"the lowest sigma 800 is above the highest of small, 700"):
        sample(model, *inputs(1), SamplerConfig(3, lowest_sigma=800.0))


@torch.no_grad()
def test_frames_whose_denoising_is_known_come_out_nearer_with_more_steps(small_config: WorldModelConfig) -> None:
    # Of normal latents the frames at every level are the first ones, scaled: the result is the noise itself.
    config = replace(small_config, scheduler={**small_config.scheduler, "sigma_max": 20.0})
    model, given = NormalWorld(config), inputs(1)
    errors = [float((sample(model, *given, SamplerConfig(n, 1.0, 0.05)) - given[0]).norm()) for n in (5, 10, 40)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05 * float(given[0].norm())
