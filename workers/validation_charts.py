"""Geometry of the validation page's charts: shares and intervals in, pixels and percentages out, drawn as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.charts import Tick, nice_ticks, tick_label

Estimate = Mapping[str, float | None]
"""`value`, `low` and `high` as the JSON has them."""

LEFT, RIGHT, TOP, BOTTOM = 40, 12, 12, 30
SMALLEST_DOT, LARGEST_DOT = 3.0, 11.0
MARGIN = 0.06
"""Part of a strip's axis that is left free at each end."""
LEAST_SPAN = 0.2
"""An axis is no shorter, so that small differences look small."""


@dataclass(frozen=True)
class Dot:
    """A point in pixels with whiskers on both axes, whose ends are its own place where there is no interval."""

    x: float
    y: float
    left: float
    right: float
    bottom: float
    top: float
    label: str
    title: str
    radius: float


@dataclass(frozen=True)
class Square:
    """Two shares against each other, 0 to 1 on both axes; the identity goes from corner to corner."""

    dots: tuple[Dot, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    size: int
    left: int
    right: int
    top: int
    bottom: int


def score_square(rows: Sequence[Mapping[str, Any]], size: int, labels: bool) -> Square:
    """Reality on the x axis and the evaluator on the y axis, a dot for each row's `real` and `evaluator` estimates.

    With `labels`, dots are numbered in the order of the rows.
    """
    place = _Place(size)
    dots = [
        _dot(place, row["real"], row["evaluator"], str(index) if labels else "", row["policy"])
        for index, row in enumerate(rows, start=1)
    ]
    return _square(place, dots, size)


def calibration_square(bins: Sequence[Mapping[str, Any]], size: int) -> Square:
    """What the evaluator says on the x axis, what came of it on the y axis; the more pairs, the larger the dot."""
    place, most = _Place(size), max(row["pairs"] for row in bins)
    dots = [
        _dot(
            place,
            {"value": row["evaluator"]},
            {"value": row["real"]},
            "",
            f"{row['pairs']} pairs",
            SMALLEST_DOT + (LARGEST_DOT - SMALLEST_DOT) * (row["pairs"] / most) ** 0.5,
        )
        for row in bins
    ]
    return _square(place, dots, size)


@dataclass(frozen=True)
class Mark:
    """An estimate in percent of a strip's axis. `low` and `high` are `at` where there is no interval."""

    at: float
    low: float
    high: float


@dataclass(frozen=True)
class Strip:
    """Estimates below each other on one axis; None for one without a value. `reference` is a line to compare with."""

    marks: tuple[tuple[Mark | None, ...], ...]
    ticks: tuple[Tick, ...]
    reference: float | None


def strip(rows: Sequence[Sequence[Estimate]], reference: float | None) -> Strip:
    """Each row's estimates on an axis that spans them all and the reference."""
    ends = [end for row in rows for estimate in row for end in estimate.values() if end is not None]
    ends += [reference] if reference is not None else []
    high = max(ends, default=1.0)
    low = min([*ends, high - LEAST_SPAN])
    margin = (high - low) * MARGIN
    low, high = low - margin, high + margin

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    def mark(estimate: Estimate) -> Mark | None:
        value = estimate["value"]
        if value is None:
            return None
        ends = [estimate.get("low"), estimate.get("high")]
        return Mark(at(value), *(at(value if end is None else end) for end in ends))

    marks = tuple(tuple(mark(estimate) for estimate in row) for row in rows)
    ticks = tuple(Tick(at(value), tick_label(value)) for value in nice_ticks(low, high, 6))
    return Strip(marks, ticks, None if reference is None else at(reference))


@dataclass(frozen=True)
class _Place:
    """Shares to pixels."""

    size: int

    def x(self, share: float) -> float:
        return round(LEFT + share * (self.size - LEFT - RIGHT), 1)

    def y(self, share: float) -> float:
        return round(self.size - BOTTOM - share * (self.size - TOP - BOTTOM), 1)


def _dot(place: _Place, x: Estimate, y: Estimate, label: str, title: str, radius: float = 5.0) -> Dot:
    (x_value, x_low, x_high), (y_value, y_low, y_high) = _ends(x), _ends(y)
    return Dot(
        x=place.x(x_value),
        y=place.y(y_value),
        left=place.x(x_low),
        right=place.x(x_high),
        bottom=place.y(y_low),
        top=place.y(y_high),
        label=label,
        title=title,
        radius=round(radius, 1),
    )


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    value = estimate["value"]
    assert value is not None
    low, high = estimate.get("low"), estimate.get("high")
    return value, value if low is None else low, value if high is None else high


def _square(place: _Place, dots: Sequence[Dot], size: int) -> Square:
    shares = (0.0, 0.5, 1.0) if size < 300 else (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    return Square(
        tuple(dots),
        x_ticks=tuple(Tick(place.x(share), tick_label(share)) for share in shares),
        y_ticks=tuple(Tick(place.y(share), tick_label(share)) for share in shares),
        size=size,
        left=LEFT,
        right=size - RIGHT,
        top=TOP,
        bottom=size - BOTTOM,
    )
