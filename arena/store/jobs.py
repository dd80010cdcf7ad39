"""The table of jobs: one row for each piece of work, and a lease on it for whoever does it.

The database is the truth and a broker only wakes workers up: a message that is lost, doubled or late
changes nothing, because a worker must win the row's lease before it starts and hold it when it ends.

Leases are measured by one clock, the database's (of SQLite, this machine's): clocks of workers may differ or jump.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, or_, select, true, update
from sqlalchemy.orm import Session

from arena.store.database import Database, in_parts, insert_new
from arena.store.records import JobRecord, JobStatus, Json, Lease, NotFound
from arena.store.tables import JobAskerRow, JobRow

MAX_ATTEMPTS = 3
"""A job whose worker died this often is not offered again: it would kill the next one too."""
GIVEN_UP = (JobStatus.FAILED, JobStatus.CANCELLED)
"""How a job ends without a result: whoever asks for it again has it done again."""
_UNFINISHED = (JobStatus.QUEUED, JobStatus.RUNNING)
_UNPOSTPONED: dict[str, Any] = {"not_before": None, "postponed": 0}
LEASE_SECONDS = 60.0
"""How long a worker may be silent before its job is offered to another one."""
LEASE_LIMIT_SECONDS = 10 * LEASE_SECONDS
"""A lease that ends later than that is of a clock that was set back since: whoever lives renews it in time."""


class Jobs:
    def __init__(self, database: Database) -> None:
        self._database = database

    def submit(self, key: str, kind: str, inputs: Json, priority: int = 0, pinned: str | None = None) -> JobRecord:
        """Ask for a job. One that is done, queued or being worked on is joined; one that failed or was cancelled
        starts afresh. Whoever asks for it most urgently decides its `priority`, who asks first the queue that it is
        `pinned` to.
        """
        with self._database.write() as session:
            now = self._database.now(session)
            fresh = {"status": JobStatus.QUEUED, "attempts": 0, "done": 0, "total": 0, "stage": "", "updated_at": now}
            fresh |= {"priority": priority, "pinned": pinned, **_UNPOSTPONED}
            identity = {"key": key, "kind": kind, "inputs": dict(inputs), "fence": 0, "created_at": now}
            if not insert_new(session, JobRow, identity | fresh):
                given_up = update(JobRow).where(JobRow.key == key, JobRow.status.in_(GIVEN_UP))
                session.execute(given_up.values(**fresh, error=None, sent_at=None, finished_at=None, cancel_at=None))
                waits = update(JobRow).where(JobRow.key == key, JobRow.status == JobStatus.QUEUED)
                session.execute(waits.where(JobRow.priority < priority).values(priority=priority))
            return _record(_row(session, key))

    def cancel(self, key: str, by: str) -> JobRecord:
        """Have a job not done. One that waits never starts; one that is being done stops when it next says how far it
        is, and is cancelled then. One that is over stays what it is. Raises `NotFound`.
        """
        with self._database.write() as session:
            now = self._database.now(session)
            row = _row(session, key, for_update=True)
            if row.status == JobStatus.QUEUED or _expired(row, now):
                _cancel(row, now, by)
            elif row.status == JobStatus.RUNNING:
                # Who asked is kept where the reason will be: a step that ends well all the same wipes it out.
                row.error = row.error if row.cancel_at is not None else _cancelled_by(by)
                row.cancel_at = row.cancel_at or now
            return _record(row)

    def is_cancelled(self, key: str) -> bool:
        """Whether somebody asked for a job to stop."""
        with self._database.read() as session:
            return session.scalar(select(JobRow.cancel_at).where(JobRow.key == key)) is not None

    def stop(self, lease: Lease) -> bool:
        """Say that a job that was to stop has stopped. False where the lease was lost."""
        return self._finish(lease, JobStatus.CANCELLED)

    def next_sent(self) -> str | None:
        """The most urgent job that waits and was handed on (`mark_sent`), or None; the oldest of several."""
        return self._most_urgent(JobRow.sent_at.is_not(None))

    def more_urgent(self, job: JobRecord) -> str | None:
        """A job of the same kind and queue that waits, was handed on, and is to be done before `job`, which may not
        wait.
        """
        pinned = JobRow.pinned.is_(None) if job.pinned is None else JobRow.pinned == job.pinned
        others = and_(JobRow.kind == job.kind, pinned, JobRow.sent_at.is_not(None))
        queued = job.status is JobStatus.QUEUED and self.put_off(job) == 0
        waits = queued or (job.status is JobStatus.RUNNING and not self.is_held(job))
        return self._most_urgent(and_(others, JobRow.priority > job.priority) if waits else others)

    def _most_urgent(self, among: ColumnElement[bool]) -> str | None:
        """Of a queue of a million this reads two rows of an index, and of those that are held all, who are few."""
        with self._database.read() as session:
            queued = and_(JobRow.status == JobStatus.QUEUED, _due(self._database.now(session)), among)
            highest = session.scalar(select(JobRow.priority).where(queued).order_by(JobRow.priority.desc()).limit(1))
            found: list[JobRow] = list(
                session.scalars(_by_urgency(_abandoned(self._database.now(session), among)).limit(1))
            )
            if highest is not None:
                oldest = select(JobRow).where(queued, JobRow.priority == highest).order_by(JobRow.id).limit(1)
                found += session.scalars(oldest)
        return min(found, key=_urgency).key if found else None

    def redo(self, key: str) -> JobRecord:
        """Queue a finished job again, for when what it made was deleted."""
        fresh = {"status": JobStatus.QUEUED, "attempts": 0, "sent_at": None, "finished_at": None, "result": None}
        fresh |= {"cancel_at": None, **_UNPOSTPONED}
        with self._database.write() as session:
            session.execute(
                update(JobRow).where(JobRow.key == key, JobRow.status == JobStatus.DONE).values(done=0, **fresh)
            )
        return self.get(key)

    def get(self, key: str) -> JobRecord:
        """Raises `NotFound`."""
        with self._database.read() as session:
            return _record(_row(session, key))

    def many(self, keys: Sequence[str]) -> list[JobRecord]:
        """Jobs in the order of `keys`. Raises `NotFound`."""
        with self._database.read() as session:
            queries = [select(JobRow).where(JobRow.key.in_(part)) for part in in_parts(keys)]
            rows = {row.key: row for query in queries for row in session.scalars(query)}
        if missing := [key for key in keys if key not in rows]:
            raise NotFound(f"there is no job {missing[0]!r} in the store")
        return [_record(rows[key]) for key in keys]

    def find(self, beginning: str) -> str:
        """The key of the job whose key begins so. Raises `NotFound` where none does, or several do."""
        query = select(JobRow.key).where(JobRow.key.startswith(beginning, autoescape=True)).limit(2)
        with self._database.read() as session:
            found = session.scalars(query).all()
        if len(found) != 1 or not beginning:
            raise NotFound(
                f"{'several jobs have' if found else 'there is no job with'} a key that begins {beginning!r}"
            )
        return found[0]

    def page(self, before: int | None, limit: int, asked_by: str | None = None) -> list[tuple[int, JobRecord]]:
        """Jobs by their numbers, the newest first: those before the one with number `before`, or from the end; all, or
        those that somebody asked for over the network.
        """
        query = select(JobRow).order_by(JobRow.id.desc()).limit(limit)
        if before is not None:
            query = query.where(JobRow.id < before)
        if asked_by is not None:
            query = query.join(JobAskerRow, JobAskerRow.key == JobRow.key).where(JobAskerRow.owner == asked_by)
        with self._database.read() as session:
            return [(row.id, _record(row)) for row in session.scalars(query)]

    def recent(self, limit: int = 200, status: JobStatus | None = None) -> list[JobRecord]:
        """The last ones that anything happened to, newest first: all, or those in a state."""
        query = select(JobRow).order_by(JobRow.updated_at.desc(), JobRow.id.desc()).limit(limit)
        if status is not None:
            query = query.where(JobRow.status == status)
        with self._database.read() as session:
            return [_record(row) for row in session.scalars(query)]

    def counts(self) -> dict[JobStatus, int]:
        """How many jobs there are in each state."""
        query = select(JobRow.status, func.count()).group_by(JobRow.status)
        with self._database.read() as session:
            found = {JobStatus(status): int(count) for status, count in session.execute(query)}
        return {status: found.get(status, 0) for status in JobStatus}

    def finished(self, kind: str) -> list[JobRecord]:
        """Jobs of a kind that are done, the newest first."""
        query = select(JobRow).where(JobRow.kind == kind, JobRow.status == JobStatus.DONE)
        with self._database.read() as session:
            return [_record(row) for row in session.scalars(query.order_by(JobRow.finished_at.desc()))]

    def acquire(self, key: str, owner: str, seconds: float = LEASE_SECONDS) -> Lease | None:
        """Take a job's lease, or None where it is finished or another owner holds it.

        A job that is out of attempts becomes failed instead, and one that was put off cannot be had before its time.
        """
        with self._database.write() as session:
            now = self._database.now(session)
            row = _row(session, key, for_update=True)
            if not (_waits(row, now) or _expired(row, now)):
                return None
            if row.cancel_at is not None:
                _cancel(row, now, "")
                return None
            if row.attempts >= MAX_ATTEMPTS:
                _exhaust(row, now)
                return None
            row.status, row.attempts, row.fence = JobStatus.RUNNING, row.attempts + 1, row.fence + 1
            row.lease_owner, row.lease_expires, row.updated_at = owner, now + seconds, now
            return Lease(key, owner, row.fence)

    def heartbeat(self, lease: Lease, seconds: float = LEASE_SECONDS) -> bool:
        """Renew a lease. False where it was lost, and the work must stop."""
        return self._change(lease, lambda now: {"lease_expires": now + seconds})

    def progress(self, lease: Lease, done: int, total: int, stage: str) -> bool:
        """Note how far the work is. False where the lease was lost."""
        return self._change(lease, lambda now: {"done": done, "total": total, "stage": stage})

    def complete(self, lease: Lease, result: Json) -> bool:
        """Store what came of a job. False where the lease was lost: then another worker's result counts."""
        return self._finish(lease, JobStatus.DONE, result=dict(result), error=None)

    def fail(self, lease: Lease, error: Json) -> bool:
        """Give a job up for good."""
        return self._finish(lease, JobStatus.FAILED, error=dict(error))

    def release(self, lease: Lease, error: Json | None = None) -> bool:
        """Put a job back in the queue: after `error`, or, at no attempt's cost, because its user interrupted it.

        One that was to stop is cancelled instead.
        """
        if self.is_cancelled(lease.key):
            return self.stop(lease)
        back = {"status": JobStatus.QUEUED, "lease_owner": None, "lease_expires": None, "sent_at": None}
        spent: dict[str, Any] = {"error": dict(error)} if error else {"attempts": JobRow.attempts - 1}
        return self._change(lease, lambda now: back | spent)

    def postpone(self, lease: Lease, seconds: float, reason: Json) -> bool:
        """Put a job back in the queue, where it waits for `seconds` (at most `LEASE_LIMIT_SECONDS`), at no attempt's
        cost: it is not the job that failed. One that was to stop is cancelled instead. False where the lease was lost.
        """
        if self.is_cancelled(lease.key):
            return self.stop(lease)
        back = {"status": JobStatus.QUEUED, "lease_owner": None, "lease_expires": None, "sent_at": None}
        counts = {"attempts": JobRow.attempts - 1, "postponed": JobRow.postponed + 1, "error": dict(reason)}
        return self._change(lease, lambda now: {"not_before": now + seconds, **back, **counts})

    def hasten(self, key: str, pinned: str | None = None) -> None:
        """Have a job that waits done as soon as somebody can, even if it was put off; in the queue `pinned`, if any."""
        chosen = {} if pinned is None else {"pinned": pinned, "sent_at": None}
        waits = update(JobRow).where(JobRow.key == key, JobRow.status == JobStatus.QUEUED)
        with self._database.write() as session:
            session.execute(waits.values(not_before=None, **chosen))

    def pinned(self) -> list[str]:
        """The queues that somebody chose for jobs which are not over."""
        query = select(JobRow.pinned).where(JobRow.pinned.is_not(None), JobRow.status.in_(_UNFINISHED)).distinct()
        with self._database.read() as session:
            return sorted(str(name) for name in session.scalars(query))

    def evict(self, key: str, owner: str) -> None:
        """End the lease of an owner that is known to be dead."""
        self._end_leases(JobRow.key == key, owner, {})

    def bury(self, owner: str, error: Json) -> None:
        """End all leases of an owner that is known to be dead, and note what it died of."""
        self._end_leases(true(), owner, {"error": dict(error)})

    def _end_leases(self, among: ColumnElement[bool], owner: str, noted: dict[str, Any]) -> None:
        """The broker has to be told again: the message went with its owner."""
        held = and_(among, JobRow.lease_owner == owner, JobRow.status == JobStatus.RUNNING)
        # Who cancelled a job is noted in its error already.
        noted = {
            name: case((JobRow.cancel_at.is_(None), literal(value, JobRow.error.type)), else_=JobRow.error)
            for name, value in noted.items()
        }
        with self._database.write() as session:
            session.execute(update(JobRow).where(held).values(lease_expires=0.0, sent_at=None, **noted))

    def is_held(self, job: JobRecord) -> bool:
        """Whether somebody does the job, and was heard of within their lease."""
        if job.status is not JobStatus.RUNNING:
            return False
        with self._database.read() as session:
            now = self._database.now(session)
        return now <= (job.lease_expires or 0.0) <= now + LEASE_LIMIT_SECONDS

    def put_off(self, job: JobRecord) -> float:
        """For how many seconds more a queued job cannot be had, because it was put off; 0 for any other."""
        if job.status is not JobStatus.QUEUED or job.not_before is None:
            return 0.0
        with self._database.read() as session:
            now = self._database.now(session)
        return 0.0 if _waits(job, now) else job.not_before - now

    def unsent(
        self, resend_after: float, limit: int = 1000, *, kinds: Sequence[str] | None = None, pinned: str | None = None
    ) -> list[JobRecord]:
        """Jobs that a broker should be told of, the most urgent and then the oldest first: all; those of `kinds` that
        are pinned to no queue; or those that are `pinned` to one.

        Queued ones that it was never told of, or was more than `resend_after` seconds ago (its message may
        be lost), and running ones whose lease ran out since. The lease is not touched here: it is the taker's.
        """
        of: ColumnElement[bool] = true()
        if pinned is not None:
            of = JobRow.pinned == pinned
        elif kinds is not None:
            of = and_(JobRow.kind.in_(kinds), JobRow.pinned.is_(None))
        with self._database.read() as session:
            now = self._database.now(session)
            unheard = JobRow.sent_at.is_(None)
            forgotten = or_(unheard, JobRow.sent_at < now - resend_after) if isfinite(resend_after) else unheard
            queued: Select[Any] = select(JobRow).where(JobRow.status == JobStatus.QUEUED, _due(now), forgotten, of)
            # Whoever held it took its message along, so that it does not matter what else the broker holds.
            orphaned = _abandoned(now, and_(or_(forgotten, JobRow.sent_at <= JobRow.lease_expires), of))
            found: list[JobRow] = [
                row for query in (queued, orphaned) for row in session.scalars(_by_urgency(query).limit(limit))
            ]
            return [_record(row) for row in sorted(found, key=_urgency)[:limit]]

    def mark_sent(self, key: str) -> None:
        with self._database.write() as session:
            session.execute(update(JobRow).where(JobRow.key == key).values(sent_at=self._database.now(session)))

    def _finish(self, lease: Lease, status: JobStatus, **changes: Any) -> bool:
        """True also where this very lease ended so before: whose connection broke while it committed asks again."""
        freed = {"lease_owner": None, "lease_expires": None}
        if self._change(lease, lambda now: {"status": status, "finished_at": now, **freed, **changes}):
            return True
        ended = and_(JobRow.key == lease.key, JobRow.fence == lease.fence, JobRow.status == status)
        with self._database.read() as session:
            return session.scalar(select(JobRow.id).where(ended)) is not None

    def _change(self, lease: Lease, changes: Callable[[float], dict[str, Any]]) -> bool:
        """Update the row if its fence is still the lease's; whoever lost the lease updates no row."""
        held = and_(JobRow.key == lease.key, JobRow.fence == lease.fence, JobRow.status == JobStatus.RUNNING)
        with self._database.write() as session:
            now = self._database.now(session)
            statement = update(JobRow).where(held).values(updated_at=now, **changes(now)).returning(JobRow.key)
            return session.execute(statement).first() is not None


