"""The card of an audit: one HTML file that needs no network, no script and no other file, and the JSON beside it.

It is drawn from the JSON alone, so it shows no number that is not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arena.episodes.atomic import atomic_write
from workers.pages import page_environment
from workers.validation_page import estimate

PAGE, DATA = "audit.html", "audit.json"


def write_audit(found: Mapping[str, Any], out: Path) -> Path:
    """Write `audit.json` and then `audit.html` into the folder `out`; returns the page's path."""
    page = render_audit(found)
    atomic_write(out / DATA, (json.dumps(found, indent=1, allow_nan=False) + "\n").encode())
    atomic_write(out / PAGE, page.encode())
    return out / PAGE


def render_audit(found: Mapping[str, Any]) -> str:
    """The card as HTML."""
    environment = page_environment()
    environment.filters.update(estimate=estimate)
    return environment.get_template("audit.html").render(found=found, headline=headline(found))


def headline(found: Mapping[str, Any]) -> str:
    """What came of the audit, in a sentence that claims no more than it shows."""
    if found["passed"]:
        return "It passed: it was shown to see, and was not shown to be fooled."
    failed = [check["name"] for check in found["checks"] if check["outcome"] == "failed"]
    return f"It failed its audit ({', '.join(failed)}): do not believe a ranking that rests on it."
