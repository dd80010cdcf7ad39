"""Strata, draws and intervals of the bootstrap over scenes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.validation import validate
from arena.validation.resampling import interval, scene_weights
from arena.validation.strata import strata
from tests.arena.validation.making import results, simulate

few = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["both", "evaluator"])), min_size=2, max_size=12)


def weights_of(labels: np.ndarray, draws: int, seed: int = 0) -> np.ndarray:
    return np.concatenate(list(scene_weights(labels, draws, seed, 1)), axis=1)


@given(few)
def test_no_scene_is_left_alone(scenes: list[tuple[str, str]]) -> None:
    labels = strata([task for task, _ in scenes], [kind for _, kind in scenes])
    assert np.bincount(labels).min() >= 2


def test_strata_are_collapsed_no_further_than_needed() -> None:
    assert strata(["a", "a", "b", "b"]).tolist() == [0, 0, 1, 1]
    assert strata(["a", "a", "a", "a"], [1, 1, 2, 2]).tolist() == [0, 0, 1, 1]
    assert strata(["a", "a", "a", "b", "b"], [1, 1, 2, 1, 1]).tolist() == [0, 0, 0, 1, 1]
    assert strata(["a", "b", "c", "c"]).tolist() == [0, 0, 1, 1]
    assert strata(["a", "b", "b"]).tolist() == [0, 0, 0]


@given(few, st.integers(0, 9))
def test_every_stratum_keeps_its_weight_in_every_draw(scenes: list[tuple[str, str]], seed: int) -> None:
    labels = strata([task for task, _ in scenes], [kind for _, kind in scenes])
    weights = weights_of(labels, 20, seed)
    for label in np.unique(labels):
        np.testing.assert_allclose(weights[labels == label].sum(0), (labels == label).sum())


@pytest.mark.parametrize("scenes", [2, 3, 10])
def test_a_mean_varies_as_it_should_also_with_few_scenes(scenes: int) -> None:
    values = np.random.default_rng(0).random(scenes)
    means = values @ weights_of(np.zeros(scenes, np.intp), 40_000) / scenes
    assert means.mean() == pytest.approx(values.mean(), abs=0.01)
    assert means.var() == pytest.approx(values.var(ddof=1) / scenes, rel=0.05)


def test_draws_are_decided_by_the_seed_and_all_there() -> None:
    labels = np.repeat([0, 1], 4)
    assert weights_of(labels, 30).shape == (8, 30)
    np.testing.assert_array_equal(weights_of(labels, 30, 5), weights_of(labels, 30, 5))
    assert (weights_of(labels, 30, 5) != weights_of(labels, 30, 6)).any()
    chunks = [chunk.shape[1] for chunk in scene_weights(labels, 30, 0, 200_000)]
    assert chunks == [10, 10, 10]


@given(st.floats(-1, 1), st.lists(st.floats(-1, 1), min_size=2, max_size=50))
def test_an_interval_holds_its_value_and_stays_within_bounds(value: float, drawn: list[float]) -> None:
    found = interval(value, np.array(drawn), (-1.0, 1.0))
    assert found.low is not None
    assert found.high is not None
    assert -1 <= found.low <= value <= found.high <= 1


def test_what_is_not_defined_has_no_interval() -> None:
    nothing = np.full(10, np.nan)
    assert interval(float("nan"), np.zeros(10), (0, 1)).value is None
    assert (interval(0.5, nothing, (0, 1)).value, interval(0.5, nothing, (0, 1)).low) == (0.5, None)
    mostly = np.where(np.arange(10) < 6, np.nan, 0.5)
    assert interval(0.5, mostly, (0, 1)).high is None
    assert interval(0.5, np.where(np.arange(10) < 4, np.nan, 0.4), (0, 1)).low == 0.4


def test_trials_in_the_same_scene_are_no_more_certain_than_the_scene() -> None:
    """The same outcomes, ten times over in each scene: intervals that took trials for independent would shrink."""
    sides = simulate(3, scenes=12, real_scenes=12)
    evaluator, real = ([(t.policy, t.task, t.scene, t.success) for t in side.trials] for side in sides)
    once, often = (
        validate(evaluator=results(evaluator * times, "e"), real=results(real * times, "r"), draws=500)
        for times in (1, 10)
    )
    for name in ("pearson", "optimism", "mmrv"):
        assert getattr(often, name) == getattr(once, name)
    assert often.scores[0].real == once.scores[0].real


def test_pairing_shows_where_scenes_are_shared() -> None:
    """Hard scenes are hard for both: optimism is surer when both sides have the same scenes."""
    evaluator, real = simulate(5, tasks=("a",), scenes=40, real_scenes=40)
    apart = results(((t.policy, t.task, f"other-{t.scene}", t.success) for t in real.trials), "real")
    shared, separate = (validate(evaluator=evaluator, real=side, draws=1000).optimism for side in (real, apart))
    assert shared.value == separate.value
    assert width(shared) < 0.8 * width(separate)


def width(estimate: object) -> float:
    return float(estimate.high - estimate.low)  # type: ignore[attr-defined]


def test_intervals_cover_what_more_scenes_would_show() -> None:
    """Both sides have the same chances here, so that the true r is 1, the true MMRV and optimism 0.

    Percentiles alone never reach them: noise lowers r, and resampling lowers it once more.
    """
    found = [validate(evaluator=e, real=r, draws=200) for e, r in (simulate(seed, tasks=("a",)) for seed in range(60))]
    assert all(each.pearson.value < 0.999 for each in found if each.pearson.value is not None)
    for name, truth in (("pearson", 1.0), ("mmrv", 0.0), ("optimism", 0.0)):
        estimates = [getattr(each, name) for each in found]
        covered = sum(e.low - 1e-9 <= truth <= e.high + 1e-9 for e in estimates)
        assert covered >= 52, name  # of 60, less than 3 standard errors below 0.95
