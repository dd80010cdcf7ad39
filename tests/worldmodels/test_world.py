from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from arena.contracts import ActionChunk, ActionSpace, InvalidInput, Scene
from arena.learned.optimise import Schedule
from tests.worldmodels.factories import MICRO, moving_square
from worldmodels.autoencoder import ViewAutoencoder
from worldmodels.model import LatentEncoder, WorldModel
from worldmodels.replay import first_scene, replay
from worldmodels.sampler import FEW_STEP_SIGMA, SamplerConfig
from worldmodels.train import TrainConfig, train
from worldmodels.world import ImaginedWorld

EPISODES = [moving_square(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> WorldModel:
    run = TrainConfig(Schedule(5, 4, 1e-3), Schedule(2, 2, 1e-3), tracker=Schedule(20, 4, 1e-3))
    return WorldModel.load(train(MICRO, EPISODES, tmp_path_factory.mktemp("model") / "m", run))


def scenes(model: WorldModel, count: int = 3) -> list[Scene]:
    return [first_scene(model, episode) for episode in EPISODES[:count]]


def chunk(seed: int, length: int = 2, space: ActionSpace = ActionSpace.CARTESIAN_POSITION) -> ActionChunk:
    return ActionChunk(np.random.default_rng(seed).normal(0, 0.1, (length, space.width)), space, MICRO.fps)


def run(model: WorldModel, which: list[int], calls: int = 2) -> list[np.ndarray]:
    world = ImaginedWorld(model, SamplerConfig(steps=2))
    world.start([scenes(model)[i] for i in which], [100 + i for i in which])
    videos: list[list[np.ndarray]] = [[] for _ in which]
    for call in range(calls):
        for video, step in zip(videos, world.step([chunk(10 * i + call) for i in which]), strict=True):
            video.append(np.concatenate([step.frames[name] for name in MICRO.views], axis=2))
    return [np.concatenate(video) for video in videos]


def test_a_trial_does_not_depend_on_the_batch_it_runs_in(model: WorldModel) -> None:
    together, alone = run(model, [0, 1, 2]), [run(model, [i])[0] for i in range(3)]
    for a, b in zip(together, alone, strict=True):
        assert np.abs(a.astype(int) - b.astype(int)).max() <= 1


def test_steps_have_the_contracts_shapes_and_advance_the_state(model: WorldModel) -> None:
    world = ImaginedWorld(model, SamplerConfig(steps=1), views=["wrist"])
    first = world.start(scenes(model), [0, 1, 2])
    assert set(first[0].cameras) == {"wrist"} == set(world.card.cameras)
    commands = [chunk(i, length=1) for i in range(3)]
    steps = world.step(commands)
    assert [s.frames["wrist"].shape for s in steps] == [(1, 16, 24, 3)] * 3
    assert steps[0].frames["wrist"].dtype == np.uint8
    expected = model.reached(first[0].state[None], commands[0].values)
    np.testing.assert_allclose(steps[0].state, expected)
    np.testing.assert_allclose(steps[0].observation.state, expected[0])
    assert steps[0].success is None


def test_few_steps_end_at_a_useful_level_and_the_released_procedure_as_it_did(model: WorldModel) -> None:
    assert ImaginedWorld(model).sampler.lowest_sigma == FEW_STEP_SIGMA
    assert ImaginedWorld(model, SamplerConfig(50, 2.0)).sampler == SamplerConfig(50, 2.0)
    assert ImaginedWorld(model, SamplerConfig(3, lowest_sigma=0.002)).sampler.lowest_sigma == 0.002


def test_only_the_views_asked_for_are_decoded(model: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    images = ViewAutoencoder.images
    monkeypatch.setattr(ViewAutoencoder, "images", lambda self, z: decoded.append(len(z)) or images(self, z))
    for views, expected in ((["wrist"], 6), (None, 12)):
        world = ImaginedWorld(model, SamplerConfig(steps=1), views=views)
        world.start(scenes(model), [0, 1, 2])
        decoded.clear()
        world.step([chunk(i) for i in range(3)])
        assert sum(decoded) == expected


def test_what_a_world_cannot_take_is_named(model: WorldModel) -> None:
    world = ImaginedWorld(model)
    with pytest.raises(InvalidInput, match="no view 'nose': this model has exterior_1, wrist"):
        ImaginedWorld(model, views=["nose"])
    with pytest.raises(InvalidInput, match="3 scenes need as many seeds"):
        world.start(scenes(model), [0])
    with pytest.raises(InvalidInput, match="is at 5 Hz, micro imagines at 20 Hz"):
        world.start([replace(scenes(model)[0], fps=5.0)], [0])
    blind = replace(scenes(model)[0], history={})
    with pytest.raises(InvalidInput, match="camera 'exterior_1' is missing"):
        world.start([blind], [0])
    world.start(scenes(model), [0, 1, 2])
    with pytest.raises(InvalidInput, match="3 trials were started, 1 chunks given"):
        world.step([chunk(0)])
    with pytest.raises(InvalidInput, match=r"at most 2, not \[3\]"):
        world.step([chunk(i, length=3) for i in range(3)])
    with pytest.raises(InvalidInput, match="takes cartesian_position actions, not joint_position"):
        world.step([chunk(i, space=ActionSpace.JOINT_POSITION) for i in range(3)])


def test_replay_compares_with_truth_and_with_both_controls(model: WorldModel) -> None:
    report = replay(model, EPISODES, seconds=(0.1, 0.5), sampler=SamplerConfig(steps=1), batch=3)
    assert {f.view for f in report.fidelity} == {"all", *MICRO.views}
    row = report.at(0.5)
    assert row.frame == 10
    assert row.episodes == 4
    first = EPISODES[0].cameras["wrist"].read(0, 1)
    for name in ("model", "copy", "wrong_action", "ceiling"):
        assert np.isfinite(row.psnr[name])
    # The copy is computed from the true frames alone, so it can be recomputed here.
    errors = [
        np.mean((e.cameras["wrist"].read(10, 11) / 255.0 - e.cameras["wrist"].read(0, 1) / 255.0) ** 2)
        for e in EPISODES
    ]
    expected = np.mean([-10 * np.log10(max(error, 1e-10)) for error in errors])
    assert first.shape == (1, 16, 24, 3)
    assert report.at(0.5, "wrist").psnr["copy"] == pytest.approx(expected, abs=0.05)
    with pytest.raises(InvalidInput, match="1 of 1 are long enough"):
        replay(model, EPISODES[:1])


def test_the_latent_encoder_is_the_models_and_resizes(model: WorldModel) -> None:
    encoder = LatentEncoder(model)
    frames = {name: np.zeros((5, 32, 48, 3), np.uint8) for name in MICRO.views}
    channels, height, width = MICRO.latent_shape
    assert encoder.encode(frames).shape == (5, channels * height * width)
    assert encoder.sha256 == model.sha256
    assert torch.is_tensor(model.denoiser.unet.conv_in.weight)