def _row(session: Session, key: str, for_update: bool = False) -> JobRow:
    query = select(JobRow).where(JobRow.key == key)
    row = session.scalar(query.with_for_update() if for_update else query)
    if row is None:
        raise NotFound(f"there is no job {key!r} in the store")
    return row


def _abandoned(now: float, among: ColumnElement[bool]) -> Select[Any]:
    """Held by somebody who was silent for too long."""
    over = or_(JobRow.lease_expires < now, JobRow.lease_expires > now + LEASE_LIMIT_SECONDS)
    return select(JobRow).where(JobRow.status == JobStatus.RUNNING, over, among)


def _due(now: float) -> ColumnElement[bool]:
    """Not put off until later. A time that is too far away is of a clock that was set back since."""
    at = JobRow.not_before
    return or_(at.is_(None), at <= now, at > now + LEASE_LIMIT_SECONDS)


def _waits(row: JobRow | JobRecord, now: float) -> bool:
    at = row.not_before
    return row.status == JobStatus.QUEUED and (at is None or not now < at <= now + LEASE_LIMIT_SECONDS)


def _urgency(row: JobRow) -> tuple[int, int]:
    return -row.priority, row.id


def _by_urgency(query: Select[Any]) -> Select[Any]:
    return query.order_by(JobRow.priority.desc(), JobRow.id)


