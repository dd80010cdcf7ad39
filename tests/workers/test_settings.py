"""Settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from arena.contracts import InvalidInput
from workers.settings import load_settings


def test_the_defaults_need_no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HOME", "DATABASE_URL", "BROKER_URL", "ARTIFACTS"):
        monkeypatch.delenv(f"DREAMARENA_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.broker_url is None
    assert settings.store_url == f"sqlite:///{tmp_path}/.dreamarena/arena.db"
    assert settings.artifacts_location == f"{tmp_path}/.dreamarena/artifacts"


def test_the_environment_moves_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMARENA_DATABASE_URL", "postgresql://host/arena")
    monkeypatch.setenv("DREAMARENA_BROKER_URL", "redis://host:6379/0")
    monkeypatch.setenv("DREAMARENA_ARTIFACTS", "memory://arena")
    settings = load_settings()
    assert (settings.store_url, settings.artifacts_location) == ("postgresql://host/arena", "memory://arena")
    assert settings.broker_url == "redis://host:6379/0"


def test_an_unknown_broker_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMARENA_BROKER_URL", "kafka://host")
    with pytest.raises(InvalidInput, match=r"DREAMARENA_BROKER_URL: must start with one of redis://.*kafka"):
        load_settings()
