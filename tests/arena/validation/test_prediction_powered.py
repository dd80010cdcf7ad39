"""Prediction-powered estimates: intervals that hold what they promise, whatever the evaluator says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from arena.contracts import InvalidInput
from arena.intervals import wilson
from arena.validation.prediction_powered import Corrected, prediction_powered
from arena.validation.shares import share_interval, spread

DATA_SETS = 400
LOWEST = 0.95 - 3 * np.sqrt(0.95 * 0.05 / DATA_SETS)
"""Coverage below this is no chance: three standard errors under the promised 0.95."""

Evaluator = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def good(success: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return 1 / (1 + np.exp(-(4 * (success - 0.5) + random.normal(0, 1, success.shape))))


def badly_biased(success: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """It says 0.95 on average, whatever happens, though it knows a little."""
    return 1 / (1 + np.exp(-(4 * (success - 0.5) + 3 + random.normal(0, 1, success.shape))))


def gullible(success: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Verdicts: it takes six in ten failures for successes."""
    return (random.random(success.shape) < np.where(success > 0, 0.95, 0.6)).astype(float)


def mostly_right(success: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Verdicts of which one in seven is wrong: with few pairs, none may be, and it then seems infallible."""
    return np.where(random.random(success.shape) < 6 / 7, success, 1 - success)


def useless(success: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return random.random(success.shape)


def contrary(success: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return 1 - 0.8 * success


def constant(success: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.full(success.shape, 0.7)


EVALUATORS = [good, badly_biased, gullible, mostly_right, useless, contrary, constant]
Design = tuple[list[float], list[int], list[int]]
"""Of each task: real success rate, scenes with real trials, scenes with the evaluator alone."""
DESIGNS: dict[str, Design] = {
    "few pairs": ([0.3], [5], [200]),
    "few pairs, mostly success": ([0.85], [5], [200]),
    "some pairs": ([0.5], [10], [200]),
    "rare success": ([0.05], [20], [200]),
    "many tasks": ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.5], [3] * 10, [20] * 10),
    "one pair in each task": ([0.2, 0.4, 0.5, 0.6, 0.8, 0.5, 0.3, 0.7], [1] * 8, [10] * 8),
    "uneven tasks": ([0.2, 0.5, 0.8], [2, 2, 20], [20] * 3),
}


PLENTY: Design = ([0.4], [60], [600])


def draw(design: Design, evaluator: Evaluator, random: np.random.Generator) -> Corrected:
    """One simulated data set, and its estimate."""
    chances, pairs, others = design
    paired_task, unpaired_task = np.repeat(np.arange(len(pairs)), pairs), np.repeat(np.arange(len(pairs)), others)
    success = (random.random(sum(pairs) + sum(others)) < np.repeat(np.tile(chances, 2), pairs + others)).astype(float)
    said = evaluator(success, random)
    return prediction_powered(
        real=success[: sum(pairs)],
        paired=said[: sum(pairs)],
        paired_task=paired_task,
        unpaired=said[sum(pairs) :],
        unpaired_task=unpaired_task,
    )


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("evaluator", EVALUATORS, ids=lambda evaluator: evaluator.__name__)
def test_intervals_cover_the_truth(design: str, evaluator: Evaluator) -> None:
    random, truth = np.random.default_rng(1), np.mean(DESIGNS[design][0])
    found = [draw(DESIGNS[design], evaluator, random).rate for _ in range(DATA_SETS)]
    covered = np.mean([(rate.low or 0) <= truth <= (rate.high or 0) for rate in found])
    assert covered >= LOWEST


def test_coverage_is_not_bought_with_width() -> None:
    """With pairs enough, a useless evaluator costs next to nothing, and coverage is what it should be, not more."""
    random = np.random.default_rng(2)
    found = [draw(PLENTY, useless, random).rate for _ in range(DATA_SETS)]
    covered = np.mean([(rate.low or 0) <= 0.4 <= (rate.high or 0) for rate in found])
    widths = [(rate.high or 0) - (rate.low or 0) for rate in found]
    assert LOWEST <= covered <= 0.985
    low, high = wilson(0.4, 60, 1.96)
    assert np.mean(widths) < 1.1 * (high - low)


def test_a_good_evaluator_is_worth_many_real_trials() -> None:
    random = np.random.default_rng(3)
    widths = [(rate.high or 0) - (rate.low or 0) for rate in (draw(PLENTY, good, random).rate for _ in range(100))]
    low, high = wilson(0.4, 120, 1.96)
    assert np.mean(widths) < high - low


@pytest.mark.parametrize("evaluator", EVALUATORS, ids=lambda evaluator: evaluator.__name__)
def test_there_is_no_bias(evaluator: Evaluator) -> None:
    random = np.random.default_rng(4)
    values = [draw(DESIGNS["some pairs"], evaluator, random).rate.value or 0.0 for _ in range(DATA_SETS)]
    assert np.mean(values) == pytest.approx(0.5, abs=4 * np.std(values) / np.sqrt(DATA_SETS))


def test_tuning_follows_what_the_evaluator_knows() -> None:
    random = np.random.default_rng(5)
    assert draw(PLENTY, good, random).power_tuning > 0.7
    assert draw(PLENTY, useless, random).power_tuning < 0.3
    assert draw(PLENTY, contrary, random).power_tuning == 0
    assert draw(PLENTY, constant, random).power_tuning == 0


def test_without_scenes_of_its_own_the_evaluator_adds_nothing() -> None:
    real, none = np.array([0.0, 1, 1, 0, 1]), np.zeros(0)
    task = np.zeros(5, np.intp)
    found = prediction_powered(real=real, paired=real, paired_task=task, unpaired=none, unpaired_task=task[:0])
    assert (found.rate.value, found.power_tuning, found.pairs, found.evaluator_only) == (pytest.approx(0.6), 0, 5, 0)


def test_a_perfect_evaluator_moves_the_estimate_to_its_own_mean() -> None:
    random = np.random.default_rng(6)
    success = (random.random(1060) < 0.3).astype(float)
    task = np.zeros(1060, np.intp)
    found = prediction_powered(
        real=success[:60], paired=success[:60], paired_task=task[:60], unpaired=success[60:], unpaired_task=task[60:]
    )
    assert found.rate.value == pytest.approx(success.mean(), abs=0.01)


@pytest.mark.parametrize(("paired_task", "unpaired_task"), [([0, 0], [0]), ([0, 0, 0, 0], [0, 1]), ([], [0])])
def test_too_few_pairs_are_refused(paired_task: list[int], unpaired_task: list[int]) -> None:
    with pytest.raises(InvalidInput, match="3 scenes that both tried"):
        prediction_powered(
            real=np.ones(len(paired_task)),
            paired=np.ones(len(paired_task)),
            paired_task=np.array(paired_task, np.intp),
            unpaired=np.ones(len(unpaired_task)),
            unpaired_task=np.array(unpaired_task, np.intp),
        )


@pytest.mark.parametrize("successes", [0, 5])
def test_without_variance_the_interval_is_still_wide(successes: int) -> None:
    values, weights = np.array([1.0] * successes + [0.0] * (5 - successes)), np.full(5, 0.2)
    low, high = share_interval(successes / 5, spread(values, weights, np.zeros(5, np.intp)), weights)
    assert high - low > 0.4
    assert 0 <= low < high <= 1


def test_scenes_count_and_not_their_repetitions() -> None:
    """Forty trials in four scenes that are all or nothing are four pieces of evidence."""
    values, weights = np.array([1.0, 1, 0, 0]), np.full(4, 0.25)
    low, high = share_interval(0.5, spread(values, weights, np.zeros(4, np.intp)), weights)
    assert high - low > 0.6


def test_unequal_weights_are_worth_fewer_scenes() -> None:
    values, group = np.array([0.0, 1, 0, 1, 1]), np.zeros(5, np.intp)
    even, uneven = spread(values, np.full(5, 0.2), group), spread(values, np.array([0.6, 0.1, 0.1, 0.1, 0.1]), group)
    assert even.freedom == pytest.approx(4)
    assert uneven.freedom == pytest.approx(1 / 0.4 - 1)
    assert uneven.variance == pytest.approx(2 * even.variance)
