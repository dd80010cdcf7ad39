"""Who does which job, and when: queues by need, one GPU's own, jobs that are put off, time limits, typed outcomes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

from arena.contracts import InvalidInput
from arena.store import JobStatus
from tests.workers.test_jobs import Counted, Number, Recorded, request, submit
from workers import execution
from workers.app import TIMING, CeleryBroker, _task, known_queue, make_app
from workers.cli.worker import Worker
from workers.execution import HUNG_EXIT, HandedBack, Outcome, OutOfTime, execute, owner_id, perform
from workers.jobs import Context, Incomplete, Json, Queue, Step
from workers.launch import again
from workers.runner import offer, run_jobs
from workers.tasks import STEPS

AWAY = Incomplete({"square": 9, "missing": 1}, "1 trial is missing: its server did not answer")


class Away:
    """A step that has to do with a server which comes back after some tries."""

    def __init__(self, tries: int) -> None:
        self.tries = tries

    def __call__(self, inputs: Number, context: Context) -> Json:
        self.tries -= 1
        if self.tries >= 0:
            raise AWAY
        return {"square": inputs.x**2, "missing": 0}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "PUT_OFF_SECONDS", (0.2, 0.2, 0.2))


def test_what_every_kind_of_job_needs() -> None:
    found = {kind: step.needs for kind, step in STEPS.items()}
    assert {found[kind] for kind in ("rollout", "train", "imagine", "reconstruct")} == {Queue.GPU}
    assert {found[kind] for kind in ("judge", "audit_judge", "measure_judge")} == {Queue.JUDGE}
    assert {found[kind] for kind in ("ingest", "rank", "export_synthetic")} == {Queue.CPU}
    assert set(found.values()) == set(Queue)


@pytest.mark.parametrize(
    ("worker", "takes"),
    [
        (Worker(), ["gpu", "cpu", "judge"]),
        (Worker(queues=("judge",)), ["judge"]),
        (Worker(gpu=2), ["gpu", "cpu", "judge", "gpu.2"]),
        (Worker(queues=("gpu",), gpu=0), ["gpu", "gpu.0"]),
    ],
)
def test_what_a_worker_takes(worker: Worker, takes: list[str]) -> None:
    assert worker._taken() == takes


@pytest.mark.parametrize("name", ["gpu.", "gpu.x", "gpus", "", "cpu.1"])
def test_what_is_no_queue(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"only gpu, cpu, judge and gpu\.INDEX"):
        known_queue(name)


def test_a_job_waits_where_it_was_told_to(context: Context) -> None:
    """A ticket of one queue is not spent on a job of another, however urgent that is."""
    jobs = context.store.jobs
    plain = submit(context, 3)
    chosen = jobs.submit(request(4).key, "count", {"x": 4}, priority=5, pinned="gpu.1").key
    for key in (plain, chosen):
        jobs.mark_sent(key)
    assert jobs.pinned() == ["gpu.1"]
    assert jobs.more_urgent(jobs.get(plain)) is None
    assert jobs.more_urgent(jobs.get(chosen)) is None
    urgent = jobs.submit(request(5).key, "count", {"x": 5}, priority=1).key
    jobs.mark_sent(urgent)
    assert jobs.more_urgent(jobs.get(plain)) == urgent


def test_a_forgotten_message_of_a_chosen_queue_is_sent_again(
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = context.store.jobs.submit(request(4).key, "count", {"x": 4}, pinned="gpu.1").key
    broker = Recorded(backlog=7)
    assert offer(context.store.jobs, broker) == 1
    monkeypatch.setattr("workers.runner.LOST_MESSAGE_SECONDS", 0.0)
    time.sleep(0.01)
    assert offer(context.store.jobs, broker) == 1, "it is empty, whatever others hold"
    assert broker.sent == [key, key]


def test_messages_go_to_the_queue_of_the_kind_or_the_chosen_one(
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = make_app("memory://")
    sent: list[tuple[str, str]] = []
    monkeypatch.setattr(app, "send_task", lambda name, args, queue: sent.append((name, queue)))
    broker = CeleryBroker(app, "memory://", STEPS)
    jobs = context.store.jobs
    for kind, pinned in (("rollout", None), ("judge", None), ("rank", None), ("rollout", "gpu.3"), ("newer", None)):
        broker.send(jobs.submit(f"{kind} {pinned}", kind, {}, pinned=pinned))
    assert [queue for _, queue in sent] == [
        "dreamarena.gpu", "dreamarena.judge", "dreamarena.cpu", "dreamarena.gpu.3", "dreamarena.cpu",
    ]  # fmt: skip
    assert "rollout" in broker.kinds("gpu")
    assert "rank" not in broker.kinds("gpu")


@pytest.mark.usefixtures("soon")
def test_what_a_server_kept_from_being_done_is_done_later(context: Context) -> None:
    step = Counted(Away(2))
    began = time.monotonic()
    assert run_jobs([request()], step.steps, context, poll_seconds=0.02) == [{"square": 9, "missing": 0}]
    assert step.runs == 3
    assert time.monotonic() - began > 0.4
    job = context.store.jobs.get(request().key)
    assert (job.attempts, job.postponed, job.error) == (1, 2, None), "no attempt was spent on waiting"


@pytest.mark.usefixtures("soon")
def test_after_three_more_tries_it_is_done_with_what_there_is(context: Context) -> None:
    step = Counted(Away(100))
    assert run_jobs([request()], step.steps, context, poll_seconds=0.02) == [AWAY.result]
    assert step.runs == 4
    # Whoever asks again, when what is missing makes the result one that is not whole, begins anew.
    step.intact = False
    run_jobs([request()], step.steps, context, poll_seconds=0.02)
    assert step.runs == 8


@pytest.mark.usefixtures("soon")
def test_others_are_done_while_one_waits(context: Context) -> None:
    order: list[int] = []
    away = Away(1)

    def work(inputs: Number, context: Context) -> Json:
        order.append(inputs.x)
        return away(inputs, context) if inputs.x == 1 else {"x": inputs.x}

    run_jobs([request(1), request(2), request(3)], Counted(work).steps, context, poll_seconds=0.02)
    assert order == [1, 2, 3, 1]


def test_nobody_can_have_it_before_its_time(context: Context) -> None:
    jobs, key = context.store.jobs, submit(context)
    performed = perform(Counted(Away(1)).steps, context, key)
    assert performed.outcome is Outcome.PUT_OFF
    assert performed.job.status is JobStatus.QUEUED
    assert "did not answer" in str((performed.job.error or {})["message"])
    assert execution.PUT_OFF_SECONDS[0] - 5 < jobs.put_off(performed.job) <= execution.PUT_OFF_SECONDS[0]
    assert jobs.acquire(key, owner_id()) is None
    assert not jobs.unsent(inf)
    jobs.mark_sent(key)
    assert jobs.next_sent() is None
    assert perform(Counted().steps, context, key).outcome is Outcome.DUPLICATE
    # A clock that was set back since does not make it wait for ever.
    with context.store._database.write() as session:
        from sqlalchemy import text

        session.execute(text("UPDATE jobs SET not_before = not_before + 86400"))
    assert jobs.put_off(jobs.get(key)) == 0
    assert jobs.acquire(key, owner_id()) is not None


def test_a_server_that_failed_is_left_alone_for_shorter_than_that() -> None:
    from arena.policies.breaker import REST_SECONDS

    assert min(execution.PUT_OFF_SECONDS) > REST_SECONDS
    assert list(execution.PUT_OFF_SECONDS) == sorted(execution.PUT_OFF_SECONDS)


def test_a_person_need_not_wait(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.launch._spawn", lambda key, settings: None)
    key = submit(context)
    perform(Counted(Away(1)).steps, context, key)
    again(key, context.settings, context.store)
    assert execute(Counted().steps, context, key).status is JobStatus.DONE


def test_what_was_put_off_can_be_cancelled(context: Context) -> None:
    key = submit(context)
    perform(Counted(Away(1)).steps, context, key)
    assert context.store.jobs.cancel(key, "ann").status is JobStatus.CANCELLED

    def cancelled_meanwhile(inputs: Number, context: Context) -> Json:
        context.store.jobs.cancel(other, "ann")
        raise AWAY

    other = submit(context, 4)
    assert perform(Counted(cancelled_meanwhile).steps, context, other).outcome is Outcome.CANCELLED
    assert context.store.jobs.get(other).status is JobStatus.CANCELLED


def test_a_job_that_takes_too_long_fails_when_it_says_how_far_it_is(context: Context) -> None:
    def slow(inputs: Number, context: Context) -> Json:
        for tick in range(1000):
            context.progress(tick, 1000, "slow")
            time.sleep(0.01)
        raise AssertionError("nobody stopped it")

    key = submit(context)
    with pytest.raises(OutOfTime, match="took longer than"):
        perform(Counted(slow).steps, context, key, limit_seconds=0.3)
    job = context.store.jobs.get(key)
    assert job.status is JobStatus.FAILED
    assert "--job-hours" in str((job.error or {})["message"])


def test_a_job_that_hangs_takes_its_worker_along_and_fails(context: Context, tmp_path: Path) -> None:
    program = f"""
