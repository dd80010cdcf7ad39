"""Few real trials correct an evaluator: prediction-powered estimates of a policy's real success rate.

The evaluator's mean over many scenes is precise and may be wrong; real trials in some of these scenes are right and
few. Their sum is both: `mean(real) + tuning * (mean(evaluator elsewhere) - mean(evaluator in the same scenes))`, which
has no bias whatever the evaluator says (prediction-powered inference, Angelopoulos et al. 2023, arXiv 2301.09633). The
tuning that makes it vary least comes from the data (PPI++, arXiv 2311.01453): 0 for an evaluator that knows nothing,
which leaves the real trials alone.

Scenes are taken to be drawn at random within their task, and the ones with real trials like the others; each task
weighs equally. The papers' intervals are for many pairs. With few, the tuning follows chance, and the variance of what
is left comes out too small; so the tuning is shrunk by `PRIOR_SCENES` scenes, one degree of freedom is taken off for
it, and the interval is `share_interval`'s. Simulations in the tests hold it to its 95%.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arena.contracts import FloatArray, InvalidInput
from arena.validation.shares import PRIOR_SCENES, Estimate, Spread, share_interval, spread
from arena.validation.strata import Labels, strata

FEWEST_PAIRS = 3
NO_SPREAD = 1e-12
"""An evaluator whose variance within tasks is below this says the same everywhere."""


@dataclass(frozen=True)
class Corrected:
    """A policy's real success rate from both sides. `power_tuning` is PPI++'s lambda, averaged over tasks."""

    rate: Estimate
    power_tuning: float
    pairs: int
    evaluator_only: int


def prediction_powered(
    *, real: FloatArray, paired: FloatArray, paired_task: Labels, unpaired: FloatArray, unpaired_task: Labels
) -> Corrected:
    """Correct what an evaluator says of one policy by its real trials.

    `real` and `paired` are `(n,)`: the success rate in each scene that both tried, and what the evaluator says of it.
    `unpaired` is `(N,)`: what it says of scenes that only it tried. `*_task` number each scene's task from 0 up.
    Raises `InvalidInput` for fewer than `FEWEST_PAIRS` pairs, and for a task without one.
    """
    tasks = 1 + max(*paired_task, *unpaired_task, 0)
    pairs, others = np.bincount(paired_task, minlength=tasks), np.bincount(unpaired_task, minlength=tasks)
    if len(real) < FEWEST_PAIRS or not pairs.all():
        raise InvalidInput(f"a correction needs {FEWEST_PAIRS} scenes that both tried, and one in each task")
    slope = _slope(real, paired, paired_task, unpaired, unpaired_task)
    # Lambda of PPI++ differs from the slope by N / (n + N), and is clipped as in its authors' code.
    tuning = np.clip(slope, 0, 1) * others / (pairs + others)

    weights = 1 / (tasks * pairs[paired_task])
    weights_elsewhere = 1 / (tasks * others[unpaired_task])
    rest = real - tuning[paired_task] * paired
    elsewhere = tuning[unpaired_task] * unpaired
    value = float((weights * rest).sum() + (weights_elsewhere * elsewhere).sum())
    found = spread(rest, weights, strata(paired_task.tolist()))
    if len(unpaired):
        more = spread(elsewhere, weights_elsewhere, strata(unpaired_task.tolist())).variance
        found = Spread(found.variance + more, found.freedom)
    low, high = share_interval(value, found, weights, fitted=1)
    rate = Estimate(min(max(value, 0.0), 1.0), low, high)
    return Corrected(rate, float(tuning.mean()), len(real), len(unpaired))


def _slope(
    real: FloatArray, paired: FloatArray, paired_task: Labels, unpaired: FloatArray, unpaired_task: Labels
) -> float:
    """Of reality on the evaluator within tasks, shrunk toward 0: with three pairs by half."""
    groups = strata(paired_task.tolist())
    freedom = int((np.bincount(groups) - 1).sum())
    covariance = (_centred(real, groups) * _centred(paired, groups)).sum() / freedom
    everywhere, tasks = np.concatenate([paired, unpaired]), np.concatenate([paired_task, unpaired_task])
    all_groups = strata(tasks.tolist())
    variance = (_centred(everywhere, all_groups) ** 2).sum() / (np.bincount(all_groups) - 1).sum()
    return float(covariance / variance * freedom / (freedom + PRIOR_SCENES)) if variance > NO_SPREAD else 0.0


def _centred(values: FloatArray, groups: Labels) -> FloatArray:
    return np.asarray(values - (np.bincount(groups, values) / np.bincount(groups))[groups])
