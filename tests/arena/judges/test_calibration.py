"""Logistic regression and the measures of a judge, against references and by their properties."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit

from arena.judges.calibration import (
    Logistic,
    TaskLogistic,
    auc,
    balanced_accuracy,
    best_threshold,
    calibration_error,
    cross_validated,
    fit_logistic,
    folds,
    log_loss,
)


def labelled(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    features = random.standard_normal((count, 3))
    return features, random.random(count) < expit(features @ [2.0, -1.0, 0.0] + 0.5)


def test_equal_to_statsmodels_without_a_penalty() -> None:
    features, success = labelled(300)
    ours = fit_logistic(features, success, ridge=1e-9)
    theirs = sm.Logit(success.astype(float), sm.add_constant(features)).fit(disp=0).params
    np.testing.assert_allclose([ours.intercept, *ours.weights], theirs, atol=1e-5)


def test_separable_outcomes_give_finite_weights() -> None:
    features = np.linspace(-1, 1, 20)[:, None]
    model = fit_logistic(features, features[:, 0] > 0, ridge=0.1)
    assert np.isfinite(model.weights).all()
    assert ((model.probability(features) > 0.5) == (features[:, 0] > 0)).all()


def test_a_strong_ridge_stays_with_what_it_is_pulled_toward() -> None:
    features, success = labelled(50)
    around = Logistic(np.array([0.3, 0.2, -0.1]), 0.7)
    model = fit_logistic(features, success, ridge=1e9, around=around)
    np.testing.assert_allclose(model.weights, around.weights, atol=1e-6)
    assert model.intercept == pytest.approx(0.7, abs=1e-6)


def test_tasks_get_their_own_and_unknown_ones_the_common() -> None:
    features = np.tile(np.linspace(-1, 1, 40), 2)[:, None]
    tasks = ["up"] * 40 + ["down"] * 40
    success = np.where(np.arange(80) < 40, features[:, 0] > 0, features[:, 0] < 0)
    model = TaskLogistic.fit(features, success, tasks, ridge=0.1)
    assert balanced_accuracy(model.probability(features, tasks) > 0.5, success) == 1.0
    assert model.probability(np.array([[1.0]]), ["unknown"])[0] == pytest.approx(0.5, abs=0.05)


def test_cross_validation_prefers_a_strong_ridge_for_noise() -> None:
    random = np.random.default_rng(0)
    success = np.arange(60) % 2 == 0
    ridge, probability = cross_validated(random.standard_normal((60, 6)), success, ["t"] * 60, seed=0)
    assert ridge == 10.0
    assert 0.5 < log_loss(probability, success) < 0.9
    features, success = labelled(300)
    _, probability = cross_validated(features, success, ["t"] * 300, seed=0)
    assert log_loss(probability, success) < 0.55


def test_folds_share_out_every_stratum() -> None:
    success, group = np.arange(60) % 3 == 0, (np.arange(60) // 20)
    fold = folds(success, group, seed=1, count=4)
    for each in range(4):
        assert 13 <= (fold == each).sum() <= 17
        for task in range(3):
            assert 1 <= (success & (group == task) & (fold == each)).sum() <= 2
    np.testing.assert_array_equal(fold, folds(success, group, seed=1, count=4))
    assert (fold != folds(success, group, seed=2, count=4)).any()


def test_measures_by_hand() -> None:
    probability, success = np.array([0.9, 0.8, 0.4, 0.1]), np.array([True, False, True, False])
    assert auc(probability, success) == 0.75
    assert auc(np.full(4, 0.5), success) == 0.5
    assert balanced_accuracy(probability > 0.5, success) == 0.5
    assert balanced_accuracy(np.array([True, True]), np.array([True, True])) == 1.0
    assert calibration_error(probability, success, bins=1) == pytest.approx(0.05)
    assert calibration_error(probability, success, bins=4) == pytest.approx((0.1 + 0.8 + 0.6 + 0.1) / 4)
    assert log_loss(np.array([0.5, 0.5]), np.array([True, False])) == pytest.approx(np.log(2))
    assert np.isnan(auc(probability, np.ones(4, dtype=bool)))


def test_threshold_parts_best_and_stays_near_a_half() -> None:
    success = np.array([False, False, True, True])
    assert best_threshold(np.array([0.1, 0.2, 0.8, 0.9]), success) == pytest.approx(0.5)
    low = best_threshold(np.array([0.01, 0.02, 0.2, 0.3]), success)
    assert 0.02 < low < 0.2
