"""A job that a page starts: sent to the workers, or done by a process of its own where there are none."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from arena.contracts import DreamarenaError
from arena.store import JobRecord, JobStatus, Store
from workers.jobs import Request
from workers.runner import free_if_dead
from workers.settings import Settings


def launch(request: Request, settings: Settings, store: Store) -> JobRecord:
    """Ask for a job and have somebody do it. What is done, or being done, is not asked for again.

    Raises `BrokerUnreachable`; the job then waits for the next worker.
    """
    known = store.jobs.submit(request.key, request.kind, request.inputs.model_dump(mode="json"))
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


def again(key: str, settings: Settings, store: Store) -> JobRecord:
    """Have a job that failed, or that nobody took up, done again. Raises `NotFound`, `BrokerUnreachable`."""
    job = store.jobs.get(key)
    return _have_done(store.jobs.submit(key, job.kind, job.inputs), settings, store)


def _have_done(job: JobRecord, settings: Settings, store: Store) -> JobRecord:
    """A job that a dead process holds is taken up again; one that is done was done."""
    free_if_dead(store.jobs, job.key, job)
    job = store.jobs.get(job.key)
    alive = job.status is JobStatus.RUNNING and (job.lease_expires or 0.0) > time.time()
    if job.status is JobStatus.DONE or alive:
        return job
    if settings.broker_url is None:
        _spawn(job.key, settings)
        return job
    from workers.app import CeleryBroker, make_app
    from workers.runner import offer

    offer(store.jobs, CeleryBroker(make_app(settings.broker_url), settings.broker_url))
    return store.jobs.get(job.key)


def _spawn(key: str, settings: Settings) -> None:
    """It outlives the page; how far it is and what went wrong is in the job, what it prints in `launched.log`."""
    home = settings.home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    with (home / "launched.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "workers.launch", key],
            env={**os.environ, "DREAMARENA_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def main(key: str) -> int:
    """Do one job here, after those that were launched before it: two at once would not fit one GPU's memory.

    A fault of the machine is tried again, as often as any job is. Exit code 1 where it failed: the job says why.
    """
    from workers.cli.session import Session
    from workers.execution import execute
    from workers.settings import load_settings

    settings = load_settings()
    session = Session(settings)
    with _turn(settings):
        try:
            while True:
                try:
                    job = execute(session.steps(), session.context, key)
                except OSError:
                    job = session.context.store.jobs.get(key)
                except DreamarenaError:
                    return 1
                if job.status is not JobStatus.QUEUED:
                    return int(job.status is JobStatus.FAILED)
        finally:
            session.close()


@contextmanager
def _turn(settings: Settings) -> Iterator[None]:
    """Wait until no other launched process of this home works. The lock goes with the process that holds it."""
    settings.home.absolute().mkdir(parents=True, exist_ok=True)
    with (settings.home.absolute() / "launched.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
