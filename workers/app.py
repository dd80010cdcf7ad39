"""The Celery application. Its messages only carry the keys of jobs; the jobs table is the truth."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from arena.contracts import InvalidInput
from arena.store import AWAY, LEASE_SECONDS, JobRecord, Store
from workers.draining import Draining
from workers.execution import HandedBack, Outcome, log, perform, raise_failure
from workers.jobs import Context, Json, Queue, Steps
from workers.runner import BrokerUnreachable, free_if_dead, offer
from workers.settings import Settings

PINNED = re.compile(r"gpu\.\d{1,3}")
"""The queue of one GPU of each machine, e.g. `gpu.2`."""
VISIBILITY_SECONDS = 12 * 3600
"""Redis gives a message that is not acknowledged in this time to another worker: longer than any job."""
CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class Timing:
    """How long a worker waits for what, in seconds. Tests of faults are in more of a hurry."""

    lease: float = LEASE_SECONDS
    visibility: float = VISIBILITY_SECONDS
    sweep: float = LEASE_SECONDS / 2
    """How often what waits is looked for that no message tells of."""
    drain: float = 40.0
    """How long a job may go on once the worker is told to end. What stops a worker (docker: `stop_grace_period`) has
    to wait for longer than this, and than a step takes from one report to the next."""
    limit: float = inf
    """How long a job may take in all."""


TIMING = Timing()


def make_app(broker_url: str, visibility_seconds: float = VISIBILITY_SECONDS) -> Celery:
    """A Celery application without tasks: enough to send messages."""
    app = Celery("dreamarena", broker=broker_url)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        # CUDA does not survive a fork, and a model's weights are worth keeping between tasks.
        worker_pool="solo",
        worker_concurrency=1,
        task_default_queue=broker_name(Queue.CPU),
        # What Flower shows.
        worker_send_task_events=True,
        task_send_sent_event=True,
        broker_transport_options={
            "visibility_timeout": visibility_seconds,
            "socket_connect_timeout": CONNECT_SECONDS,
            # RabbitMQ says that it has a message once it is on disk; without being asked, it says nothing.
            "confirm_publish": True,
        },
        broker_connection_timeout=CONNECT_SECONDS,
        broker_connection_retry_on_startup=True,
        # A worker outlives its broker, however long that is away.
        broker_connection_max_retries=None,
        # RabbitMQ closes the channel of a worker whose job outlasts its consumer timeout: no reason to end.
        broker_channel_error_retry=True,
        # A worker that is busy says nothing to RabbitMQ, which would take it for dead; leases tell who is.
        broker_heartbeat=0,
        task_publish_retry_policy={"max_retries": 2, "interval_start": 0.2, "interval_step": 0.5},
        worker_hijack_root_logger=False,
    )
    return app


def broker_name(queue: str) -> str:
    """What a queue is called at the broker, which may have others."""
    return f"dreamarena.{queue}"


def known_queue(name: str) -> str:
    """Raises `InvalidInput` for what is no queue of ours."""
    if name not in list(Queue) and not PINNED.fullmatch(name):
        raise InvalidInput(f"there is no queue {name!r}, only {', '.join(Queue)} and gpu.INDEX")
    return name


def task_name(kind: str) -> str:
    """Names of tasks are part of the protocol between releases: they do not follow the code's layout."""
    return f"dreamarena.{kind}"


def register(app: Celery, steps: Steps, open_context: Callable[[], Context], timing: Timing = TIMING) -> None:
    """Make every step a task of `app`. The context is opened by the worker's first task."""
    for kind in steps:
        app.task(_task(steps, open_context, timing), name=task_name(kind))


def _task(steps: Steps, open_context: Callable[[], Context], timing: Timing) -> Callable[[str], Json]:
    def run(key: str) -> Json:
        # A message is a ticket: whoever holds one does the most urgent job of its kind. That needs nothing of the
        # broker, and the job that was overtaken is done by the ticket of the one that overtook it.
        context = open_context()
        jobs = context.store.jobs
        # A ticket that comes back is that of a worker which died, and need not wait for its lease to end.
        free_if_dead(jobs, key)
        chosen = jobs.more_urgent(jobs.get(key)) or key
        try:
            performed = perform(steps, context, chosen, timing.lease, timing.limit)
        except HandedBack:
            log.warning("this worker ends: what it was at was put back in the queue")
            return outcome_of(chosen, Outcome.PUT_BACK, "its worker was told to end")
        except InvalidInput as error:
            return outcome_of(chosen, Outcome.REFUSED, str(error))
        if performed.outcome is Outcome.FAILED:
            raise_failure(performed.job)
        log.info("job %s (%s): %s", chosen, performed.job.kind, performed.outcome)
        return outcome_of(chosen, performed.outcome, (performed.job.error or {}).get("message"))

    return run


