"""Frame-level conditioning on diffusers' own UNet, the action encoder and the training loss."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from torch import Tensor

from worldmodels.config import TextEncoding, WorldModelConfig
from worldmodels.ctrl_world import ActionEncoder, CtrlWorld, LossDraws, build_unet, hash_words, training_loss

BATCH, FRAMES, WIDTH = 2, 6, 512


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def unet_inputs() -> dict[str, Tensor]:
    return {
        "sample": seeded(BATCH, FRAMES, 8, 12, 8),
        "timestep": torch.tensor([0.3, -0.7]),
        "added_time_ids": torch.tensor([[7.0, 127.0, 0.0]] * BATCH),
    }


@pytest.fixture(scope="module")
def unet(small_config: WorldModelConfig) -> UNetSpatioTemporalConditionModel:
    torch.manual_seed(0)
    return build_unet(small_config).eval()


def context_seen_by_blocks(unet: UNetSpatioTemporalConditionModel, tokens: Tensor) -> list[Tensor]:
    """What each cross-attending block is handed, after our hook."""
    seen: list[Tensor] = []

    def record(_: object, args: tuple[object, ...], kwargs: dict[str, Tensor]) -> None:
        if "encoder_hidden_states" in kwargs:
            seen.append(kwargs["encoder_hidden_states"])

    blocks = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    handles = [block.register_forward_pre_hook(record, with_kwargs=True) for block in blocks]
    with torch.no_grad():
        unet(**unet_inputs(), encoder_hidden_states=tokens)
    for handle in handles:
        handle.remove()
    return seen


def test_each_frame_is_handed_its_own_token_and_no_other(unet: UNetSpatioTemporalConditionModel) -> None:
    tokens = seeded(BATCH, FRAMES, WIDTH)
    seen = context_seen_by_blocks(unet, tokens)
    assert len(seen) == 5  # two down, one in the middle, two up
    for context in seen:
        # Row b * F + f belongs to frame f of clip b.
        torch.testing.assert_close(context, tokens.reshape(BATCH * FRAMES, 1, WIDTH), rtol=0, atol=0)


def test_a_perturbed_token_reaches_one_row_only(unet: UNetSpatioTemporalConditionModel) -> None:
    tokens = seeded(BATCH, FRAMES, WIDTH)
    perturbed = tokens.clone()
    perturbed[1, 4] += 1.0
    before, after = context_seen_by_blocks(unet, tokens), context_seen_by_blocks(unet, perturbed)
    for a, b in zip(before, after, strict=True):
        changed = (a != b).flatten(1).any(dim=1).nonzero().flatten().tolist()
        assert changed == [1 * FRAMES + 4]


def test_one_token_for_the_clip_is_diffusers_as_released(
    unet: UNetSpatioTemporalConditionModel, small_config: WorldModelConfig
) -> None:
    plain = UNetSpatioTemporalConditionModel(**{k: v for k, v in small_config.unet.items() if v is not None})
    plain.load_state_dict(unet.state_dict())
    tokens = seeded(BATCH, 1, WIDTH)
    with torch.no_grad():
        ours = unet(**unet_inputs(), encoder_hidden_states=tokens).sample
        theirs = plain.eval()(**unet_inputs(), encoder_hidden_states=tokens).sample
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_the_same_token_for_every_frame_is_one_token_for_the_clip(unet: UNetSpatioTemporalConditionModel) -> None:
    token = seeded(BATCH, 1, WIDTH)
    with torch.no_grad():
        repeated = unet(**unet_inputs(), encoder_hidden_states=token.repeat(1, FRAMES, 1)).sample
        single = unet(**unet_inputs(), encoder_hidden_states=token).sample
    torch.testing.assert_close(repeated, single, rtol=1e-5, atol=1e-5)


def test_clips_of_a_batch_do_not_see_each_other(unet: UNetSpatioTemporalConditionModel) -> None:
    tokens, inputs = seeded(BATCH, FRAMES, WIDTH), unet_inputs()
    with torch.no_grad():
        both = unet(**inputs, encoder_hidden_states=tokens).sample
        second = unet(**{k: v[1:] for k, v in inputs.items()}, encoder_hidden_states=tokens[1:]).sample
    torch.testing.assert_close(both[1:], second, rtol=1e-5, atol=1e-5)


def test_text_is_added_to_every_token_alike() -> None:
    encoder = ActionEncoder(7, 1024, TextEncoding.CLIP)
    actions, text = seeded(BATCH, FRAMES, 7), seeded(BATCH, 512, seed=1)
    with torch.no_grad():
        difference = encoder(actions, text) - encoder(actions)
    tiled = torch.cat([text, text], dim=1)[:, None].expand_as(difference)
    torch.testing.assert_close(difference, tiled, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("instruction", ["", "  ...  ", "Press the RED button!"])
def test_hashed_words_ignore_case_and_punctuation(instruction: str) -> None:
    assert hash_words(instruction) == hash_words(instruction.upper() + " ?")
    assert hash_words(instruction)


def test_hashed_text_of_a_batch_is_that_of_each_alone(small_config: WorldModelConfig) -> None:
    torch.manual_seed(0)
    encoder = ActionEncoder(7, 64, TextEncoding.HASHED)
    texts = ["press the button", "", "open the drawer slowly now"]
    alone = torch.cat([encoder.embed_words([text]) for text in texts])
    torch.testing.assert_close(encoder.embed_words(texts), alone)
    assert not torch.allclose(alone[0], alone[2])


def test_a_loss_is_finite_seeded_and_falls_when_overfitting(small_config: WorldModelConfig) -> None:
    config = replace(small_config, noise=replace(small_config.noise, drop_condition=0.0))
    torch.manual_seed(0)
    model = CtrlWorld(config)
    # Stills: the frames to predict are the one that conditions them, which a few steps suffice to see.
    latents, actions = seeded(2, 1, 4, 8, 8).repeat(1, FRAMES, 1, 1, 1), seeded(2, FRAMES, 7)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    draws = LossDraws.draw(latents, config.num_history, torch.Generator().manual_seed(3))
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = training_loss(model, latents, model.action_encoder(actions), draws)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(torch.tensor(losses).isfinite())
    assert losses[-1] < 0.7 * losses[0]
    again = LossDraws.draw(latents, config.num_history, torch.Generator().manual_seed(3))
    torch.testing.assert_close(again.noise_latents, draws.noise_latents, rtol=0, atol=0)


def test_the_loss_does_not_depend_on_actions_that_are_hidden(small_config: WorldModelConfig) -> None:
    torch.manual_seed(0)
    model = CtrlWorld(small_config)
    latents = seeded(2, FRAMES, 4, 8, 8)
    draws = LossDraws.draw(latents, small_config.num_history, torch.Generator().manual_seed(0))
    hidden = replace(draws, keep_condition_uniform=torch.tensor([0.01, 0.04]))
    shown = replace(draws, keep_condition_uniform=torch.tensor([0.06, 0.9]))
    tokens = [seeded(2, FRAMES, WIDTH, seed=seed) for seed in (1, 2)]
    with torch.no_grad():
        blind = [float(training_loss(model, latents, t, hidden)) for t in tokens]
        seeing = [float(training_loss(model, latents, t, shown)) for t in tokens]
    assert blind[0] == blind[1]
    assert seeing[0] != seeing[1]
