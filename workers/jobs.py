"""Doing jobs: take the lease, keep it alive, run the step, and store what came of it under the fence.

The same `execute` runs in a Celery worker and in the process of a command without a broker.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy.exc import SQLAlchemyError

from arena.contracts import DreamarenaError, InvalidInput
from arena.store import LEASE_SECONDS, JobRecord, Lease, Store
from workers.artifacts import Artifacts
from workers.registry import Workshop
from workers.settings import Settings

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called with how much is done, of how much, and what is being done."""
Json = dict[str, Any]

REPORT_SECONDS = 0.5
"""Progress is written to the jobs table at most this often."""


class Inputs(BaseModel):
    """What a step is asked to do: JSON that may come from a queue, so it is checked strictly."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


I = TypeVar("I", bound=Inputs)  # noqa: E741


@dataclass(frozen=True)
class Context:
    """What a step works with: where to read and keep things, and whom to tell how far it is."""

    settings: Settings
    store: Store
    artifacts: Artifacts
    progress: Progress
    workshop: Workshop


@dataclass(frozen=True)
class Step(Generic[I]):
    """A kind of job. `intact` says whether what a finished one made is still there."""

    name: str
    inputs: type[I]
    run: Callable[[I, Context], Json]
    intact: Callable[[I, Context], bool] = lambda _inputs, _context: True


Steps = Mapping[str, Step[Any]]


@dataclass(frozen=True)
class Request:
    """A step to be run on some inputs. `key` is the content address of both."""

    kind: str
    inputs: Inputs

    @property
    def key(self) -> str:
        asked = {"kind": self.kind, "inputs": self.inputs.model_dump(mode="json"), "release": version("dreamarena")}
        return content_address(asked)


class LeaseLost(Exception):
    """This worker was silent for too long, and another one has its job now."""


class JobFailed(DreamarenaError):
    """A job was given up, for a reason that its user can do something about."""


class JobCrashed(RuntimeError):
    """A job was given up because of an error in dreamarena or its machine. The worker's log has the traceback."""


def content_address(value: object) -> str:
    """Hex sha256 of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(*paths: Path) -> str:
    """A hash of the names, sizes and times of change of the files at `paths`, without reading them.

    It goes into the inputs of a job that reads `paths`, so that changed data is a different job. Raises
    `InvalidInput` for a path that does not exist.
    """
    return content_address([_facts(path) for path in paths])


def _facts(path: Path) -> list[tuple[str, int, int]]:
    if not path.exists():
        raise InvalidInput(f"{path} does not exist")
    root = path.resolve()
    files = sorted(item for item in root.rglob("*") if item.is_file()) if root.is_dir() else [root]
    return [(item.relative_to(root).as_posix(), item.stat().st_size, item.stat().st_mtime_ns) for item in files]


def owner_id() -> str:
    """This process: its host, its id, and when it began, because ids are used again."""
    return f"{socket.gethostname()}:{os.getpid()}:{_began(os.getpid())}"


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
    """Do a job if nobody else does or did, and return what the table says of it then.

    An error that its user caused fails the job; an `OSError` puts it back, for three attempts in all; an
    interruption puts it back at no cost. All of them are raised again. `LeaseLost` is not an error.
    """
    jobs = context.store.jobs
    lease = jobs.acquire(key, owner_id(), lease_seconds)
    if lease is None:
        return jobs.get(key)
    try:
        with _kept_alive(context, lease, lease_seconds) as watched:
            job = jobs.get(key)
            step = _step(steps, job.kind)
            result = step.run(_inputs(step, job), watched)
        if not jobs.complete(lease, result):
            raise LeaseLost
    except LeaseLost:
        log.warning("the lease of job %s (%s) was lost; another worker has it", key, jobs.get(key).kind)
    except OSError as error:
        jobs.release(lease, error_record(error))
        raise
    except Exception as error:
        jobs.fail(lease, error_record(error))
        raise
    except BaseException:
        jobs.release(lease)
        raise
    return jobs.get(key)


def error_record(error: Exception) -> Json:
    """An error as the jobs table keeps it. `user` says whether its user can mend it."""
    message = str(error) or type(error).__name__
    return {"type": type(error).__name__, "message": message, "user": isinstance(error, DreamarenaError)}


def raise_failure(job: JobRecord) -> None:
    """Raise what made a job fail: `JobFailed` if its user can mend it, `JobCrashed` otherwise."""
    error = job.error or {}
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
def _kept_alive(context: Context, lease: Lease, seconds: float) -> Iterator[Context]:
    """Renew the lease in a thread while a step runs, and let its progress raise `LeaseLost` once it is lost."""
    lost, stop = threading.Event(), threading.Event()

    def renew() -> None:
        while not stop.wait(seconds / 4):
            try:
                kept = context.store.jobs.heartbeat(lease, seconds)
            except SQLAlchemyError as error:
                # The database may come back before the lease ends; if not, the fence refuses our result.
                log.warning("cannot renew the lease of job %s: %s", lease.key, error)
                continue
            if not kept:
                lost.set()
                return

    thread = threading.Thread(target=renew, name=f"lease-{lease.key[:8]}", daemon=True)
    thread.start()
    try:
        yield replace(context, progress=_reporting(context, lease, lost))
    finally:
        stop.set()
        thread.join()


def _reporting(context: Context, lease: Lease, lost: threading.Event) -> Progress:
    """Progress for the table, not too often, and for whoever watches."""
    last_time, last_stage = 0.0, ""

    def report(done: int, total: int, stage: str) -> None:
        nonlocal last_time, last_stage
        context.progress(done, total, stage)
        if lost.is_set():
            raise LeaseLost
        due = time.monotonic() - last_time > REPORT_SECONDS or stage != last_stage or done == total
        if due:
            last_time, last_stage = time.monotonic(), stage
            if not context.store.jobs.progress(lease, done, total, stage):
                raise LeaseLost

    return report
