"""Jobs that a page starts: done by a process of their own, taken up after a dead one, never twice at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from arena.store import JobStatus, Store
from tests.workers.dots import write_dataset
from workers import launch
from workers.evaluation import Dataset
from workers.execution import owner_id
from workers.jobs import Request
from workers.settings import load_settings
from workers.tasks import STEPS

SECONDS = 90.0


@pytest.fixture
def request_of(tmp_path: Path, home: Path) -> Request:
    """A job that takes seconds."""
    known = Dataset.at(write_dataset(tmp_path / "dots", 2))
    inputs = {"path": known.path, "layout": known.layout, "fingerprint": known.fingerprint}
    return Request("ingest", STEPS["ingest"].inputs(**inputs))


def settled(store: Store, key: str) -> JobStatus:
    until = time.monotonic() + SECONDS
    while (status := store.jobs.get(key).status) not in (JobStatus.DONE, JobStatus.FAILED):
        assert time.monotonic() < until, store.jobs.get(key)
        time.sleep(0.2)
    return status


def test_a_job_is_done_by_a_process_of_its_own(request_of: Request) -> None:
    settings = load_settings()
    store = Store(settings.store_url)
    job = launch.launch(request_of, settings, store)
    assert settled(store, job.key) is JobStatus.DONE
    done = store.jobs.get(job.key)
    assert launch.launch(request_of, settings, store) == done


def test_a_job_that_a_dead_process_held_is_taken_up(request_of: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    store = Store(settings.store_url)
    spawned: list[str] = []
    monkeypatch.setattr(launch, "_spawn", lambda key, settings: spawned.append(key))
    job = launch.launch(request_of, settings, store)
    assert spawned == [job.key]
    # This process holds it, and lives.
    assert store.jobs.acquire(job.key, owner_id(), 60.0) is not None
    assert launch.launch(request_of, settings, store).status is JobStatus.RUNNING
    assert len(spawned) == 1
    # Its lease runs out, as after a power cut.
    store.jobs.evict(job.key, owner_id())
    launch.launch(request_of, settings, store)
    assert len(spawned) == 2


def test_a_job_that_fails_says_why_and_is_tried_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    store = Store(settings.store_url)
    store.jobs.submit("k" * 64, "no such step", {})
    assert launch.main("k" * 64) == 1
    job = store.jobs.get("k" * 64)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    spawned: list[str] = []
    monkeypatch.setattr(launch, "_spawn", lambda key, settings: spawned.append(key))
    assert launch.again(job.key, settings, store).status is JobStatus.QUEUED
    assert spawned == [job.key]