import sys, time
sys.path.insert(0, {os.getcwd()!r})
from arena.store import Store
from tests.workers.test_jobs import Counted
from workers.artifacts import Artifacts
from workers.execution import perform
from workers.jobs import Context
from workers.registry import Workshop
from workers.settings import Settings
settings = Settings(home={str(tmp_path)!r})
context = Context(settings, Store(settings.store_url), Artifacts(settings.artifacts_location, settings.cache),
                  lambda *_: None, Workshop())
perform(Counted(lambda inputs, context: time.sleep(600)).steps, context, sys.argv[1], 1.0, 0.5)
"""
    key = submit(context)
    done = subprocess.run([sys.executable, "-c", program, key], timeout=120)
    assert done.returncode == HUNG_EXIT
    job = context.store.jobs.get(key)
    assert job.status is JobStatus.FAILED
    assert "did not say how far" in str((job.error or {})["message"])


def outcome_of_task(context: Context, work: Any, key: str) -> Json:
    return _task(Counted(work).steps, lambda: context, TIMING)(key)


def test_what_a_task_returns_is_typed(context: Context) -> None:
    """Ids in, a word out; whoever wants to know more looks at the table."""

    def square(inputs: Number, context: Context) -> Json:
        return {"square": inputs.x**2}

    def refuse(inputs: Number, context: Context) -> Json:
        raise InvalidInput("x must be even")

    def crash(inputs: Number, context: Context) -> Json:
        raise ZeroDivisionError("oops")

    def leave(inputs: Number, context: Context) -> Json:
        raise HandedBack

    keys = [submit(context, x) for x in range(5)]
    assert outcome_of_task(context, square, keys[0]) == {"job": keys[0], "outcome": "done", "reason": None}
    assert outcome_of_task(context, square, keys[0])["outcome"] == "duplicate"
    refused = outcome_of_task(context, refuse, keys[1])
    assert (refused["outcome"], refused["reason"]) == ("refused", "x must be even")
    with pytest.raises(ZeroDivisionError):
        outcome_of_task(context, crash, keys[2])
    with pytest.raises(execution.JobCrashed, match="ZeroDivisionError: oops"):
        outcome_of_task(context, crash, keys[2])
    assert outcome_of_task(context, Away(1), keys[3])["outcome"] == "put off"
    assert outcome_of_task(context, leave, keys[4])["outcome"] == "put back"


def test_a_step_says_what_it_needs() -> None:
    assert Step("count", Number, Counted()).needs is Queue.CPU
    assert replace(TIMING).limit == inf
