"""The page of a validation: one HTML file that needs no network, no script and no other file, and the JSON beside it.

It is drawn from the JSON alone, so it shows no number that is not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arena.episodes.atomic import atomic_write
from workers.charts import tick_label
from workers.pages import number, page_environment
from workers.validation_charts import calibration_square, score_square, strip

PAGE, DATA = "validation.html", "validation.json"
LARGE, MIDDLE, SMALL = 440, 320, 220
"""Sides of the square charts in pixels."""
NAMES = {
    "pearson": "Pearson r",
    "spearman": "Spearman ρ",
    "kendall": "Kendall τ",
    "mmrv": "MMRV",
    "optimism": "Optimism",
}


def write_validation(found: Mapping[str, Any], out: Path) -> Path:
    """Write `validation.json` and then `validation.html` into the folder `out`; returns the page's path.

    `found` is `arena.validation.Validation` as JSON, with the version of the `code`.
    """
    page = render_validation(found)
    atomic_write(out / DATA, (json.dumps(found, indent=1, allow_nan=False) + "\n").encode())
    atomic_write(out / PAGE, page.encode())
    return out / PAGE


def render_validation(found: Mapping[str, Any]) -> str:
    """The page as HTML."""
    environment = page_environment()
    environment.filters.update(estimate=estimate, rate=rate)
    calibration, dropped = found["calibration"], found["drop_one"]["without"]
    return environment.get_template("validation.html").render(
        found=found,
        names=NAMES,
        headline=headline(found),
        scatter=score_square(found["scores"], LARGE, labels=True),
        panels=[(task, score_square(task["scores"], SMALL, labels=False)) for task in found["tasks"]],
        drop_one=strip([[{"value": row["pearson"]}] for row in dropped], found["pearson"]["value"])
        if dropped
        else None,
        calibration=calibration_square(calibration["bins"], MIDDLE) if calibration else None,
        optimism=strip([[task["optimism"]] for task in found["tasks"]], 0.0),
        corrected=strip(
            [[row["real"], row["corrected"]["rate"]] if row["corrected"] else [row["real"]] for row in found["scores"]],
            None,
        ),
        tick_label=tick_label,
    )


def headline(found: Mapping[str, Any]) -> str:
    """What was measured, in a sentence."""
    if found["pearson"]["value"] is None:
        return f"No correlation is defined over these {found['policies']} policies."
    said = "Preliminary: " if found["preliminary"] else ""
    return f"{said}Pearson r is {estimate(found['pearson'], 2)} over {found['policies']} policies."


def estimate(value: Mapping[str, float | None], digits: int = 2, joined: str = " to ") -> str:
    """A value with its interval, where there is one."""
    if value["low"] is None or value["high"] is None:
        return number(value["value"], digits)
    ends = joined.join(number(value[end], digits) for end in ("low", "high"))
    return f"{number(value['value'], digits)} ({ends})"


def rate(value: Mapping[str, float | None], digits: int = 2) -> str:
    """A share with its interval, shorter than `estimate`: shares are never negative, so a dash is no minus."""
    return estimate(value, digits, joined="–")
