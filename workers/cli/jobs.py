"""`dreamarena jobs`: what was asked for, and having it stopped or done again."""

from __future__ import annotations

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
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.contracts import InvalidInput
        from arena.store import JobStatus

        if self.status is not None and self.status not in list(JobStatus):
            raise InvalidInput(f"there is no status {self.status!r}, only {', '.join(JobStatus)}")
        if self.limit < 1:
            raise InvalidInput(f"--limit must be at least 1, not {self.limit}")
        status = None if self.status is None else JobStatus(self.status)
        jobs = session.context.store.jobs.recent(self.limit, status)
        return Answer({"jobs": [asdict(job) for job in jobs]}, lambda console: _show(jobs, console))


@dataclass(frozen=True)
class Cancel:
    """Have a job not done: one that waits never starts, one that is being done stops at its next batch."""

    key: Positional[str]
    """The job's key, or the beginning of it."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from workers.cli.token import operator

        store = session.context.store
        job = store.jobs.cancel(store.jobs.find(self.key), operator())
        store.accounts.note("job_cancelled", operator(), {"job": job.key})
        return _answer(job)


@dataclass(frozen=True)
class Retry:
    """Have a job that failed, was cancelled, or that nobody took up, done again."""

    key: Positional[str]
    """The job's key, or the beginning of it."""
    priority: int | None = None
    """Of two jobs that wait, the one with the higher number is done first."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from workers.cli.token import operator
        from workers.launch import again

        store = session.context.store
        job = again(store.jobs.find(self.key), session.settings, store, self.priority)
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
    why = (job.error or {}).get("message") if job.status in ("failed", "cancelled") else None
    how_far = f" {job.stage} {job.done}/{job.total}" if job.status == "running" and job.total else ""
    return f"{job.status}{how_far}{f': {why}' if why else ''}"


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
