"""From true trials to gains with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Trials = Mapping[tuple[int, str], Sequence[bool]]
"""(seed, pair's name) to what happened in the same placements, in order."""
DRAWS = 4000


def gain(arm: Trials, other: Trials, pairs: Sequence[str]) -> dict[str, float]:
    """Mean difference in true success over seeds and pairs, in points, with a 95% bootstrap interval.

    Placements are paired. Seeds are drawn first and placements within each: fine-tunings of one seed stand or fall
    together.
    """
    seeds = sorted({seed for seed, _ in arm})
    cells = {
        (seed, pair): 100.0 * (np.asarray(arm[seed, pair], float) - np.asarray(other[seed, pair], float))
        for seed in seeds
        for pair in pairs
    }
    random = np.random.default_rng(0)
    draws = [
        np.mean([
            random.choice(cells[seed, pair], len(cells[seed, pair])).mean()
            for seed in random.choice(seeds, len(seeds))
            for pair in pairs
        ])
        for _ in range(DRAWS)
    ]  # fmt: skip
    low, high = np.percentile(draws, [2.5, 97.5])
    value = float(np.mean([each.mean() for each in cells.values()]))
    return {"gain": round(value, 1), "low": round(float(low), 1), "high": round(float(high), 1)}


def rate(arm: Trials, pair: str) -> float:
    """True success of a pair over all seeds."""
    return float(np.mean([value for (_, name), found in arm.items() if name == pair for value in found]))


def verdict(arms: Mapping[str, Any], versus: Mapping[str, Any], worst_good: float) -> dict[str, Any]:
    """Whether the target is met, part by part."""
    synthetic, real = arms["synthetic"]["gain"], arms["real"]["gain"]
    parts = {
        "at_least_20_points": synthetic >= 20.0,
        "at_least_half_of_real": synthetic >= real / 2.0,
        "significantly_above_controls": all(versus[name]["low"] > 0 for name in ("control_world", "longer")),
        "no_good_task_loses_more_than_5": worst_good >= -5.0,
    }
    return {**parts, "met": all(parts.values())}
