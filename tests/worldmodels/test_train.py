from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from arena.contracts import InvalidInput
from arena.learned.optimise import Schedule, optimise
from tests.worldmodels.factories import MICRO, moving_square
from worldmodels.actions import measure_statistics
from worldmodels.autoencoder import ViewAutoencoder
from worldmodels.checkpoint import load_checkpoint
from worldmodels.latents import encode_episodes
from worldmodels.model import WorldModel
from worldmodels.train import TrainConfig, train
from worldmodels.windows import Windows, history_indices

EPISODES = [moving_square(seed) for seed in range(4)]
BRIEF = Schedule(4, 4, 1e-3, warmup=2)
RUN = TrainConfig(Schedule(6, 4, 1e-3, warmup=2), Schedule(6, 2, 1e-3, warmup=2), tracker=BRIEF, seed=3)


def losses(folder: Path, stage: str) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / f"{stage}.jsonl").read_text().splitlines()]


def test_train_writes_a_checkpoint_that_loads(tmp_path: Path) -> None:
    out = train(MICRO, EPISODES, tmp_path / "model", RUN)
    model = WorldModel.load(out)
    assert model.tracker is not None
    latents = model.autoencoder.encode({n: s.read() for n, s in EPISODES[0].cameras.items()})
    # The scaling factor was measured: latents have about unit variance.
    assert 0.3 < float(latents.std()) < 3
    assert load_checkpoint(out).sha256 == model.sha256


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path: Path) -> None:
    first = load_checkpoint(train(MICRO, EPISODES, tmp_path / "a", RUN)).sha256
    assert load_checkpoint(train(MICRO, EPISODES, tmp_path / "b", RUN)).sha256 == first
    assert load_checkpoint(train(MICRO, EPISODES, tmp_path / "c", replace(RUN, seed=4))).sha256 != first


def test_stopping_and_resuming_gives_the_same_loss_curve(tmp_path: Path) -> None:
    schedule = Schedule(8, 4, 1e-2, warmup=2)

    def run(folder: Path, stops: list[int | None]) -> list[torch.Tensor]:
        for stop in stops:
            torch.manual_seed(0)
            module = torch.nn.Linear(3, 2)

            def loss(_: int, generator: torch.Generator, module: torch.nn.Linear = module) -> torch.Tensor:
                return module(torch.randn(schedule.batch, 3, generator=generator)).square().mean()

            optimise("line", module, loss, schedule, seed=1, folder=folder, identity="", stop_after=stop)
            assert len(losses(folder, "line")) == (stop or schedule.steps)
        return list(module.parameters())

    whole, halves = run(tmp_path / "whole", [None]), run(tmp_path / "halves", [3, 5, None])
    assert losses(tmp_path / "halves", "line") == losses(tmp_path / "whole", "line")
    assert all(torch.equal(a, b) for a, b in zip(whole, halves, strict=True))
    assert len(losses(tmp_path / "whole", "line")) == 8


def test_a_kill_between_saves_repeats_only_what_was_not_saved(tmp_path: Path) -> None:
    """The state on disk is older than the log: the log is cut back, no step is counted twice."""
    schedule = Schedule(6, 2, 1e-2)
    module = torch.nn.Linear(2, 1)

    def loss(_: int, generator: torch.Generator) -> torch.Tensor:
        return module(torch.randn(2, 2, generator=generator)).square().mean()

    optimise("line", module, loss, schedule, 0, tmp_path, "", stop_after=2)
    saved = (tmp_path / "line.safetensors").read_bytes()
    optimise("line", module, loss, schedule, 0, tmp_path, "", stop_after=5)
    curve = losses(tmp_path, "line")
    (tmp_path / "line.safetensors").write_bytes(saved)
    with (tmp_path / "line.jsonl").open("a") as log:
        log.write('{"step": 6, "lo')
    optimise("line", module, loss, schedule, 0, tmp_path, "")
    assert losses(tmp_path, "line")[:5] == curve


