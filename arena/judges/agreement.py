"""How far raters agree beyond chance: Cohen's kappa for two, Krippendorff's alpha for any number with gaps."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray, InvalidInput
from arena.validation.resampling import interval
from arena.validation.shares import Estimate

DRAWS = 2000
METRICS = ("nominal", "ordinal", "interval")
Rating = Hashable | None


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """`(p_o - p_e) / (1 - p_e)` of two raters on the same units (Cohen 1960, Educ. Psychol. Meas. 20).

    `p_o` is the share of units on which they agree, `p_e` that which their own frequencies would bring by chance. NaN
    without a unit, and where both only ever say the same one thing. Raises `InvalidInput` for unequal lengths.
    """
    if len(first) != len(second):
        raise InvalidInput(f"two raters rate the same units, not {len(first)} and {len(second)}")
    if not first:
        return float("nan")
    observed = float(np.mean([one == other for one, other in zip(first, second, strict=True)]))
    shares = [{value: sum(each == value for each in side) / len(side) for value in {*side}} for side in (first, second)]
    expected = sum(share * shares[1].get(value, 0.0) for value, share in shares[0].items())
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")


def krippendorff_alpha(ratings: Sequence[Sequence[Rating]], metric: str = "nominal") -> float:
    """`1 - D_o / D_e` of raters (rows) on units (columns), None where one did not rate.

    From the coincidence matrix (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability): a unit rated by `m`
    gives each of its ordered pairs the weight `1 / (m - 1)`, and units rated once count for nothing. The differences
    are 0 or 1 (`nominal`), by ranks in the pooled ratings (`ordinal`), or squared (`interval`); the last two need
    numbers. NaN where no unit was rated twice, or all ratings are equal. Raises `InvalidInput` for ragged rows or
    another metric.
    """
    if metric not in METRICS:
        raise InvalidInput(f"the metric must be one of {', '.join(METRICS)}, not {metric!r}")
    if len({len(row) for row in ratings}) > 1:
        raise InvalidInput("every rater has a rating, or None, for every unit")
    values, coincidences = _coincidences(ratings, ordered=metric != "nominal")
    totals = coincidences.sum(axis=0)
    pairs = totals.sum()
    if pairs == 0:
        return float("nan")
    difference = _differences(values, totals, metric)
    observed = float((coincidences * difference).sum())
    expected = float((np.outer(totals, totals) * difference).sum() / (pairs - 1))
    return 1 - observed / expected if expected > 0 else float("nan")


def bootstrapped(
    measure: Callable[[NDArray[np.intp]], float], units: int, seed: int, bounds: tuple[float, float] = (-1.0, 1.0)
) -> Estimate:
    """`measure` of all units (by index, `(U,)`), with its 95% interval when units are drawn anew, within `bounds`."""
    value = measure(np.arange(units))
    random = np.random.default_rng(seed)
    drawn = np.array([measure(random.integers(units, size=units)) for _ in range(DRAWS)])
    return interval(value, drawn, bounds)


def _coincidences(ratings: Sequence[Sequence[Rating]], ordered: bool) -> tuple[list[Hashable], FloatArray]:
    """The values that occur, and `(V, V)` how often they meet within a unit."""
    units = [[value for value in column if value is not None] for column in zip(*ratings, strict=True)]
    units = [unit for unit in units if len(unit) > 1]
    found: set[Hashable] = {value for unit in units for value in unit}
    values = sorted(found, key=lambda value: (float(str(value)) if ordered else 0.0, str(value)))
    place = {value: index for index, value in enumerate(values)}
    matrix = np.zeros((len(values), len(values)))
    for unit in units:
        counts = np.bincount([place[value] for value in unit], minlength=len(values)).astype(float)
        matrix += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    return values, matrix


def _differences(values: Sequence[Hashable], totals: FloatArray, metric: str) -> FloatArray:
    if metric == "nominal":
        return 1.0 - np.eye(len(values))
    # An ordinal value's place is the number of ratings below it, and half of those that are equal to it.
    ranks = np.cumsum(totals) - totals / 2
    places = ranks if metric == "ordinal" else np.array([float(str(value)) for value in values])
    return np.asarray((places[:, None] - places[None, :]) ** 2)
