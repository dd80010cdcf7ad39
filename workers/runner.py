"""Getting jobs done: in this process, or by workers behind a broker. The results are the same."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from arena.contracts import DreamarenaError
from arena.store import GIVEN_UP, JobRecord, Jobs, JobStatus
from workers.execution import execute, is_dead, raise_failure
from workers.jobs import Context, Json, Progress, Request, Steps

POLL_SECONDS = 0.5
LOST_MESSAGE_SECONDS = 5.0
"""A job that was sent this long ago and still waits, while the broker holds no messages, was forgotten by it."""


class BrokerUnreachable(DreamarenaError):
    """The broker does not answer."""


class Broker(Protocol):
    def send(self, job: JobRecord) -> None:
        """Tell a worker that a job waits. Raises `BrokerUnreachable`."""
        ...

    def waiting(self, pinned: Sequence[str] = ()) -> Mapping[str, int]:
        """How many messages no worker has taken yet, by queue: those of kinds of jobs, and `pinned`, which somebody
        chose. Raises `BrokerUnreachable`.
        """
        ...

    def kinds(self, queue: str) -> Sequence[str]:
        """The kinds of jobs that wait in a queue unless somebody chose another one for them."""
        ...


def run_jobs(
    requests: Sequence[Request],
    steps: Steps,
    context: Context,
    broker: Broker | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> list[Json]:
    """Have every request done, and return their results in order.

    What was done before is not done again, unless what it made is gone; what another process is doing is
    waited for. Raises `JobFailed` or `JobCrashed` for the first that failed, and in this process, the error itself.
    """
    keys = [_submit(request, steps, context) for request in requests]
    if broker is None:
        return _do_here(keys, steps, context, poll_seconds)
    return _have_done(list(dict.fromkeys(keys)), keys, context, broker, poll_seconds)


def offer(jobs: Jobs, broker: Broker) -> int:
    """Send what waits to the broker: new jobs, abandoned ones, those whose time has come, and those that it forgot.
    Returns how many.
    """
    for job in jobs.recent(status=JobStatus.RUNNING):
        free_if_dead(jobs, job.key, job)
    unsent = _untold(jobs, broker)
    for job in unsent:
        broker.send(job)
        jobs.mark_sent(job.key)
    return len(unsent)


def _untold(jobs: Jobs, broker: Broker) -> list[JobRecord]:
    """A queue that holds messages has forgotten none: a worker that is busy is only slow."""
    chosen = jobs.pinned()
    waiting = broker.waiting(chosen)
    if not any(waiting.values()):
        return jobs.unsent(LOST_MESSAGE_SECONDS)
    found = {job.key: job for job in jobs.unsent(float("inf"))}
    for queue, count in waiting.items():
        if count == 0:
            of = {"pinned": queue} if queue in chosen else {"kinds": broker.kinds(queue)}
            found |= {job.key: job for job in jobs.unsent(LOST_MESSAGE_SECONDS, **of)}
    return list(found.values())


def _submit(request: Request, steps: Steps, context: Context) -> str:
    job = context.store.jobs.submit(request.key, request.kind, request.inputs.model_dump(mode="json"))
    if job.status is JobStatus.DONE and not steps[request.kind].intact(request.inputs, context):
        context.store.jobs.redo(job.key)
    return job.key


def _do_here(keys: Sequence[str], steps: Steps, context: Context, poll_seconds: float) -> list[Json]:
    """One after the other; those that were put off, or that another process is at, once more after the others."""
    results: dict[str, Json] = {}
    left, turned_away = deque(dict.fromkeys(keys)), 0
    while left:
        key = left.popleft()
        number = keys.index(key) + 1
        label = f" ({number}/{len(keys)})" if len(keys) > 1 else ""
        shown = replace(context, progress=_labelled(context.progress, label))
        free_if_dead(context.store.jobs, key)
        job = execute(steps, shown, key)
        if job.status in GIVEN_UP:
            raise_failure(job)
        if job.status is JobStatus.DONE:
            results[key], turned_away = dict(job.result or {}), 0
            continue
        left.append(key)
        turned_away += 1
        shown.progress(job.done, job.total, _why_not(job, context.store.jobs))
        if turned_away >= len(left):
            time.sleep(poll_seconds)
    return [results[key] for key in keys]


def _why_not(job: JobRecord, jobs: Jobs) -> str:
    seconds = jobs.put_off(job)
    if seconds > 0:
        return f"{job.kind}, again in {seconds:.0f} s: {(job.error or {}).get('message', '')}"
    return f"{job.stage or job.kind}, in another process"


def _have_done(
    unique: list[str], keys: Sequence[str], context: Context, broker: Broker, poll_seconds: float
) -> list[Json]:
    """Offer jobs to workers and watch the table until all are done or one failed."""
    while True:
        jobs = context.store.jobs.many(unique)
        for job in jobs:
            if job.status in GIVEN_UP:
                raise_failure(job)
        _show(jobs, context.progress)
        if all(job.status is JobStatus.DONE for job in jobs):
            results = {job.key: dict(job.result or {}) for job in jobs}
            return [results[key] for key in keys]
        for job in jobs:
            free_if_dead(context.store.jobs, job.key, job)
        offer(context.store.jobs, broker)
        time.sleep(poll_seconds)


def free_if_dead(jobs: Jobs, key: str, job: JobRecord | None = None) -> bool:
    """End the lease of a process of this machine that is gone: its job can be taken at once. Returns whether it was."""
    job = job or jobs.get(key)
    if job.status is not JobStatus.RUNNING or job.lease_owner is None or not is_dead(job.lease_owner):
        return False
    jobs.evict(key, job.lease_owner)
    return True


def _show(jobs: Sequence[JobRecord], progress: Progress) -> None:
    """One bar for a single job; for several, how many are finished and what is under way."""
    if len(jobs) == 1:
        job = jobs[0]
        progress(job.done, job.total, job.stage or f"{job.kind}: {job.status}")
        return
    finished = sum(job.status is JobStatus.DONE for job in jobs)
    progress(finished, len(jobs), f"{jobs[0].kind} jobs")


def _labelled(progress: Progress, label: str) -> Callable[[int, int, str], None]:
    return lambda done, total, stage: progress(done, total, f"{stage}{label}")
