"""Faults that are brought about for real, and what must hold after each: docs/reliability.md lists them."""

from __future__ import annotations

import sys


def supervised_command() -> list[str]:
    """A worker that ends with the parent whose process id is appended."""
    return [sys.executable, "-m", "tests.workers.faults.worker", "--parent"]
