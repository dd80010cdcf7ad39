"""How pages are made from templates: all text is escaped, a missing number is a dash, a misspelt name an error."""

from __future__ import annotations

import math
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from arena.leaderboard import Rate

TEMPLATES = Path(__file__).parent / "templates"


def page_environment() -> Environment:
    """The environment of all templates. Names in them come from datasets and submitted policies, so all is escaped."""
    # Strict: a misspelt name in the template is an error rather than an empty place in a report.
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, number=number, interval=_interval)
    return environment


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}%"


def number(value: float | None, digits: int = 1) -> str:
    """A number for people; a missing one is a dash and never a zero."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{digits}f}".replace("-", "−")


def _interval(rate: Rate) -> str:
    low, high = rate.interval
    return f"{100 * low:.0f}–{100 * high:.0f}%"