def outcome_of(key: str, outcome: Outcome, reason: str | None) -> Json:
    """What a task returns, for whoever watches (Flower): the table is the truth. A job that failed is raised."""
    return {"job": key, "outcome": str(outcome), "reason": reason}


class CeleryBroker:
    """Sends jobs' keys to the workers of `app`. `steps` say what each kind of job needs, and so its queue."""

    def __init__(self, app: Celery, url: str, steps: Steps) -> None:
        self._app = app
        self._url = url
        self._steps = steps

    def send(self, job: JobRecord) -> None:
        step = self._steps.get(job.kind)
        queue = job.pinned or (Queue.CPU if step is None else step.needs)
        with self._reaching():
            self._app.send_task(task_name(job.kind), args=[job.key], queue=broker_name(queue))

    def kinds(self, queue: str) -> Sequence[str]:
        return [kind for kind, step in self._steps.items() if step.needs == queue]

    def waiting(self, pinned: Sequence[str] = ()) -> dict[str, int]:
        with self._reaching(), self._app.connection_for_write(connect_timeout=CONNECT_SECONDS) as connection:
            connection.ensure_connection(max_retries=1, timeout=CONNECT_SECONDS)
            channel = connection.default_channel
            found = {}
            for queue in (*map(str, Queue), *pinned):
                declared = channel.queue_declare(broker_name(queue), durable=True, auto_delete=False)
                found[queue] = int(declared.message_count)
            return found

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, OSError) as error:
            shown = self._app.connection_for_write(self._url).as_uri()
            raise BrokerUnreachable(f"cannot reach the broker {shown} (DREAMARENA_BROKER_URL): {error}") from error


@contextmanager
def reaping(store: Store, broker: CeleryBroker, seconds: float = TIMING.sweep) -> Iterator[None]:
    """While a worker runs, offer again what other workers left behind and what the broker forgot."""
    stop = threading.Event()

    def reap() -> None:
        while not stop.wait(seconds):
            try:
                offer(store.jobs, broker)
            except (BrokerUnreachable, *AWAY) as error:
                # Both may come back, and then this has to be here still.
                log.warning("cannot look for jobs that were left behind: %s", error)
            except Exception:
                log.exception("cannot look for jobs that were left behind")

    thread = threading.Thread(target=reap, name="reaper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def broker_of(settings: Settings) -> str:
    """The broker's address. Raises `BrokerUnreachable` where none is set."""
    if settings.broker_url is None:
        raise BrokerUnreachable("a worker needs a broker: set DREAMARENA_BROKER_URL, e.g. redis://127.0.0.1:6379/0")
    return settings.broker_url


def serve(
    settings: Settings, steps: Steps, context: Context, loglevel: str = "INFO", timing: Timing = TIMING,
    queues: Sequence[str] = tuple(Queue),
) -> int:  # fmt: skip
    """Take jobs of `queues` from the broker until told to stop. Returns the worker's exit status.

    Told by SIGTERM, it takes no new job, and breaks off the one it is at if that is not done in `timing.drain`.
    """
    url = broker_of(settings)
    app = make_app(url, timing.visibility)
    broker = CeleryBroker(app, url, steps)
    broker.waiting()
    with Draining(timing.drain) as draining:
        watched = replace(context, leaving=draining.is_over)
        register(app, steps, lambda: watched, timing)
        worker: Any = app.Worker(
            loglevel=loglevel,
            pool="solo",
            queues=[broker_name(queue) for queue in queues],
            without_gossip=True,
            without_mingle=True,
            # RabbitMQ lets no two workers of one machine go by the same name.
            hostname=f"dreamarena-{os.getpid()}@{socket.gethostname()}",
        )
        with reaping(context.store, broker, timing.sweep):
            worker.start()
    return int(worker.exitcode or 0)
