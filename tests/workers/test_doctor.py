"""What the doctor finds: everything in order, and each thing broken for real."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from arena.store import Store
from tests.services import postgresql_server, postgresql_url, redis_url  # noqa: F401 (fixtures)
from workers import doctor
from workers.cli import main
from workers.doctor import Finding, State
from workers.settings import load_settings

CHECKS = ["database", "artifacts", "broker", "gpu", "rendering", "disk"]


@pytest.fixture(autouse=True)
def _home(home: Path) -> None:
    pass


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process that draws."""
    monkeypatch.setattr(doctor, "_rendering", lambda settings: Finding("rendering", State.OK, "not tried"))


def examined() -> dict[str, Finding]:
    return {each.name: each for each in doctor.examine(load_settings())}


def said(capsys: pytest.CaptureFixture[str], code: int) -> dict[str, Any]:
    assert main(["doctor", "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_machine_in_order(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    found = said(capsys, 0)
    assert found["ok"]
    assert [each["name"] for each in found["checks"]] == CHECKS
    assert {each["state"] for each in found["checks"]} <= {"ok", "warning"}
    assert list((home / "artifacts").iterdir()) == [], "what it wrote is deleted"
    assert not (home / "arena.db").exists(), "looking at a database does not make one"


@pytest.mark.usefixtures("quick")
def test_each_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DREAMARENA_ARTIFACTS", str(tmp_path / "file" / "below"))
    monkeypatch.setenv("DREAMARENA_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("DREAMARENA_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["BROKEN"] * 3
    for line, name in zip(lines, ("DATABASE_URL", "ARTIFACTS", "BROKER_URL"), strict=False):
        assert f"DREAMARENA_{name}" in line.partition("->")[2]
    assert [each["state"] for each in said(capsys, 1)["checks"][:3]] == ["broken"] * 3


@pytest.mark.usefixtures("quick")
def test_databases_of_all_ages(home: Path) -> None:
    Store(load_settings().store_url).close()
    assert "at migration" in examined()["database"].detail
    with sqlite3.connect(home / "arena.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    newer = examined()["database"]
    assert newer.state is State.BROKEN
    assert "migration 9999" in newer.detail
    (home / "arena.db").unlink()
    (home / "arena.db").write_text("no database, but long enough to be taken for one\n" * 200)
    assert examined()["database"].state is State.BROKEN


@pytest.mark.usefixtures("quick")
def test_a_database_of_an_earlier_release_is_migrated(home: Path) -> None:
    from alembic import command

    from arena.store.database import Database, migration_config

    database = Database(load_settings().store_url)
    config = migration_config()
    with database.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    database.close()
    assert "from 0002" in examined()["database"].detail
    assert "at migration" in examined()["database"].detail


def test_rendering_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_RENDER", "raise SystemExit('no EGL here')")
    found = doctor._rendering(load_settings())
    assert (found.state, "no EGL here" in found.detail) == (State.BROKEN, True)
    monkeypatch.setattr(doctor, "_RENDER", "import os; os.kill(os.getpid(), 11)")
    assert "exit code -11" in doctor._rendering(load_settings()).detail
    monkeypatch.setattr(doctor, "_RENDER", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "RENDER_SECONDS", 0.3)
    assert "drew nothing" in doctor._rendering(load_settings()).detail


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1 << 30))
    found = doctor._disk(load_settings())
    assert found.state is State.BROKEN
    assert "1.0 GiB free" in found.detail


def test_a_gpu_that_torch_cannot_use_is_broken_and_none_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert doctor._gpu(load_settings()).state is State.BROKEN
    monkeypatch.setattr(shutil, "which", lambda name: None)
    if not Path("/dev/nvidia0").exists():
        assert doctor._gpu(load_settings()).state is State.WARNING


@pytest.mark.services
def test_services_that_answer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    monkeypatch.setenv("DREAMARENA_BROKER_URL", request.getfixturevalue("redis_url"))
    monkeypatch.setenv("DREAMARENA_DATABASE_URL", request.getfixturevalue("postgresql_url"))
    found = examined()
    assert found["broker"].detail == "answers; messages that wait: 0 in gpu, 0 in cpu, 0 in judge"
    assert found["database"].state is State.OK
