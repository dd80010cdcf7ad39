"""From scores to probabilities that mean what they say: ridge logistic regression, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from arena.contracts import FloatArray

FOLDS = 5
RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Weaker ones part a small calibration set perfectly and are overconfident beyond it."""
ECE_BINS = 5
"""Few, since held-out sets are small."""


@dataclass(frozen=True)
class Logistic:
    """`P(success) = expit(features @ weights + intercept)`, `weights` being `(F,)`."""

    weights: FloatArray
    intercept: float

    def probability(self, features: FloatArray) -> FloatArray:
        """`(N, F)` to `(N,)`."""
        return np.asarray(expit(self.logit(features)))

    def logit(self, features: FloatArray) -> FloatArray:
        """`(N, F)` to `(N,)` log-odds."""
        return np.asarray(features @ self.weights + self.intercept)


def fit_logistic(
    features: FloatArray, success: NDArray[np.bool_], ridge: float, around: Logistic | None = None
) -> Logistic:
    """Logistic regression of `(N,)` outcomes on `(N, F)` features by Newton's method.

    `ridge` is the penalty on the squared distance of the weights from those of `around` (0 if None). The
    intercept is held at `around`'s in the same way, and is only barely penalised where there is none.
    """
    design = np.column_stack([features, np.ones(len(features))])
    centre = np.zeros(design.shape[1]) if around is None else np.append(around.weights, around.intercept)
    penalty = np.full(design.shape[1], ridge)
    if around is None:
        penalty[-1] = min(ridge, 1e-2)
    parameters = centre.copy()
    for _ in range(100):
        expected = expit(design @ parameters)
        gradient = design.T @ (expected - success) + penalty * (parameters - centre)
        hessian = (design * (expected * (1 - expected))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        # Far from the optimum a full Newton step can overshoot for ever.
        parameters = parameters - step * min(1.0, 4.0 / max(float(np.abs(design @ step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return Logistic(parameters[:-1], float(parameters[-1]))


def log_loss(probability: FloatArray, success: NDArray[np.bool_]) -> float:
    """Mean negative log-likelihood in nats; lower is better, 0.69 is a coin."""
    likelihood = np.where(success, probability, 1 - probability)
    return float(-np.log(np.clip(likelihood, 1e-6, 1)).mean())


def folds(success: NDArray[np.bool_], group: NDArray[np.intp], seed: int, count: int = FOLDS) -> NDArray[np.intp]:
    """`(N,)` fold of each trial: each fold gets its share of every group's successes and failures."""
    random = np.random.default_rng(seed)
    fold = np.zeros(len(success), dtype=np.intp)
    offset = 0
    for stratum in np.unique(np.stack([group, success]), axis=1).T:
        members = np.flatnonzero((group == stratum[0]) & (success == stratum[1]))
        fold[random.permutation(members)] = (np.arange(len(members)) + offset) % count
        offset += len(members)
    return fold


def best_threshold(probability: FloatArray, success: NDArray[np.bool_]) -> float:
    """The probability that parts successes from failures with the highest balanced accuracy.

    Of thresholds that do equally well the one nearest 1/2, which is where a calibrated judge has it.
    """
    edges = np.unique(np.append(probability, [0.0, 1.0]))
    candidates = np.append((edges[:-1] + edges[1:]) / 2, 0.5)
    scores = np.array([balanced_accuracy(probability >= candidate, success) for candidate in candidates])
    best = candidates[scores >= scores.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])


def balanced_accuracy(said: NDArray[np.bool_], success: NDArray[np.bool_]) -> float:
    """Mean of the accuracies on successes and on failures (on the one there is, if there is only one)."""
    return float(np.mean([(said == success)[success == outcome].mean() for outcome in np.unique(success)]))


def auc(probability: FloatArray, success: NDArray[np.bool_]) -> float:
    """How often a success is scored above a failure, ties counting half; NaN without one of either."""
    above = probability[success][:, None] - probability[~success][None, :]
    return float(((above > 0) + 0.5 * (above == 0)).mean()) if above.size else float("nan")


def calibration_error(probability: FloatArray, success: NDArray[np.bool_], bins: int = ECE_BINS) -> float:
    """Expected calibration error over `bins` bins of equal count (Naeini et al. 2015)."""
    parts = np.array_split(np.argsort(probability, kind="stable"), min(bins, len(probability)))
    gaps = [len(part) * abs(probability[part].mean() - success[part].mean()) for part in parts]
    return float(np.sum(gaps) / len(probability))


@dataclass(frozen=True)
class TaskLogistic:
    """One logistic for all tasks, and one for each task with labelled trials, pulled toward the common one.

    Features are standardised by `mean` and `scale` `(F,)`. The fewer trials a task has, the nearer its own
    stays to the common one, which also serves tasks that have none.
    """

    mean: FloatArray
    scale: FloatArray
    common: Logistic
    own: Mapping[str, Logistic]

    @classmethod
    def fit(cls, features: FloatArray, success: NDArray[np.bool_], tasks: Sequence[str], ridge: float) -> TaskLogistic:
        mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
        standard = (features - mean) / scale
        common = fit_logistic(standard, success, ridge)
        named = np.array(tasks)
        own = {
            task: fit_logistic(standard[named == task], success[named == task], ridge, common)
            for task in sorted(set(tasks))
        }
        return cls(mean, scale, common, own)

    def probability(self, features: FloatArray, tasks: Sequence[str]) -> FloatArray:
        """`(N, F)` and `N` tasks to `(N,)`."""
        standard = (features - self.mean) / self.scale
        logistics = [self.own.get(task, self.common) for task in tasks]
        return np.array([each.probability(row[None])[0] for each, row in zip(logistics, standard, strict=True)])


def cross_validated(
    features: FloatArray, success: NDArray[np.bool_], tasks: Sequence[str], seed: int
) -> tuple[float, FloatArray]:
    """The ridge of `RIDGES` with the lowest log-loss out of fold, and the `(N,)` probabilities out of fold with it."""
    named = np.array(tasks)
    fold = folds(success, np.unique(named, return_inverse=True)[1], seed)
    outcomes = []
    for ridge in RIDGES:
        probability = np.zeros(len(success))
        for each in np.unique(fold):
            inside, outside = fold != each, fold == each
            model = TaskLogistic.fit(features[inside], success[inside], named[inside].tolist(), ridge)
            probability[outside] = model.probability(features[outside], named[outside].tolist())
        outcomes.append((log_loss(probability, success), ridge, probability))
    _, ridge, probability = min(outcomes, key=lambda outcome: outcome[0])
    return ridge, probability