def _cancelled_by(by: str) -> dict[str, Any]:
    return {"type": "Cancelled", "message": f"cancelled by {by}" if by else "cancelled", "user": True}


def _cancel(row: JobRow, now: float, by: str) -> None:
    """Whoever still thinks to hold it changes nothing more."""
    asked = row.error if row.cancel_at is not None else None
    row.status, row.finished_at, row.lease_owner, row.lease_expires = JobStatus.CANCELLED, now, None, None
    row.error, row.updated_at, row.fence = asked or _cancelled_by(by), now, row.fence + 1


def _expired(row: JobRow, now: float) -> bool:
    return row.status == JobStatus.RUNNING and not now <= (row.lease_expires or 0.0) <= now + LEASE_LIMIT_SECONDS


def _exhaust(row: JobRow, now: float) -> None:
    """Fail a job that is out of attempts: with its last error, or, where there is none, because workers died of it."""
    died = {"type": "WorkerLost", "message": f"its worker died {row.attempts} times", "user": False}
    row.status, row.finished_at, row.lease_owner, row.lease_expires = JobStatus.FAILED, now, None, None
    row.error, row.updated_at, row.fence = row.error or died, now, row.fence + 1


def _record(row: JobRow) -> JobRecord:
    return JobRecord(
        key=row.key,
        kind=row.kind,
        inputs=row.inputs,
        status=JobStatus(row.status),
        attempts=row.attempts,
        done=row.done,
        total=row.total,
        stage=row.stage,
        lease_owner=row.lease_owner,
        lease_expires=row.lease_expires,
        fence=row.fence,
        error=row.error,
        result=row.result,
        created_at=row.created_at,
        updated_at=row.updated_at,
        priority=row.priority,
        cancel_at=row.cancel_at,
        not_before=row.not_before,
        postponed=row.postponed,
        pinned=row.pinned,
    )
