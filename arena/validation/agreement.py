"""How well an evaluator's scores of policies agree with reality's: r, rho, tau, MMRV and optimism.

Every measure takes both sides by name and `(..., K)` scores of the same `K` policies in [0, 1], and gives `(...)`:
many draws of a bootstrap at once. NaN, in or out, means undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from arena.contracts import FloatArray

EPSILON = 1e-8
"""What the released SIMPLER code adds to the denominator of r."""


def pearson(*, evaluator: FloatArray, real: FloatArray) -> FloatArray:
    """Pearson's r, as the code of SIMPLER (arXiv 2405.05941) computes it: `EPSILON` is in its denominator.

    That lowers r a little where scores hardly differ. Undefined where one side's scores are all equal.
    """
    x, y = _centred(evaluator), _centred(real)
    r = (x * y).sum(-1) / (np.sqrt((x * x).sum(-1) * (y * y).sum(-1)) + EPSILON)
    return _unless_constant(r, evaluator, real)


def spearman(*, evaluator: FloatArray, real: FloatArray) -> FloatArray:
    """Spearman's rho: r of the ranks, ties sharing their mean rank. Undefined where one side's scores are all equal."""
    x, y = _centred(rankdata(evaluator, axis=-1)), _centred(rankdata(real, axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    return _unless_constant(rho, evaluator, real)


def kendall(*, evaluator: FloatArray, real: FloatArray) -> FloatArray:
    """Kendall's tau-b, which corrects for ties. Undefined where one side's scores are all equal."""
    x, y = np.sign(_differences(evaluator)), np.sign(_differences(real))
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = (x * y).sum((-2, -1)) / np.sqrt((x * x).sum((-2, -1)) * (y * y).sum((-2, -1)))
    return _unless_constant(tau, evaluator, real)


def mmrv(*, evaluator: FloatArray, real: FloatArray) -> FloatArray:
    """Mean maximum rank violation, the convention of SIMPLER (arXiv 2405.05941) and its code; 0 is best.

    Policies `i` and `j` violate by `|real_i - real_j|` where `evaluator_i > evaluator_j` is not
    `real_i > real_j`, and else by 0. For each `i` the worst `j` counts, and these are averaged over `i`. A tie on
    one side only is thus a violation for the policy that the other side puts first, and for that one alone.
    """
    gap = np.abs(_differences(real))
    wrong = (_differences(evaluator) > 0) != (_differences(real) > 0)
    known = np.isfinite(evaluator).all(-1) & np.isfinite(real).all(-1)
    return np.where(known, (gap * wrong).max(-1).mean(-1), np.nan)


def optimism(*, evaluator: FloatArray, real: FloatArray) -> FloatArray:
    """Mean of evaluator minus real over the policies: above 0, the evaluator promises too much."""
    return np.asarray((evaluator - real).mean(-1))


Measure = Callable[..., FloatArray]
MEASURES: Mapping[str, Measure] = {
    "pearson": pearson,
    "spearman": spearman,
    "kendall": kendall,
    "mmrv": mmrv,
    "optimism": optimism,
}
CORRELATIONS = ("pearson", "spearman", "kendall")
BOUNDS: Mapping[str, tuple[float, float]] = {
    "pearson": (-1.0, 1.0),
    "spearman": (-1.0, 1.0),
    "kendall": (-1.0, 1.0),
    "mmrv": (0.0, 1.0),
    "optimism": (-1.0, 1.0),
}
"""What no value of a measure exceeds."""


def drop_one(*, evaluator: FloatArray, real: FloatArray) -> FloatArray:
    """`(K,)`: Pearson's r without each of the `K` policies in turn, from `(K,)` scores."""
    kept = ~np.eye(evaluator.shape[-1], dtype=bool)
    return np.array([pearson(evaluator=evaluator[keep], real=real[keep]) for keep in kept])


def _centred(scores: FloatArray) -> FloatArray:
    return np.asarray(scores - scores.mean(-1, keepdims=True))


def _differences(scores: FloatArray) -> FloatArray:
    """`(..., K, K)`: row minus column."""
    return np.asarray(scores[..., :, None] - scores[..., None, :])


def _unless_constant(value: FloatArray, *sides: FloatArray) -> FloatArray:
    varies: NDArray[np.bool_] = np.logical_and(*(side.max(-1) > side.min(-1) for side in sides))
    return np.where(varies, value, np.nan)
