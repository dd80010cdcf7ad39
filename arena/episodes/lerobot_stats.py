"""Per-feature statistics in the form that LeRobot stores them, per episode and over a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.contracts import Frames

Stats = dict[str, NDArray[Any]]
"""`min max mean std count` and the quantiles `q01 q10 q50 q90 q99` of one feature."""

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
SAMPLED_FRAMES = 32


def vector_stats(values: NDArray[Any]) -> Stats:
    """Statistics over the rows of `(T, D)` or `(T,)`; each is `(D,)`, `count` is `(1,)`."""
    rows = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    stats: Stats = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    stats["count"] = np.array([len(rows)])
    for quantile, row in zip(QUANTILES, np.quantile(rows, QUANTILES, axis=0), strict=True):
        stats[f"q{round(quantile * 100):02d}"] = row
    return stats


def image_stats(frames: Frames) -> Stats:
    """Statistics per colour channel over evenly sampled frames of `(T, H, W, 3)`; each is `(3, 1, 1)` in [0, 1]."""
    sampled = np.unique(np.linspace(0, len(frames) - 1, SAMPLED_FRAMES).round().astype(int))
    # A channel has 256 levels, so its histogram says everything, ten times faster than sorting its pixels.
    histograms = [np.bincount(frames[sampled, :, :, channel].ravel(), minlength=256) for channel in range(3)]
    channels = [_level_stats(histogram) for histogram in histograms]
    stats: Stats = {name: np.array([c[name] for c in channels]).reshape(3, 1, 1) / 255.0 for name in channels[0]}
    return stats | {"count": np.array([len(sampled)])}


def _level_stats(histogram: NDArray[np.int64]) -> dict[str, float]:
    levels, present = np.arange(len(histogram)), np.flatnonzero(histogram)
    mean = float(np.average(levels, weights=histogram))
    std = float(np.sqrt(np.average((levels - mean) ** 2, weights=histogram)))
    stats = {"min": float(present[0]), "max": float(present[-1]), "mean": mean, "std": std}
    reached = np.cumsum(histogram) / histogram.sum()
    return stats | {f"q{round(q * 100):02d}": float(np.searchsorted(reached, q)) for q in QUANTILES}


def aggregate_stats(episodes: Sequence[Stats]) -> Stats:
    """One feature's statistics over several episodes.

    Exact for `min max mean std count`; a quantile is the weighted mean of the episodes' quantiles, as in LeRobot.
    """
    counts = np.array([float(stats["count"][0]) for stats in episodes])
    weights = counts / counts.sum()

    def weighted(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.asarray(np.tensordot(weights, np.stack(values), axes=1))

    mean = weighted([stats["mean"] for stats in episodes])
    variance = weighted([stats["std"] ** 2 + (stats["mean"] - mean) ** 2 for stats in episodes])
    total: Stats = {
        "min": np.min([stats["min"] for stats in episodes], axis=0),
        "max": np.max([stats["max"] for stats in episodes], axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([int(counts.sum())]),
    }
    for name in (name for name in episodes[0] if name.startswith("q")):
        total[name] = weighted([stats[name] for stats in episodes])
    return total
