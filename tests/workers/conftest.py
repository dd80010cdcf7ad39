"""Where a command keeps its things in these tests, and what a step works with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from arena.store import Store
from workers.artifacts import Artifacts
from workers.jobs import Context
from workers.registry import Workshop
from workers.settings import Settings


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home that is empty, in a folder that is too, and nothing of the developer's environment."""
    for name in ("DATABASE_URL", "BROKER_URL", "ARTIFACTS"):
        monkeypatch.delenv(f"DREAMARENA_{name}", raising=False)
    monkeypatch.setenv("DREAMARENA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    settings = Settings(home=tmp_path)
    store = Store(settings.store_url)
    yield Context(settings, store, Artifacts(settings.artifacts_location, settings.cache), lambda *_: None, Workshop())
    store.close()
