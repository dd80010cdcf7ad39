"""A job that a page starts: sent to the workers, or done by a process of its own where there are none."""

from __future__ import annotations

import os
import subprocess
import sys

from arena.contracts import DreamarenaError
from arena.store import JobRecord, JobStatus, Store
from workers.jobs import Request
from workers.settings import Settings


def launch(request: Request, settings: Settings, store: Store) -> JobRecord:
    """Ask for a job and have somebody do it. What is done, or being done, is not asked for again.

    Raises `BrokerUnreachable`; the job then waits for the next worker.
    """
    known = store.jobs.submit(request.key, request.kind, request.inputs.model_dump(mode="json"))
    return _have_done(known, settings, store)


def again(key: str, settings: Settings, store: Store) -> JobRecord:
    """Have a failed job done again. Raises `NotFound`, `BrokerUnreachable`."""
    job = store.jobs.get(key)
    return _have_done(store.jobs.submit(key, job.kind, job.inputs), settings, store)


def _have_done(job: JobRecord, settings: Settings, store: Store) -> JobRecord:
    if job.status in (JobStatus.DONE, JobStatus.RUNNING):
        return job
    if settings.broker_url is None:
        _spawn(job.key, settings)
        return job
    from workers.app import CeleryBroker, make_app
    from workers.runner import offer

    offer(store.jobs, CeleryBroker(make_app(settings.broker_url), settings.broker_url))
    return store.jobs.get(job.key)


def _spawn(key: str, settings: Settings) -> None:
    """It outlives the page; its progress and its errors are in the job."""
    subprocess.Popen(
        [sys.executable, "-m", "workers.launch", key],
        env={**os.environ, "DREAMARENA_HOME": str(settings.home.absolute())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def main(key: str) -> int:
    """Do one job here. Exit code 1 where it failed: the job says why."""
    from workers.cli.session import Session
    from workers.execution import execute
    from workers.settings import load_settings

    session = Session(load_settings())
    try:
        execute(session.steps(), session.context, key)
    except DreamarenaError:
        return 1
    finally:
        session.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
