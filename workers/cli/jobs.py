"""`dreamarena jobs`: what was asked for, and having it stopped or done again."""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, subcommand

from workers.cli.session import Answer, Session

if TYPE_CHECKING:
    from arena.store import JobRecord

LETTERS = 12
"""Of a job's key, enough to tell it from all others."""


@dataclass(frozen=True)
class Listed:
    """List jobs, those that anything happened to last first."""

    status: str | None = None
    """queued, running, done, failed or cancelled."""
    limit: int = 50
    server: str | None = None
    """Ask the API at this address, e.g. https://HOST, with the token in DREAMARENA_TOKEN."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.contracts import InvalidInput
        from arena.store import JobStatus

        if self.status is not None and self.status not in list(JobStatus):
            raise InvalidInput(f"there is no status {self.status!r}, only {', '.join(JobStatus)}")
        if self.limit < 1:
            raise InvalidInput(f"--limit must be at least 1, not {self.limit}")
        if self.server is not None:
            return self._elsewhere(self.server)
        status = None if self.status is None else JobStatus(self.status)
        jobs = session.context.store.jobs.recent(self.limit, status)
        return Answer({"jobs": [asdict(job) for job in jobs]}, lambda console: _show(jobs, console))

    def _elsewhere(self, url: str) -> Answer:
        from workers.client import connect

        found = (job for job in connect(url).jobs() if self.status in (None, job["status"]))
        jobs = list(itertools.islice(found, self.limit))

        def show(console: Console) -> None:
            for job in jobs:
                console.print(_line_of(job), markup=False, highlight=False)

        return Answer({"jobs": jobs}, show)


@dataclass(frozen=True)
class Cancel:
    """Have a job not done: one that waits never starts, one that is being done stops at its next batch."""

    key: Positional[str]
    """The job's key, or, here, the beginning of it."""
    server: str | None = None
    """Ask the API at this address, e.g. https://HOST, with the token in DREAMARENA_TOKEN."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        if self.server is not None:
            from workers.client import connect

            return from_server(connect(self.server).cancel(self.key))
        from workers.cli.token import operator

        store = session.context.store
        job = store.jobs.cancel(store.jobs.find(self.key), operator())
        store.accounts.note("job_cancelled", operator(), {"job": job.key})
        return _answer(job)


@dataclass(frozen=True)
class Retry:
    """Have a job that failed, was cancelled, or that nobody took up, done again."""

    key: Positional[str]
    """The job's key, or, here, the beginning of it."""
    priority: int | None = None
    """Of two jobs that wait, the one with the higher number is done first."""
    queue: str | None = None
    """Have it done by whoever takes from this queue, e.g. gpu.1, the worker that was started with `--gpu 1`."""
    server: str | None = None
    """Ask the API at this address, e.g. https://HOST, with the token in DREAMARENA_TOKEN."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        if self.server is not None:
            from workers.client import connect

            return from_server(connect(self.server).retry(self.key))
        from workers.app import known_queue
        from workers.cli.token import operator
        from workers.launch import again

        queue = None if self.queue is None else known_queue(self.queue)
        store = session.context.store
        job = again(store.jobs.find(self.key), session.settings, store, self.priority, queue)
        store.accounts.note("job_retried", operator(), {"job": job.key})
        return _answer(job)


@dataclass(frozen=True)
class Jobs:
    """What was asked for: list, cancel, try again."""

    command: (
        Annotated[Listed, subcommand("list")]
        | Annotated[Cancel, subcommand("cancel")]
        | Annotated[Retry, subcommand("retry")]
    )


def describe(job: JobRecord) -> str:
    """A job in a line: what became of it, or is becoming."""
    if job.cancel_at is not None and job.status == "running":
        return "running, and stops at its next batch"
    put_off = job.status == "queued" and job.postponed > 0
    why = (job.error or {}).get("message") if put_off or job.status in ("failed", "cancelled") else None
    how_far = f" {job.stage} {job.done}/{job.total}" if job.status == "running" and job.total else ""
    return f"{job.status}{how_far}{f': {why}' if why else ''}"


def from_server(job: dict[str, Any]) -> Answer:
    """A job as the API tells of it. One that was given up is bad news."""
    code = 2 if job["status"] == "failed" else 0
    return Answer(job, lambda console: console.print(_line_of(job), markup=False, highlight=False), code)


def _line_of(job: dict[str, Any]) -> str:
    state = "running, and stops at its next batch" if job["stopping"] else job["status"]
    why = f": {job['error']}" if job["error"] and job["status"] in ("failed", "cancelled") else ""
    how_far = f" {job['stage']} {job['done']}/{job['total']}" if job["status"] == "running" and job["total"] else ""
    return f"job {job['key']} ({job['kind']}) is {state}{how_far}{why}"


def _answer(job: JobRecord) -> Answer:
    data: dict[str, Any] = asdict(job)
    line = f"job {job.key[:LETTERS]} ({job.kind}) is {describe(job)}"
    return Answer(data, lambda console: console.print(line, markup=False, highlight=False))


def _show(jobs: list[JobRecord], console: Console) -> None:
    table = Table("job", "kind", "priority", "asked for", "what became of it")
    for job in jobs:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created_at))
        table.add_row(job.key[:LETTERS], job.kind, str(job.priority), when, describe(job))
    console.print(table)
