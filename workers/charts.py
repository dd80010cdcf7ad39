"""Geometry of the report's charts: numbers in, percentages and pixels out, which the template draws as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arena.contracts import RankedPolicy

SERIES = (("ceiling", "true frame, encoded"), ("model", "world model"), ("copy", "copy of frame 1"),
          ("wrong_action", "wrong actions"))  # fmt: skip
"""What is drawn of replay fidelity, from behind to the front of the legend."""
WIDTH, HEIGHT = 340, 210
LEFT, RIGHT, TOP, BOTTOM = 38, 14, 12, 30
MARGIN = 0.04
"""Part of the axis that is left free at each end."""
OPEN_MARGIN = 0.15
"""The same where an interval is open, so that its arrow is clear of its score."""
LABEL_WIDTH = 40
"""Labels of horizons that would be closer than this many pixels are left out."""


@dataclass(frozen=True)
class IntervalBar:
    """An interval in percent of the axis. An open end reaches the edge, and is drawn as an arrow."""

    low: float
    score: float
    high: float
    open_low: bool
    open_high: bool


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Forest:
    """Interval bars on one axis, in percent from the left. `zero` is where the group's mean is."""

    bars: tuple[IntervalBar, ...]
    ticks: tuple[Tick, ...]
    zero: float


def forest(places: Sequence[RankedPolicy]) -> Forest:
    """Place scores and intervals on an axis that spans all finite ends."""
    ends = [value for place in places for value in (place.low, place.score, place.high) if math.isfinite(value)]
    low, high = min([*ends, -0.5]), max([*ends, 0.5])
    span = high - low
    low -= span * (OPEN_MARGIN if any(p.low == -math.inf for p in places) else MARGIN)
    high += span * (OPEN_MARGIN if any(p.high == math.inf for p in places) else MARGIN)

    def at(value: float) -> float:
        return round(100 * (min(max(value, low), high) - low) / (high - low), 2)

    bars = [
        IntervalBar(at(p.low), at(p.score), at(p.high), not math.isfinite(p.low), not math.isfinite(p.high))
        for p in places
    ]
    ticks = [Tick(at(value), tick_label(value)) for value in nice_ticks(low, high)]
    return Forest(tuple(bars), tuple(ticks), at(0.0))


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers inside [low, high]."""
    step = 10.0 ** math.floor(math.log10((high - low) / count))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= count)
    first = math.ceil(low / step)
    return [round(i * step, 10) for i in range(first, math.floor(high / step) + 1)]


@dataclass(frozen=True)
class Line:
    """One series of a chart: `points` are pixels, `values` the dB behind them."""

    key: str
    name: str
    points: tuple[tuple[float, float], ...]
    values: tuple[float, ...]

    @property
    def path(self) -> str:
        return " ".join(f"{x:g},{y:g}" for x, y in self.points)


@dataclass(frozen=True)
class Chart:
    """PSNR over the horizon for one view."""

    view: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    rows: tuple[Mapping[str, Any], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def chart(view: str, rows: Sequence[Mapping[str, Any]]) -> Chart:
    """A chart of the rows of one view, which are ordered by horizon. Values that are not finite have no point."""
    seconds = [float(row["seconds"]) for row in rows]
    finite = [v for row in rows for key, _ in SERIES if (v := _psnr(row, key)) is not None]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    padding = max(0.5, 0.12 * (high - low))
    low, high = low - padding, high + padding

    def x(value: float) -> float:
        span = seconds[-1] - seconds[0]
        share = 0.06 + 0.88 * (value - seconds[0]) / span if span else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    lines = []
    for key, name in SERIES:
        known = [(s, v) for s, row in zip(seconds, rows, strict=True) if (v := _psnr(row, key)) is not None]
        lines.append(Line(key, name, tuple((x(s), y(v)) for s, v in known), tuple(v for _, v in known)))
    x_ticks = _uncrowded([Tick(x(s), f"{s:g} s") for s in seconds])
    y_ticks = tuple(Tick(y(v), tick_label(v)) for v in nice_ticks(low, high))
    return Chart(view, tuple(lines), x_ticks, y_ticks, tuple(rows))


def _uncrowded(ticks: Sequence[Tick]) -> tuple[Tick, ...]:
    """Ticks from the last to the first, without the labels of those that have no room."""
    kept: list[Tick] = []
    edge = math.inf
    for tick in reversed(ticks):
        fits = edge - tick.at >= LABEL_WIDTH
        kept.append(tick if fits else Tick(tick.at, ""))
        edge = tick.at if fits else edge
    return tuple(reversed(kept))


def _psnr(row: Mapping[str, Any], key: str) -> float | None:
    value = row["psnr"].get(key)
    return float(value) if value is not None and math.isfinite(value) else None


def tick_label(value: float) -> str:
    """A tick's number, with a typographic minus."""
    return f"{value:g}".replace("-", "−")
