"""A worker's parent: what it starts again, what it passes on, what it ends, and when it gives up."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arena.contracts import InvalidInput
from arena.store import JobStatus, Store
from workers import supervisor
from workers.execution import is_dead, owner_id
from workers.supervisor import Death, freeing, memory_of, supervise


@pytest.fixture(autouse=True)
def _own_signals() -> object:
    """`supervise` takes over this process's."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def program(tmp_path: Path, lines: str) -> list[str]:
    """A worker that counts how often it was started, in `n`, and then does what `lines` say."""
    count = tmp_path / "count"
    head = (
        f"import os, sys, time, signal\np = {str(count)!r}\nn = int(open(p).read()) + 1 if os.path.exists(p) else 1\n"
    )
    return [sys.executable, "-c", f"{head}open(p, 'w').write(str(n))\n{lines}\n"]


@pytest.mark.parametrize("code", [0, 2])
def test_a_worker_that_ends_by_itself_is_not_started_again(code: int, tmp_path: Path) -> None:
    deaths: list[Death] = []
    assert supervise(program(tmp_path, f"sys.exit({code})"), 0, deaths.append) == code
    assert (deaths, (tmp_path / "count").read_text()) == ([], "1")


def test_one_that_dies_is_started_again_and_its_death_is_told(tmp_path: Path) -> None:
    deaths: list[Death] = []
    lines = "os.kill(os.getpid(), signal.SIGKILL) if n == 1 else sys.exit(7 if n == 2 else 0)"
    assert supervise(program(tmp_path, lines), 0, deaths.append) == 0
    assert [(death.code, death.reason.split(",")[0]) for death in deaths] == [
        (-9, "was killed (SIGKILL"),
        (7, "ended with exit code 7"),
    ]
    assert all(is_dead(death.owner) for death in deaths)
    assert len({death.owner for death in deaths}) == 2


def test_one_that_cannot_even_begin_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor.time, "sleep", lambda seconds: None)
    deaths: list[Death] = []
    assert supervise(program(tmp_path, "sys.exit(1)"), 0, deaths.append) == 1
    assert len(deaths) == supervisor.QUICK_DEATHS


def test_one_that_takes_too_much_memory_is_ended(tmp_path: Path) -> None:
    deaths: list[Death] = []
    lines = "taken = bytearray(b'x' * (300 << 20)) if n == 1 else sys.exit(0)\ntime.sleep(60)"
    began = time.monotonic()
    assert supervise(program(tmp_path, lines), 0.15, deaths.append) == 0
    assert time.monotonic() - began < 50
    [death] = deaths
    assert "GiB of memory, of 0.15 that it may" in death.reason


def test_memory_counts_children_too() -> None:
    lines = "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', sys.argv[1]])\ntime.sleep(60)"
    child = "import time; taken = bytearray(b'x' * (200 << 20)); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", lines, child], start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while memory_of(process.pid) < 200 << 20:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        import os

        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
    assert memory_of(process.pid) == 0


def test_a_limit_below_zero_is_refused() -> None:
    with pytest.raises(InvalidInput, match="--memory-gib must be 0"):
        supervise(["true"], -1.0, lambda death: None)


def test_what_a_dead_worker_held_is_free_at_once_with_the_reason(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'a.db'}")
    dead = "host:1:2"
    for key in ("held", "cancelled", "of another"):
        store.jobs.submit(key, "test", {})
        store.jobs.mark_sent(key)
        store.jobs.acquire(key, owner_id() if key == "of another" else dead)
    store.jobs.cancel("cancelled", "ann")
    freeing(store)(Death(dead, -9, "was killed (SIGKILL)"))
    held = store.jobs.get("held")
    assert held.error == {"type": "WorkerLost", "message": "its worker was killed (SIGKILL)", "user": False}
    assert not store.jobs.is_held(held)
    assert store.jobs.is_held(store.jobs.get("of another"))
    assert {job.key for job in store.jobs.unsent(float("inf"))} == {"held", "cancelled"}
    for attempt in (2, 3):
        assert store.jobs.acquire("held", dead) is not None
        assert store.jobs.get("held").attempts == attempt
        freeing(store)(Death(dead, -9, "was killed (SIGKILL)"))
    assert store.jobs.acquire("held", dead) is None
    failed = store.jobs.get("held")
    assert (failed.status, (failed.error or {})["message"]) == (JobStatus.FAILED, "its worker was killed (SIGKILL)")
    assert store.jobs.acquire("cancelled", "heir") is None
    assert (store.jobs.get("cancelled").error or {})["message"] == "cancelled by ann"
    store.close()
