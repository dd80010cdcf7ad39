"""Doing jobs: take the lease, keep it alive, run the step, and store what came of it under the fence.

The same `execute` runs in a Celery worker and in the process of a command without a broker.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from arena.contracts import DreamarenaError, InvalidInput
from arena.store import AWAY, LEASE_SECONDS, JobRecord, JobStatus, Lease
from workers.jobs import Context, I, Incomplete, Json, Progress, Step, Steps
from workers.logs import about

log = logging.getLogger(__name__)

REPORT_SECONDS = 2.0
"""Progress is written to the jobs table at most this often."""
PATIENCE_SECONDS = 300.0
"""How long a database that does not answer is waited for with what came of a job."""
PUT_OFF_SECONDS = (40.0, 80.0, 160.0)
"""How long a job waits, one time after the other, for what was not there: longer than a server that failed is left
alone (`arena.policies.breaker`). After that it is done with what there is."""
HUNG_EXIT = 75
"""Exit code of a worker whose step went on beyond its time limit and said nothing."""
T = TypeVar("T")


class LeaseLost(Exception):
    """This worker was silent for too long, and another one has its job now."""


class Stopped(Exception):
    """Somebody cancelled the job `key`, and its step was told so when it said how far it is."""

    def __init__(self, key: str) -> None:
        super().__init__(f"job {key} was cancelled")
        self.key = key


class HandedBack(Exception):
    """This worker is to leave before the job is done, and put it back in the queue at no attempt's cost."""


class OutOfTime(DreamarenaError):
    """A job took longer than its worker allows."""


class JobFailed(DreamarenaError):
    """A job was given up, for a reason that its user can do something about."""


class JobCancelled(JobFailed):
    """Somebody cancelled a job."""


class JobCrashed(RuntimeError):
    """A job was given up because of an error in dreamarena or its machine. The worker's log has the traceback."""


class Outcome(StrEnum):
    """What came of one attempt to do a job."""

    DONE = "done"
    DUPLICATE = "duplicate"
    """It was over, somebody else is at it, or it waits for its time: nothing was done here."""
    REFUSED = "refused"
    """Its inputs cannot be used, and the job says why."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    PUT_OFF = "put off"
    """What it lacks was not there: it waits, and goes on later with what is missing."""
    PUT_BACK = "put back"
    """Its worker had to leave, or lost its lease; another one does it."""


@dataclass(frozen=True)
class Performed:
    """An attempt to do a job, and what the table says of it then."""

    outcome: Outcome
    job: JobRecord


def owner_id(pid: int | None = None) -> str:
    """A process, by default this one: its host, its id, and when it began, because ids are used again."""
    pid = os.getpid() if pid is None else pid
    return f"{socket.gethostname()}:{pid}:{_began(pid)}"


def is_dead(owner: str) -> bool:
    """Whether a lease's owner is a process of this host that is gone: nobody needs to wait for its lease to end."""
    host, pid, began = owner.rsplit(":", 2)
    return host == socket.gethostname() and _began(int(pid)) != began


