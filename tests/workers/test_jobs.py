"""Jobs in this process: done once, resumed, taken over, given up; and keys that follow their inputs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from arena.contracts import InvalidInput
from arena.store import JobStatus
from workers.content import fingerprint
from workers.execution import JobCrashed, JobFailed, execute, is_dead, owner_id
from workers.jobs import Context, Inputs, Json, Request, Step
from workers.runner import offer, run_jobs


class Number(Inputs):
    x: int


@dataclass
class Counted:
    """A step that counts how often it ran."""

    work: Callable[[Number, Context], Json] = lambda inputs, context: {"square": inputs.x**2}
    runs: int = 0
    intact: bool = True
    seen: list[tuple[int, int, str]] = field(default_factory=list)

    def __call__(self, inputs: Number, context: Context) -> Json:
        self.runs += 1
        return self.work(inputs, context)

    @property
    def steps(self) -> dict[str, Step[Number]]:
        return {"count": Step("count", Number, self, lambda inputs, context: self.intact)}


def request(x: int = 3) -> Request:
    return Request("count", Number(x=x))


def submit(context: Context, x: int = 3) -> str:
    return context.store.jobs.submit(request(x).key, "count", {"x": x}).key


def test_a_finished_job_answers_at_once(context: Context) -> None:
    step = Counted()
    for _ in range(2):
        assert run_jobs([request(3), request(4), request(3)], step.steps, context) == [
            {"square": 9},
            {"square": 16},
            {"square": 9},
        ]
    assert step.runs == 2


def test_a_finished_job_whose_output_is_gone_is_done_again(context: Context) -> None:
    step = Counted(intact=False)
    run_jobs([request()], step.steps, context)
    run_jobs([request()], step.steps, context)
    assert step.runs == 2


def test_an_error_of_the_user_fails_at_once_and_a_new_submission_tries_again(context: Context) -> None:
    def refuse(inputs: Number, context: Context) -> Json:
        raise InvalidInput("x must be even")

    step = Counted(refuse)
    for runs in (1, 2):
        with pytest.raises(InvalidInput, match="x must be even"):
            run_jobs([request()], step.steps, context)
        assert step.runs == runs
    job = context.store.jobs.get(request().key)
    assert job.status is JobStatus.FAILED
    assert job.error == {"type": "InvalidInput", "message": "x must be even", "user": True}


def test_an_error_of_the_machine_is_tried_three_times(context: Context) -> None:
    def break_down(inputs: Number, context: Context) -> Json:
        raise OSError(28, "No space left on device")

    step = Counted(break_down)
    key = submit(context)
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            execute(step.steps, context, key)
    job = execute(step.steps, context, key)
    assert (step.runs, job.status) == (3, JobStatus.FAILED)
    assert job.error is not None
    assert "No space" in job.error["message"]


def test_an_interruption_costs_no_attempt(context: Context) -> None:
    def interrupt(inputs: Number, context: Context) -> Json:
        raise KeyboardInterrupt

    step = Counted(interrupt)
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            run_jobs([request()], step.steps, context)
    assert context.store.jobs.get(request().key).attempts == 0
    assert run_jobs([request()], Counted().steps, context) == [{"square": 9}]


def test_inputs_from_a_queue_are_checked(context: Context) -> None:
    step = Counted()
    for bad in ({"x": "3"}, {"x": 3, "y": 4}, {}):
        key = context.store.jobs.submit(f"key-{bad}", "count", bad).key
        with pytest.raises(InvalidInput, match="inputs of count"):
            execute(step.steps, context, key)
    context.store.jobs.submit("other", "no such step", {})
    with pytest.raises(InvalidInput, match="no step 'no such step', only count"):
        execute(step.steps, context, "other")
    assert step.runs == 0


def test_progress_reaches_the_table_and_the_watcher(context: Context) -> None:
    def work(inputs: Number, context: Context) -> Json:
        for done in range(4):
            context.progress(done, 3, "counting")
        return {}

    seen: list[tuple[int, int, str]] = []
    watched = replace(context, progress=lambda *report: seen.append(report))
    run_jobs([request()], Counted(work).steps, watched)
    job = context.store.jobs.get(request().key)
    assert (job.done, job.total, job.stage) == (3, 3, "counting")
    assert seen == [(done, 3, "counting") for done in range(4)]


def test_a_lease_is_renewed_while_a_step_runs(context: Context) -> None:
    def slow(inputs: Number, context: Context) -> Json:
        time.sleep(2.5)
        return {"stolen": context.store.jobs.acquire(key, "thief") is not None}

    key = submit(context)
    job = execute(Counted(slow).steps, context, key, lease_seconds=2.0)
    assert (job.status, job.fence, job.result) == (JobStatus.DONE, 1, {"stolen": False})


def test_a_step_whose_lease_was_lost_stops_and_changes_nothing(context: Context) -> None:
    reached_the_end = False

    def stolen(inputs: Number, watched: Context) -> Json:
        nonlocal reached_the_end
        context.store.jobs.evict(key, owner_id())
        heir = context.store.jobs.acquire(key, "another host:1:1")
        assert heir is not None
        watched.progress(1, 2, "too late")
        reached_the_end = True
        return {"by": "zombie"}

    key = submit(context)
    job = execute(Counted(stolen).steps, context, key)
    assert not reached_the_end
    assert (job.status, job.result, job.lease_owner) == (JobStatus.RUNNING, None, "another host:1:1")


def test_what_another_process_does_is_waited_for(context: Context) -> None:
    step = Counted()
    key = submit(context)
    lease = context.store.jobs.acquire(key, owner_id())
    assert lease is not None
    timer = threading.Timer(0.3, lambda: context.store.jobs.complete(lease, {"by": "the other"}))
    timer.start()
    assert run_jobs([request()], step.steps, context, poll_seconds=0.05) == [{"by": "the other"}]
    assert step.runs == 0
    timer.join()


def test_a_dead_process_is_not_waited_for(context: Context) -> None:
    program = (
        "import sys, time; from arena.store import Store; from workers.execution import owner_id;"
        "s = Store(sys.argv[1]); s.jobs.acquire(sys.argv[2], owner_id()); print('leased', flush=True); time.sleep(60)"
    )
    key = submit(context)
    process = subprocess.Popen(
        [sys.executable, "-c", program, context.store.url, key], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "leased\n"
    owner = context.store.jobs.get(key).lease_owner
    assert owner is not None
    assert not is_dead(owner)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert is_dead(owner)
    started = time.monotonic()
    assert run_jobs([request()], Counted().steps, context) == [{"square": 9}]
    assert time.monotonic() - started < 10
    assert context.store.jobs.get(key).attempts == 2


def test_only_this_hosts_processes_can_be_known_to_be_dead() -> None:
    assert not is_dead(owner_id())
    assert not is_dead("another host:999999:1")
    assert is_dead(owner_id().rpartition(":")[0] + ":12345"), "the same id, begun at another time"


@dataclass
class Recorded:
    """A broker that only remembers, or loses, what it was sent."""

    sent: list[str] = field(default_factory=list)
    backlog: int = 0
    elsewhere: int = 0
    """Messages in a queue of other kinds."""
    deliver: Callable[[str], object] | None = None

    def send(self, job: object) -> None:
        self.sent.append(job.key)  # type: ignore[attr-defined]
        if self.deliver is not None:
            self.deliver(self.sent[-1])

    def waiting(self, pinned: Sequence[str] = ()) -> dict[str, int]:
        return {"cpu": self.backlog, "gpu": self.elsewhere, **dict.fromkeys(pinned, 0)}

    def kinds(self, queue: str) -> list[str]:
        return ["count"] if queue == "cpu" else []


def test_a_brokers_workers_answer(context: Context) -> None:
    step = Counted()
    broker = Recorded(deliver=lambda key: execute(step.steps, context, key))
    asked = [request(3), request(4), request(3)]
    assert run_jobs(asked, step.steps, context, broker, 0.01) == [{"square": 9}, {"square": 16}, {"square": 9}]
    assert (step.runs, len(broker.sent)) == (2, 2)
    assert run_jobs(asked, step.steps, context, broker, 0.01)[0] == {"square": 9}
    assert step.runs == 2


def test_a_job_that_failed_on_a_worker_raises_here(context: Context) -> None:
    for error, raised in ((InvalidInput("x must be even"), JobFailed), (ZeroDivisionError("oops"), JobCrashed)):

        def work(inputs: Number, context: Context, error: Exception = error) -> Json:
            raise error

        step = Counted(work)

        def deliver(key: str, step: Counted = step) -> None:
            with pytest.raises((InvalidInput, ZeroDivisionError)):
                execute(step.steps, context, key)

        with pytest.raises(raised, match=str(error)):
            run_jobs([request()], step.steps, context, Recorded(deliver=deliver), 0.01)


def test_a_forgetful_broker_is_told_again_but_a_busy_one_is_not(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = submit(context)
    broker = Recorded()
    assert offer(context.store.jobs, broker) == 1
    assert offer(context.store.jobs, broker) == 0, "it was told a moment ago"
    monkeypatch.setattr("workers.runner.LOST_MESSAGE_SECONDS", 0.0)
    time.sleep(0.01)
    broker.backlog = 5
    assert offer(context.store.jobs, broker) == 0, "its queue is not empty: the message is in there"
    broker.backlog, broker.elsewhere = 0, 5
    assert offer(context.store.jobs, broker) == 1, "what other queues hold is none of this job's"
    assert broker.sent == [key, key]


def test_keys_follow_kind_and_inputs() -> None:
    assert request(3).key == request(3).key
    assert len({request(3).key, request(4).key, Request("other", Number(x=3)).key}) == 3


def test_a_fingerprint_follows_the_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    os.utime(tmp_path / "a", (1, 1))
    changed = fingerprint(tmp_path)
    (tmp_path / "b").touch()
    assert len({before, changed, fingerprint(tmp_path)}) == 3
    with pytest.raises(InvalidInput, match="does not exist"):
        fingerprint(tmp_path / "none")
