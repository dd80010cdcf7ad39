"""What a perturbation changes: each trial against its partner, the same policy and seed in the unperturbed world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from arena.contracts import FloatArray, InvalidInput

CONFIDENCE = 0.95


@dataclass(frozen=True)
class AxisChange:
    """The mean of `pairs` differences (perturbed less partner) with its 95% interval, None for a single pair."""

    axis: str
    policy: str
    pairs: int
    change: float
    low: float | None
    high: float | None


Trial = tuple[str, str, int]
"""A policy, a world's key, and a seed."""


def axis_changes(values: Mapping[Trial, float], partners: Mapping[str, tuple[str, str]]) -> list[AxisChange]:
    """Changes of a measure by axis and policy. `partners` gives a perturbed world's axis and its partner's key.

    Student's interval on the paired differences: what both trials share, the policy's own strength and the seed's
    luck, is no noise in it. Trials without their partner are left out.
    """
    differences: dict[tuple[str, str], list[float]] = {}
    for (policy, key, seed), value in values.items():
        if key not in partners:
            continue
        axis, base = partners[key]
        other = values.get((policy, base, seed))
        if other is not None:
            differences.setdefault((axis, policy), []).append(value - other)
    return [_change(axis, policy, np.array(found)) for (axis, policy), found in sorted(differences.items())]


def path_distance(path: FloatArray, other: FloatArray) -> float:
    """Metres, the mean over time between two flange paths `(T, 3)` of one length."""
    if path.shape != other.shape:
        raise InvalidInput(f"paths of {path.shape} and {other.shape} cannot be compared step by step")
    return float(np.linalg.norm(path - other, axis=1).mean())


def _change(axis: str, policy: str, differences: FloatArray) -> AxisChange:
    mean, count = float(differences.mean()), len(differences)
    if count < 2:
        return AxisChange(axis, policy, count, mean, None, None)
    reach = float(t.ppf((1 + CONFIDENCE) / 2, count - 1) * differences.std(ddof=1) / np.sqrt(count))
    return AxisChange(axis, policy, count, mean, mean - reach, mean + reach)