def test_a_run_with_another_schedule_does_not_continue_an_old_one(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 1)

    def loss(_: int, generator: torch.Generator) -> torch.Tensor:
        return module(torch.randn(2, 2, generator=generator)).square().mean()

    optimise("line", module, loss, Schedule(2, 2, 1e-2), 0, tmp_path, "")
    with pytest.raises(InvalidInput, match="another config, seed or data"):
        optimise("line", module, loss, Schedule(3, 2, 1e-2), 0, tmp_path, "")
    with pytest.raises(InvalidInput, match="became nan at step 0"):
        optimise("other", module, lambda *_: module.weight.sum() * float("nan"), Schedule(2, 2, 1e-2), 0, tmp_path, "")


def test_latents_are_encoded_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    autoencoder = ViewAutoencoder(MICRO).eval()
    seen: list[int] = []
    first = encode_episodes(autoencoder, EPISODES, tmp_path, lambda d, *_: seen.append(d))
    assert seen == [1, 2, 3, 4]
    seen.clear()
    more = [*EPISODES, moving_square(9)]
    again = encode_episodes(autoencoder, more, tmp_path, lambda d, *_: seen.append(d))
    assert seen == [5]
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(first, again, strict=False))
    # Another autoencoder's latents are another's.
    with torch.no_grad():
        next(autoencoder.parameters()).add_(0.1)
    other = encode_episodes(autoencoder, EPISODES, tmp_path)
    assert not torch.equal(other[0].latents, first[0].latents)


def test_windows_hold_history_then_now_then_the_future(tmp_path: Path) -> None:
    autoencoder = ViewAutoencoder(MICRO).eval()
    statistics = measure_statistics(EPISODES, MICRO.action_representation)
    encoded = encode_episodes(autoencoder, EPISODES, tmp_path)
    windows = Windows(encoded, MICRO, statistics)
    assert len(windows) == 4 * (16 - MICRO.num_frames + 1)
    assert history_indices(2, MICRO) == [0, 1]
    batch = windows.gather([(1, 5), (2, 0)])
    assert torch.equal(batch.latents[0], encoded[1].latents[[2, 4, 5, 6, 7]].float())
    assert torch.equal(batch.latents[1], encoded[2].latents[[0, 0, 0, 1, 2]].float())
    np.testing.assert_allclose(batch.actions[0].numpy(), windows.actions[1][[2, 4, 5, 6, 7]].numpy())
    with pytest.raises(InvalidInput, match="needs 3 frames"):
        Windows([replace(encoded[0], latents=encoded[0].latents[:2], poses=encoded[0].poses[:2])], MICRO, statistics)


def test_fine_tuning_starts_from_the_checkpoint_and_keeps_its_config(tmp_path: Path) -> None:
    start = load_checkpoint(train(MICRO, EPISODES, tmp_path / "base", RUN))
    still = replace(RUN, autoencoder=replace(RUN.autoencoder, steps=0), denoiser=Schedule(1, 2, 1e-9))
    tuned = load_checkpoint(train(MICRO, EPISODES[:2], tmp_path / "tuned", still, start=start))
    assert tuned.config == start.config
    # The tracker is fitted anew: it belongs to the robot of the new episodes.
    for name, weight in ((k, v) for k, v in start.tensors.items() if not k.startswith("tracker.")):
        torch.testing.assert_close(tuned.tensors[name], weight, atol=2e-3, rtol=1e-2)


def test_episodes_of_several_rates_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="3 at 20 Hz, 1 at 5 Hz"):
        train(MICRO, [*EPISODES[:3], replace(EPISODES[3], fps=5.0)], tmp_path / "m", RUN)
    slow = [replace(episode, fps=5.0) for episode in EPISODES]
    assert load_checkpoint(train(MICRO, slow, tmp_path / "slow", RUN)).config.fps == 5.0
