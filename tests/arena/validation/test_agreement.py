"""The measures of agreement: published values, other implementations, and what they must not depend on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from arena.validation.agreement import BOUNDS, MEASURES, drop_one, kendall, mmrv, optimism, pearson, spearman

# Multiples of 1/20, so that ties are common, as they are with few trials.
share = st.integers(0, 20).map(lambda twentieth: twentieth / 20)
scores = st.integers(3, 9).flatmap(
    lambda n: st.tuples(st.lists(share, min_size=n, max_size=n), st.lists(share, min_size=n, max_size=n))
).map(lambda sides: tuple(np.array(side) for side in sides))  # fmt: skip
Scores = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    tasks: dict[str, Any] = json.loads((shared / "golden" / "simpler_metrics.json").read_text())["tasks"]
    assert len(tasks) == 9
    return tasks


def test_published_values_are_reproduced(golden: dict[str, Any]) -> None:
    for task in golden.values():
        sides = {side: np.array(task[side]) for side in ("evaluator", "real")}
        assert float(pearson(**sides)) == pytest.approx(task["pearson"], abs=1e-14)
        assert float(mmrv(**sides)) == pytest.approx(task["mmrv"], abs=1e-14)


def test_the_published_values_tell_the_sides_apart(golden: dict[str, Any]) -> None:
    for task in golden.values():
        swapped = mmrv(evaluator=np.array(task["real"]), real=np.array(task["evaluator"]))
        assert float(swapped) == pytest.approx(task["mmrv_arguments_swapped"], abs=1e-14)
    assert sum(task["mmrv"] != task["mmrv_arguments_swapped"] for task in golden.values()) >= 5


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_sides_cannot_be_swapped_by_accident(measure: Any) -> None:
    with pytest.raises(TypeError):
        measure(np.arange(3.0), np.arange(3.0))


def slow_mmrv(evaluator: Sequence[float], real: Sequence[float]) -> float:
    """As the paper defines it, in loops."""
    worst = []
    for i in range(len(real)):
        violations = [
            abs(real[i] - real[j]) if (evaluator[i] > evaluator[j]) != (real[i] > real[j]) else 0.0
            for j in range(len(real))
        ]
        worst.append(max(violations))
    return sum(worst) / len(worst)


@given(scores)
def test_mmrv_is_the_definition(sides: Scores) -> None:
    evaluator, real = sides
    assert float(mmrv(evaluator=evaluator, real=real)) == pytest.approx(slow_mmrv(evaluator, real), abs=1e-12)


@given(scores)
def test_correlations_are_those_of_scipy(sides: Scores) -> None:
    evaluator, real = sides
    if np.ptp(evaluator) == 0 or np.ptp(real) == 0:
        assert all(np.isnan(measure(evaluator=evaluator, real=real)) for measure in (pearson, spearman, kendall))
        return
    assert float(pearson(evaluator=evaluator, real=real)) == pytest.approx(stats.pearsonr(evaluator, real)[0], abs=1e-5)
    assert float(spearman(evaluator=evaluator, real=real)) == pytest.approx(stats.spearmanr(evaluator, real)[0])
    assert float(kendall(evaluator=evaluator, real=real)) == pytest.approx(stats.kendalltau(evaluator, real)[0])


@given(scores, st.randoms(use_true_random=False))
def test_the_order_of_policies_does_not_matter(sides: Scores, random: Any) -> None:
    order = list(range(len(sides[0])))
    random.shuffle(order)
    for measure in MEASURES.values():
        shuffled = float(measure(evaluator=sides[0][order], real=sides[1][order]))
        assert shuffled == pytest.approx(float(measure(evaluator=sides[0], real=sides[1])), nan_ok=True, abs=1e-12)


@given(scores)
def test_order_alone_decides_what_is_about_order(sides: Scores) -> None:
    evaluator, real = sides
    for measure in (spearman, kendall, mmrv):
        bent = float(measure(evaluator=evaluator**3 / 2, real=real))
        assert bent == pytest.approx(float(measure(evaluator=evaluator, real=real)), nan_ok=True)


@given(scores)
def test_values_stay_within_their_bounds(sides: Scores) -> None:
    for name, measure in MEASURES.items():
        value = float(measure(evaluator=sides[0], real=sides[1]))
        low, high = BOUNDS[name]
        assert np.isnan(value) or low - 1e-12 <= value <= high + 1e-12


@given(scores)
def test_a_faithful_evaluator_is_perfect(sides: Scores) -> None:
    real = sides[1]
    assert float(mmrv(evaluator=real, real=real)) == 0
    assert float(optimism(evaluator=real, real=real)) == 0
    if np.ptp(real) > 0:
        assert float(kendall(evaluator=real, real=real)) == pytest.approx(1)
        assert float(kendall(evaluator=1 - real, real=real)) == pytest.approx(-1)


def test_many_draws_at_once_are_as_one_by_one() -> None:
    random = np.random.default_rng(0)
    evaluator, real = random.random((2, 5, 6)).round(1)
    for measure in MEASURES.values():
        alone = [float(measure(evaluator=one, real=other)) for one, other in zip(evaluator, real, strict=True)]
        np.testing.assert_allclose(measure(evaluator=evaluator, real=real), alone)


def test_an_unknown_score_makes_a_draw_undefined() -> None:
    evaluator = np.array([[0.1, 0.5, 0.9], [0.1, np.nan, 0.9]])
    for measure in MEASURES.values():
        values = measure(evaluator=evaluator, real=np.array([[0.2, 0.4, 0.7]] * 2))
        assert np.isfinite(values).tolist() == [True, False]


def test_optimism_is_positive_where_the_evaluator_promises_too_much() -> None:
    assert float(optimism(evaluator=np.array([0.5, 0.7]), real=np.array([0.4, 0.5]))) == pytest.approx(0.15)


def test_dropping_the_policy_that_carries_it_all_ends_the_agreement() -> None:
    evaluator, real = np.array([0.1, 0.2, 0.1, 0.9]), np.array([0.2, 0.1, 0.1, 0.9])
    without = drop_one(evaluator=evaluator, real=real)
    assert float(pearson(evaluator=evaluator, real=real)) > 0.95
    assert without.argmin() == 3
    assert without[3] == pytest.approx(-0.5, abs=1e-5)
