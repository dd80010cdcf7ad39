"""Replays frame by frame."""

from __future__ import annotations

import numpy as np
import pytest

from arena.contracts import InvalidInput
from arena.learned.optimise import Schedule
from tests.worldmodels.factories import MICRO, moving_square
from worldmodels.model import WorldModel
from worldmodels.replay import replay, score_replays
from worldmodels.sampler import FEW_STEP_SIGMA, SamplerConfig
from worldmodels.train import TrainConfig, train

EPISODES = [moving_square(0), moving_square(1), moving_square(2, length=6)]
ONE_STEP = SamplerConfig(steps=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> WorldModel:
    run = TrainConfig(Schedule(2, 2, 1e-3), Schedule(1, 2, 1e-3), tracker=Schedule(5, 2, 1e-3))
    return WorldModel.load(train(MICRO, EPISODES, tmp_path_factory.mktemp("model") / "m", run))


def test_every_frame_asked_for_is_scored_as_far_as_an_episode_goes(model: WorldModel) -> None:
    scores = score_replays(model, EPISODES, range(1, 16), ONE_STEP, batch=2)
    assert [each.episode for each in scores] == [episode.id for episode in EPISODES]
    assert [each.frames.tolist() for each in scores] == [list(range(1, 16))] * 2 + [list(range(1, 6))]
    for each in scores:
        assert set(each.psnr) == set(each.ssim) == {"all", *MICRO.views}
        for view in each.psnr:
            assert set(each.psnr[view]) == {"model", "copy", "wrong_action", "ceiling"}
            assert all(row.shape == each.frames.shape for row in each.psnr[view].values())
        views = [each.psnr[view]["model"] for view in MICRO.views]
        np.testing.assert_allclose(each.psnr["all"]["model"], np.mean(views, axis=0))


def test_horizons_are_the_means_of_their_frames(model: WorldModel) -> None:
    scores = score_replays(model, EPISODES, range(1, 16), ONE_STEP)
    report = replay(model, EPISODES, seconds=(0.2, 0.5), sampler=ONE_STEP)
    # At frame 4 all three episodes count, at frame 10 the two long ones.
    for seconds, frame, counted in ((0.2, 4, scores), (0.5, 10, scores[:2])):
        row = report.at(seconds, "wrist")
        assert (row.frame, row.episodes) == (frame, len(counted))
        for name, value in row.psnr.items():
            # A replay to another length has other batches of frames: rounding may differ in a pixel.
            assert value == pytest.approx(np.mean([e.psnr["wrist"][name][frame - 1] for e in counted]), abs=0.01)
    assert report.skipped == ()


def test_the_copy_does_not_depend_on_the_model_and_the_report_says_what_was_sampled(model: WorldModel) -> None:
    a, b = (score_replays(model, EPISODES, [3, 5], SamplerConfig(n))[0] for n in (1, 2))
    np.testing.assert_array_equal(a.psnr["all"]["copy"], b.psnr["all"]["copy"])
    np.testing.assert_array_equal(a.ssim["all"]["ceiling"], b.ssim["all"]["ceiling"])
    assert replay(model, EPISODES, (0.1,), SamplerConfig(1)).sampler.lowest_sigma == FEW_STEP_SIGMA


def test_too_few_episodes_are_named(model: WorldModel) -> None:
    with pytest.raises(InvalidInput, match="more than 9 frames; 1 of 3 are long enough"):
        score_replays(model, EPISODES[1:] + EPISODES[2:], [9, 12], ONE_STEP)
