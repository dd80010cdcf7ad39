"""Intervals for success rates, and ends of intervals that are open."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054
"""Two-sided 95% quantile of the normal distribution."""


def wilson(share: float, trials: float, quantile: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share among `trials`, of which there may be a fraction.

    It stays inside [0, 1] and is honest at 0 of n and n of n.
    """
    scale = 1 + quantile**2 / trials
    centre = share + quantile**2 / (2 * trials)
    reach = quantile * math.sqrt(share * (1 - share) / trials + quantile**2 / (4 * trials**2))
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)


def closed_end(value: float) -> float | None:
    """An interval's end as JSON has it: None where it is open."""
    return value if math.isfinite(value) else None
