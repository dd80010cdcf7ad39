"""A job that a page starts: sent to the workers, or done by a process of its own where there are none."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import traceback
from functools import cache
from typing import IO, TYPE_CHECKING

from arena.contracts import DreamarenaError
from arena.store import GIVEN_UP, JobRecord, JobStatus, Store
from workers.jobs import Request
from workers.runner import free_if_dead
from workers.settings import Settings

if TYPE_CHECKING:
    from workers.app import CeleryBroker
    from workers.cli.session import Session


def launch(request: Request, settings: Settings, store: Store, priority: int = 0) -> JobRecord:
    """Ask for a job and have somebody do it. What is done, or being done, is not asked for again.

    Raises `BrokerUnreachable`; the job then waits for the next worker.
    """
    known = store.jobs.submit(request.key, request.kind, request.inputs.model_dump(mode="json"), priority)
    return take_up(known, settings, store)


def take_up(known: JobRecord, settings: Settings, store: Store) -> JobRecord:
    """As `launch`, for a job that was asked for just now."""
    if known.status is JobStatus.DONE and not _intact(known, settings, store):
        known = store.jobs.redo(known.key)
    return _have_done(known, settings, store)


def _intact(job: JobRecord, settings: Settings, store: Store) -> bool:
    """Whether what a finished job made is still there, and whole."""
    from workers.artifacts import Artifacts
    from workers.jobs import Context
    from workers.registry import Workshop
    from workers.tasks import STEPS

    artifacts = Artifacts(settings.artifacts_location, settings.cache)
    context = Context(settings, store, artifacts, lambda done, total, stage: None, Workshop())
    step = STEPS[job.kind]
    return step.intact(step.inputs.model_validate_json(json.dumps(dict(job.inputs))), context)


def again(
    key: str, settings: Settings, store: Store, priority: int | None = None, pinned: str | None = None
) -> JobRecord:
    """Have a job that failed, was cancelled, was put off, or that nobody took up, done now, as urgently as before or
    said now, and by whom it was `pinned` to before or is now.

    Raises `NotFound`, `BrokerUnreachable`.
    """
    job = store.jobs.get(key)
    urgency = job.priority if priority is None else priority
    store.jobs.submit(key, job.kind, job.inputs, urgency, pinned or job.pinned)
    store.jobs.hasten(key, pinned)
    return _have_done(store.jobs.get(key), settings, store)


def _have_done(job: JobRecord, settings: Settings, store: Store) -> JobRecord:
    """A job that a dead process holds is taken up again; one that is done was done."""
    if free_if_dead(store.jobs, job.key, job):
        job = store.jobs.get(job.key)
    if job.status is JobStatus.DONE or store.jobs.is_held(job):
        return job
    if settings.broker_url is not None and store.jobs.put_off(job) > 0:
        # Workers look for it when its time has come: a message now would be spent on nothing.
        return job
    if settings.broker_url is None:
        store.jobs.mark_sent(job.key)
        _spawn(job.key, settings)
        return job
    broker_of(settings.broker_url).send(job)
    store.jobs.mark_sent(job.key)
    return store.jobs.get(job.key)


def revive(settings: Settings, store: Store) -> bool:
    """Have jobs that wait go on: where the process that did launched ones died, or a broker did not hear or forgot.

    Returns whether there were any. Raises `BrokerUnreachable`.
    """
    if settings.broker_url is not None:
        from workers.runner import offer

        return offer(store.jobs, broker_of(settings.broker_url)) > 0
    key = store.jobs.next_sent()
    if key is not None:
        _spawn(key, settings)
    return key is not None


@cache
def broker_of(url: str) -> CeleryBroker:
    """One for each process, because it keeps its connections."""
    from workers.app import CeleryBroker, make_app
    from workers.tasks import STEPS

    return CeleryBroker(make_app(url), url, STEPS)


def _spawn(key: str, settings: Settings) -> None:
    """See to it that a process does the launched jobs: the one that is at it already will come to this one too.

    It outlives the page; how far it is and what went wrong is in the job, what it prints in `launched.log`.
    """
    with _lock(settings) as lock, (settings.home.absolute() / "launched.log").open("ab") as log:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        # The lock is handed on, so that of two who come at once, one starts a process.
        subprocess.Popen(
            [sys.executable, "-m", "workers.launch", key, str(lock.fileno())],
            env={**os.environ, "DREAMARENA_HOME": str(settings.home.absolute())},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock.fileno()],
            start_new_session=True,
        )


def main(key: str, inherited: int | None = None) -> int:
    """Do launched jobs here, the most urgent first, until none waits: `key`, and those that come meanwhile.

    One process at a time does so, because two jobs would not fit one GPU's memory; models stay loaded from one job to
    the next. A fault of the machine is tried again, as often as any job is. `inherited` is the file that is locked
    meanwhile, where whoever started this process has locked it. Exit code 1 where `key` failed: the job says why.
    """
    from workers.cli.session import Session
    from workers.settings import load_settings

    settings = load_settings()
    session = Session(settings)
    jobs = session.context.store.jobs
    jobs.mark_sent(key)
    lock = _lock(settings) if inherited is None else os.fdopen(inherited, "w")
    try:
        # Whoever launches a job while the lock is held leaves it to its holder, who therefore looks once more after
        # letting go of it.
        while jobs.next_sent() is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
            while (waiting := jobs.next_sent()) is not None:
                _do(waiting, session)
            fcntl.flock(lock, fcntl.LOCK_UN)
    finally:
        lock.close()
        session.close()
    return int(jobs.get(key).status in GIVEN_UP)


def _do(key: str, session: Session) -> None:
    """One job. What went wrong is in the job, and its traceback in the log."""
    from workers.execution import execute

    jobs = session.context.store.jobs
    try:
        execute(session.steps(), session.context, key)
    except OSError as error:
        print(f"job {key}: {error}", file=sys.stderr)
    except DreamarenaError:
        pass
    except Exception:
        traceback.print_exc()
    if jobs.get(key).status is JobStatus.QUEUED:
        jobs.mark_sent(key)


def _lock(settings: Settings) -> IO[str]:
    """Whoever locks this file does the launched jobs of this home. The lock goes with the process that holds it."""
    settings.home.absolute().mkdir(parents=True, exist_ok=True)
    return (settings.home.absolute() / "launched.lock").open("w")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