def _began(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty where there is no such process, or only its corpse."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "" if Path("/proc/self/stat").exists() else _answers(pid)
    return "" if fields[0] in "ZX" else fields[19]


def _answers(pid: int) -> str:
    """On systems without /proc: whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "alive"
    return "alive"


def execute(steps: Steps, context: Context, key: str, lease_seconds: float = LEASE_SECONDS) -> JobRecord:
    """As `perform`: what the table says of the job then."""
    return perform(steps, context, key, lease_seconds).job


def perform(
    steps: Steps, context: Context, key: str, lease_seconds: float = LEASE_SECONDS, limit_seconds: float = inf
) -> Performed:
    """Do a job if nobody else does or did.

    An error that its user caused fails the job, and so does that it took longer than `limit_seconds`; an `OSError` or
    a database that hangs up puts it back, for three attempts in all; an interruption, and that this worker is to leave,
    put it back at no cost. All of them are raised again. `LeaseLost` is not an error, nor is that the job was cancelled
    or that what it lacks was not there (`Incomplete`). A job that another one waits for in this process is put back
    when that one is cancelled. A step that says nothing beyond its limit takes this process along.
    """
    jobs = context.store.jobs
    lease = jobs.acquire(key, owner_id(), lease_seconds)
    if lease is None:
        job = jobs.get(key)
        return Performed(Outcome.FAILED if job.status is JobStatus.FAILED else Outcome.DUPLICATE, job)
    try:
        outcome = _attempt(steps, context, lease, lease_seconds, limit_seconds)
    except LeaseLost:
        log.warning("the lease of job %s (%s) was lost; another worker has it", key, jobs.get(key).kind)
        outcome = Outcome.PUT_BACK
    except Stopped as stopped:
        if stopped.key != key:
            jobs.release(lease)
            raise
        patiently(lambda: jobs.stop(lease))
        log.warning("job %s (%s) was cancelled", key, jobs.get(key).kind)
        outcome = Outcome.CANCELLED
    except HandedBack:
        patiently(lambda: jobs.release(lease))
        raise
    except (OSError, *AWAY) as error:
        record = error_record(error)
        patiently(lambda: jobs.release(lease, record))
        raise
    except Exception as error:
        record = error_record(error)
        patiently(lambda: jobs.fail(lease, record))
        raise
    except BaseException:
        jobs.release(lease)
        raise
    return Performed(outcome, jobs.get(key))


def _attempt(steps: Steps, context: Context, lease: Lease, lease_seconds: float, limit_seconds: float) -> Outcome:
    """Run the step under the lease, and store what came of it."""
    jobs, job = context.store.jobs, context.store.jobs.get(lease.key)
    with about(lease.key, job.kind), _kept_alive(context, lease, lease_seconds, limit_seconds) as watched:
        log.info("begun, attempt %d", job.attempts)
        step = _step(steps, job.kind)
        try:
            result = step.run(_inputs(step, job), watched)
        except Incomplete as incomplete:
            if job.postponed < len(PUT_OFF_SECONDS):
                seconds, reason = PUT_OFF_SECONDS[job.postponed], error_record(incomplete)
                log.warning("put off for %.0f s: %s", seconds, incomplete.reason)
                if not patiently(lambda: jobs.postpone(lease, seconds, reason)):
                    raise LeaseLost from None
                return Outcome.CANCELLED if jobs.get(lease.key).status is JobStatus.CANCELLED else Outcome.PUT_OFF
            log.warning("done with what there is, after %d tries: %s", job.postponed + 1, incomplete.reason)
            result = incomplete.result
    if not patiently(lambda: jobs.complete(lease, result)):
        raise LeaseLost
    return Outcome.DONE


def patiently(change: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """Make a change in the store, again for as long as the database does not answer. It has to bear being made twice:
    when a connection breaks while it commits, nobody knows whether it did.
    """
    deadline, pause = time.monotonic() + seconds, 0.1
    while True:
        try:
            return change()
        except AWAY as error:
            if time.monotonic() + pause > deadline:
                raise
            log.warning("the database does not answer, trying again: %s", _first_line(error))
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def error_record(error: Exception) -> Json:
    """An error as the jobs table keeps it. `user` says whether its user can mend it."""
    message = str(error) or type(error).__name__
    user = isinstance(error, (DreamarenaError, Incomplete))
    return {"type": type(error).__name__, "message": message, "user": user}


def raise_failure(job: JobRecord) -> None:
    """Raise why a job is given up: `JobCancelled`, `JobFailed` if its user can mend it, `JobCrashed` otherwise."""
    error = job.error or {}
    if job.status is JobStatus.CANCELLED:
        raise JobCancelled(f"{job.kind} was {error.get('message', 'cancelled')}")
    if error.get("user"):
        raise JobFailed(str(error["message"]))
    raise JobCrashed(f"{job.kind} failed: {error.get('type', 'unknown')}: {error.get('message', '')}")


def _step(steps: Steps, kind: str) -> Step[Any]:
    if kind not in steps:
        raise InvalidInput(f"there is no step {kind!r}, only {', '.join(sorted(steps))}")
    return steps[kind]


def _inputs(step: Step[I], job: JobRecord) -> I:
    try:
        return step.inputs.model_validate_json(json.dumps(dict(job.inputs)))
    except ValidationError as error:
        raise InvalidInput(f"the inputs of {step.name} are not valid: {error.errors()[0]['msg']}") from error


@contextmanager
def _kept_alive(context: Context, lease: Lease, seconds: float, limit_seconds: float) -> Iterator[Context]:
    """Renew the lease in a thread while a step runs, and let its progress raise `LeaseLost` once it is lost.

    The thread ends this process where the step takes longer than its limit and a lease besides: it hangs.
    """
    lost, stop = threading.Event(), threading.Event()
    began = time.monotonic()

    def renew() -> None:
        while not stop.wait(seconds / 4):
            if time.monotonic() - began > limit_seconds + seconds:
                _end_hung(context, lease, limit_seconds)
            try:
                kept = context.store.jobs.heartbeat(lease, seconds)
            except AWAY as error:
                # The database may come back before the lease ends; if not, the fence refuses our result.
                log.warning("cannot renew the lease of job %s: %s", lease.key, _first_line(error))
                continue
            if not kept:
                lost.set()
                return

    thread = threading.Thread(target=renew, name=f"lease-{lease.key[:8]}", daemon=True)
    thread.start()
    try:
        yield replace(context, progress=_reporting(context, lease, lost, limit_seconds))
    finally:
        stop.set()
        thread.join()


def _end_hung(context: Context, lease: Lease, limit_seconds: float) -> None:
    """Fail the job and end this process: a thread that hangs cannot be ended otherwise. Its parent starts it again."""
    error = error_record(OutOfTime(f"{_too_long(limit_seconds)}, and did not say how far it was"))
    log.error("job %s %s: this worker ends", lease.key, error["message"])
    try:
        context.store.jobs.fail(lease, error)
    except AWAY as away:
        log.warning("the database does not answer, the lease will run out: %s", _first_line(away))
    os._exit(HUNG_EXIT)


def _too_long(limit_seconds: float) -> str:
    return f"took longer than the {limit_seconds / 3600:g} h that its worker allows (dreamarena worker --job-hours)"


def _reporting(context: Context, lease: Lease, lost: threading.Event, limit_seconds: float) -> Progress:
    """Progress for the table, not too often, and for whoever watches: where a step learns that it is to stop."""
    last_time, last_stage, began = 0.0, "", time.monotonic()

    def report(done: int, total: int, stage: str) -> None:
        nonlocal last_time, last_stage
        context.progress(done, total, stage)
        if lost.is_set():
            raise LeaseLost
        if context.leaving():
            raise HandedBack
        if time.monotonic() - began > limit_seconds:
            raise OutOfTime(_too_long(limit_seconds))
        due = time.monotonic() - last_time > REPORT_SECONDS or stage != last_stage or done == total
        if due:
            last_time, last_stage = time.monotonic(), stage
            try:
                kept = context.store.jobs.progress(lease, done, total, stage)
                cancelled = context.store.jobs.is_cancelled(lease.key)
            except AWAY as error:
                # Hours of work are not thrown away for a bar that stands still.
                log.warning("cannot tell how far job %s is: %s", lease.key, _first_line(error))
                return
            if not kept:
                raise LeaseLost
            if cancelled:
                raise Stopped(lease.key)

    return report
