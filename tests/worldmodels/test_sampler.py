"""The sampler: guidance, determinism, independence of the batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from worldmodels.checkpoint import shapes_of
from worldmodels.config import WorldModelConfig
from worldmodels.ctrl_world import CtrlWorld
from worldmodels.parity import named_weight
from worldmodels.sampler import SamplerConfig, sample

HISTORY, PREDICTED, LATENT = 3, 3, (4, 12, 8)


class CountingWorld(CtrlWorld):
    """Records how many clips the UNet is run on at each step."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__(config)
        self.batches: list[int] = []

    def denoise(self, latents: Tensor, *rest: Tensor) -> Tensor:
        self.batches.append(len(latents))
        return super().denoise(latents, *rest)


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
