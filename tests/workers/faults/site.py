"""A database, a broker and a folder, the workers that share them, and what must hold whatever happened to those."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from arena.episodes.atomic import MANIFEST
from arena.store import JobRecord, JobStatus, Store
from tests.workers.faults.worker import STEPS
from workers.app import CeleryBroker, Timing, make_app
from workers.artifacts import Artifacts
from workers.jobs import Request
from workers.runner import offer
from workers.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[3]
LEASE = 3.0
"""Seconds, where a product's worker has 60: tests wait for several of them."""
QUICK = Timing(lease=LEASE, sweep=0.3, drain=1.0)
SECONDS = 240.0
"""On an idle machine none waits for more than twenty; a machine that runs tests is seldom idle."""
OVER = (JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED)


@dataclass
class Worker:
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(60)

    def is_ready(self) -> bool:
        return "[queues]" in self.log.read_text() or self.process.poll() is not None


@dataclass
class Site:
    home: Path
    broker_url: str
    database_url: str
    timing: Timing = QUICK
    extra: dict[str, str] = field(default_factory=dict)
    """More of the workers' environment."""

    def __post_init__(self) -> None:
        self.home.mkdir(exist_ok=True)
        self.settings = Settings(
            home=self.home, broker_url=self.broker_url, database_url=self.database_url, artifacts=None
        )
        self.store = Store(self.settings.store_url)
        self.artifacts = Artifacts(self.settings.artifacts_location, self.settings.cache)
        self.broker = CeleryBroker(make_app(self.broker_url), self.broker_url, STEPS)
        self._count = 0

    def ask(self, kind: str, x: int = 3, priority: int = 0, **inputs: Any) -> str:
        """A job in the table, which no broker was told of yet."""
        request = Request(kind, STEPS[kind].inputs(x=x, **inputs))
        return self.store.jobs.submit(request.key, kind, request.inputs.model_dump(mode="json"), priority).key

    def send(self) -> int:
        """Tell the broker of what waits."""
        return offer(self.store.jobs, self.broker)

    @contextmanager
    def workers(self, count: int = 1, *arguments: str, **environment: str) -> Iterator[list[Worker]]:
        """Workers that take jobs; killed at the end, if they are there still."""
        started = [self.start(*arguments, **environment) for _ in range(count)]
        try:
            yield started
        finally:
            for worker in started:
                self.end(worker)

    def start(self, *arguments: str, **environment: str) -> Worker:
        self._count += 1
        log = self.home / f"worker-{self._count}.log"
        variables = {
            "DREAMARENA_HOME": str(self.home),
            "DREAMARENA_BROKER_URL": self.broker_url,
            "DREAMARENA_DATABASE_URL": self.database_url,
            "FAULT_TIMING": json.dumps(asdict(self.timing)),
            "PYTHONPATH": str(REPOSITORY),
        }
        command = [sys.executable, "-m", "tests.workers.faults.worker", *arguments]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, env={**os.environ, **variables, **self.extra, **environment}, cwd=self.home,
                stdout=stream, stderr=stream, start_new_session=True,
            )  # fmt: skip
        return Worker(process, log)

    def end(self, worker: Worker) -> None:
        """Its whole session, so that a supervised worker goes with its parent."""
        with suppress(ProcessLookupError):
            os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.wait(60)

    def trace(self) -> list[tuple[str, int, int]]:
        """What steps said: `(what, x, process id)`."""
        path = self.home / "trace"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(word, int(x), int(pid)) for word, x, pid in map(str.split, lines)]

    def begun(self, x: int = 3) -> int:
        return sum(what == "begin" and number == x for what, number, _ in self.trace())

    def wait(self, ready: Callable[[], Any], seconds: float = SECONDS) -> float:
        """Until something holds; how long that took, in seconds."""
        began = time.monotonic()
        while not ready():
            assert time.monotonic() - began < seconds, f"{self.states()}\n{self.logs()}"
            time.sleep(0.05)
        return time.monotonic() - began

    def messages(self) -> int:
        """That no worker has taken, in all queues."""
        return sum(self.broker.waiting(self.store.jobs.pinned()).values())

    def settle(self, keys: Sequence[str], seconds: float = SECONDS) -> float:
        """Until all are over."""
        return self.wait(lambda: all(job.status in OVER for job in self.store.jobs.many(keys)), seconds)

    def states(self) -> dict[JobStatus, int]:
        return {state: count for state, count in self.store.jobs.counts().items() if count}

    def logs(self) -> str:
        found = sorted(self.home.glob("worker-*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in found)

    def check(self, keys: Sequence[str]) -> list[JobRecord]:
        """No result lost, none doubled, no artifact in part, and every job's state true. Returns the jobs."""
        jobs = self.store.jobs.many(keys)
        for job in jobs:
            assert job.status is JobStatus.DONE, (job, self.logs())
            self.check_result(job)
        self.check_artifacts(jobs)
        return jobs

    def check_result(self, job: JobRecord) -> None:
        result = job.result or {}
        assert result["square"] == job.inputs["x"] ** 2
        assert job.lease_owner is None
        assert job.lease_expires is None
        assert job.error is None
        assert 1 <= job.attempts <= 3
        if "artifact" in result:
            self.artifacts.verify(result["artifact"])
            assert (self.artifacts.get(result["artifact"]) / "square").read_text() == str(result["square"])

    def check_artifacts(self, jobs: Sequence[JobRecord]) -> None:
        """All that can be seen is whole, and there is one for each job that made one."""
        seen = self.visible()
        assert all((folder / MANIFEST).is_file() for folder in seen), seen
        made = Counter(job.result["artifact"] for job in jobs if job.result and "artifact" in job.result)
        assert set(made.values()) <= {1}
        root = Path(self.settings.artifacts_location)
        assert set(made) <= {folder.relative_to(root).as_posix() for folder in seen}

    def visible(self) -> list[Path]:
        """Folders of artifacts that are not hidden as unfinished."""
        return [path for path in (self.home / "artifacts").glob("*/*/*") if not path.name.startswith(".")]

    def close(self) -> None:
        self.store.close()
