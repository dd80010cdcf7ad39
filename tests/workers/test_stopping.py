"""Jobs that are cancelled, urgent or asked for again: in this process, a launched one, and by a broker's workers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arena.store import JobStatus, NotFound, Store
from tests.workers.test_jobs import Counted, Number, Recorded
from workers import launch
from workers.app import make_app, register, task_name
from workers.cli import main
from workers.execution import JobCancelled, execute
from workers.jobs import Context, Json, Request
from workers.runner import BrokerUnreachable, run_jobs
from workers.settings import load_settings

SECONDS = 30.0


def request(x: int = 3) -> Request:
    return Request("count", Number(x=x))


def submit(context: Context, x: int = 3, priority: int = 0) -> str:
    return context.store.jobs.submit(request(x).key, "count", {"x": x}, priority).key


def batches(cancel: Callable[[], object], log: list[int]) -> Callable[[Number, Context], Json]:
    """A step of ten batches, during whose third one somebody cancels."""

    def work(inputs: Number, context: Context) -> Json:
        for batch in range(10):
            context.progress(batch, 10, f"batch {batch}")
            log.append(batch)
            if batch == 2:
                cancel()
        return {}

    return work


def test_a_job_that_waits_never_starts(context: Context) -> None:
    step = Counted()
    key = submit(context)
    context.store.jobs.cancel(key, "ann")
    assert execute(step.steps, context, key).status is JobStatus.CANCELLED
    assert step.runs == 0


def test_a_job_that_runs_stops_at_its_next_batch_and_says_so(context: Context) -> None:
    log: list[int] = []
    key = submit(context)
    step = Counted(batches(lambda: context.store.jobs.cancel(key, "ann"), log))
    job = execute(step.steps, context, key)
    assert log == [0, 1, 2]
    assert job.status is JobStatus.CANCELLED
    assert (job.error or {})["message"] == "cancelled by ann"
    assert (job.done, job.total) == (3, 10)


def test_whoever_waits_for_a_cancelled_job_is_told(context: Context) -> None:
    log: list[int] = []
    step = Counted(batches(lambda: context.store.jobs.cancel(request().key, "ann"), log))
    with pytest.raises(JobCancelled, match="count was cancelled by ann"):
        run_jobs([request()], step.steps, context)
    assert run_jobs([request()], Counted().steps, context) == [{"square": 9}], "asked for again, it is done"


def test_a_job_within_a_cancelled_one_is_put_back_at_no_cost(context: Context) -> None:
    log: list[int] = []
    outer = submit(context, 1)
    inner = Counted(batches(lambda: context.store.jobs.cancel(outer, "ann"), log))

    def work(inputs: Number, watched: Context) -> Json:
        [found] = run_jobs([request(2)], inner.steps, watched)
        return found

    assert execute(Counted(work).steps, context, outer).status is JobStatus.CANCELLED
    within = context.store.jobs.get(request(2).key)
    assert (within.status, within.attempts) == (JobStatus.QUEUED, 0)
    assert log == [0, 1, 2]


def test_a_ticket_does_the_most_urgent_job_of_its_kind(context: Context) -> None:
    order: list[int] = []

    def work(inputs: Number, context: Context) -> Json:
        order.append(inputs.x)
        return {}

    app = make_app("memory://")
    register(app, Counted(work).steps, lambda: context)
    keys = [submit(context, x, priority) for x, priority in ((1, 0), (2, 0), (3, 7))]
    for key in keys:
        context.store.jobs.mark_sent(key)
    for key in keys:
        app.tasks[task_name("count")](key)
    assert order == [3, 2, 1], "the urgent one went first, and its own ticket does the one that it overtook"


@pytest.mark.usefixtures("home")
def test_launched_jobs_are_done_by_one_process_the_most_urgent_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = load_settings()
    store = Store(settings.store_url)
    order: list[int] = []

    def work(inputs: Number, context: Context) -> Json:
        if not order:
            # One that comes while another is done goes before those that wait.
            key = store.jobs.submit(request(9).key, "count", {"x": 9}, priority=9).key
            store.jobs.mark_sent(key)
        order.append(inputs.x)
        return {}

    monkeypatch.setattr("workers.cli.session.Session.steps", lambda self: Counted(work).steps)
    keys = [store.jobs.submit(request(x).key, "count", {"x": x}).key for x in (1, 2, 3)]
    store.jobs.cancel(keys[1], "ann")
    for key in keys:
        store.jobs.mark_sent(key)
    assert launch.main(keys[0]) == 0
    assert order == [1, 9, 3]


@pytest.mark.usefixtures("home")
def test_a_fault_of_the_machine_is_tried_three_times_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(load_settings().store_url)
    tried: list[int] = []

    def work(inputs: Number, context: Context) -> Json:
        tried.append(inputs.x)
        if inputs.x == 1:
            raise OSError(28, "No space left on device")
        if inputs.x == 2:
            raise ZeroDivisionError("a bug")
        return {}

    monkeypatch.setattr("workers.cli.session.Session.steps", lambda self: Counted(work).steps)
    keys = [store.jobs.submit(request(x).key, "count", {"x": x}).key for x in (1, 2, 3)]
    for key in keys:
        store.jobs.mark_sent(key)
    assert launch.main(keys[0]) == 1
    assert sorted(tried) == [1, 1, 1, 2, 3]
    states = [job.status for job in store.jobs.many(keys)]
    assert states == [JobStatus.FAILED, JobStatus.FAILED, JobStatus.DONE]


@pytest.mark.usefixtures("home")
def test_of_many_who_launch_at_once_one_starts_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    started: list[list[str]] = []
    holders: list[Any] = []

    def popen(command: list[str], pass_fds: list[int], **_: object) -> None:
        import os

        started.append(command)
        # As a child would: the lock lives on in a file of its own.
        holders.append(os.dup(pass_fds[0]))

    monkeypatch.setattr("workers.launch.subprocess.Popen", popen)
    threads = [threading.Thread(target=launch._spawn, args=("k", settings)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1


@pytest.mark.usefixtures("home")
def test_what_a_dead_process_left_is_revived(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    store = Store(settings.store_url)
    spawned: list[str] = []
    monkeypatch.setattr(launch, "_spawn", lambda key, settings: spawned.append(key))
    store.jobs.submit("asked", "count", {})
    assert not launch.revive(settings, store), "a command that asked for it does it itself"
    store.jobs.mark_sent("asked")
    assert launch.revive(settings, store)
    assert spawned == ["asked"]


@pytest.mark.usefixtures("home")
def test_a_broker_is_told_and_told_again_where_it_did_not_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings().model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    store = Store(settings.store_url)
    broker = Recorded()
    monkeypatch.setattr(launch, "broker_of", lambda url: broker)
    first = launch.launch(request(1), settings, store)
    assert broker.sent == [first.key]
    assert not launch.revive(settings, store), "it was told"

    def away(job: object) -> None:
        raise BrokerUnreachable("away")

    with monkeypatch.context() as patched:
        patched.setattr(broker, "send", away)
        with pytest.raises(BrokerUnreachable):
            launch.launch(request(2), settings, store)
    assert launch.revive(settings, store)
    assert broker.sent == [first.key, request(2).key]


def test_jobs_are_listed_cancelled_and_retried(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(load_settings().store_url)
    monkeypatch.setattr(launch, "_spawn", lambda key, settings: None)
    for key in ("a1" * 32, "a2" * 32):
        store.jobs.submit(key, "count", {"x": 1})

    def said(*arguments: str) -> dict[str, Any]:
        assert main(["jobs", *arguments, "--json"]) == 0
        return dict(json.loads(capsys.readouterr().out))

    assert said("cancel", "a1")["status"] == "cancelled"
    assert [job["key"][:2] for job in said("list", "--status", "cancelled")["jobs"]] == ["a1"]
    assert len(said("list")["jobs"]) == 2
    again = said("retry", "a1", "--priority", "3")
    assert (again["status"], again["priority"]) == ("queued", 3)
    assert [record.event for record in store.voting.audit()] == ["job_retried", "job_cancelled"]
    for wrong in (["cancel", "a"], ["cancel", "b"], ["cancel", "%"], ["list", "--status", "lost"]):
        assert main(["jobs", *wrong]) == 2
    with pytest.raises(NotFound, match="several jobs have a key that begins 'a'"):
        store.jobs.find("a")


def test_a_launched_job_is_cancelled_while_another_process_does_it(home: Path, tmp_path: Path) -> None:
    settings = load_settings()
    store = Store(settings.store_url)
    lease = store.jobs.submit("k" * 64, "count", {"x": 1})
    held = store.jobs.acquire(lease.key, "another host:1:1")
    assert held is not None
    assert main(["jobs", "cancel", "kkk"]) == 0
    assert store.jobs.get(lease.key).status is JobStatus.RUNNING
    assert store.jobs.is_cancelled(lease.key)


def test_progress_that_is_seldom_told_still_stops_it(context: Context) -> None:
    """Within one stage the table is asked every other second."""
    key = submit(context)

    def work(inputs: Number, watched: Context) -> Json:
        context.store.jobs.cancel(key, "ann")
        began = time.monotonic()
        while time.monotonic() - began < SECONDS:
            watched.progress(1, 10, "one long stage")
            time.sleep(0.01)
        return {}

    began = time.monotonic()
    assert execute(Counted(work).steps, replace(context), key).status is JobStatus.CANCELLED
    assert time.monotonic() - began < 5
