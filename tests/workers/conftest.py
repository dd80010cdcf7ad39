"""Where a command keeps its things in these tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home that is empty, in a folder that is too, and nothing of the developer's environment."""
    for name in ("DATABASE_URL", "BROKER_URL", "ARTIFACTS"):
        monkeypatch.delenv(f"DREAMARENA_{name}", raising=False)
    monkeypatch.setenv("DREAMARENA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"
