"""Does the HTTP API hold its load on this machine: leaderboard reads and submissions, at a steady rate, with no error?

The server is the one that `dreamarena api` starts, on SQLite (or `--postgresql URL`, an empty database) and a Redis
that nobody takes jobs from. Callers run in a process of their own on the same cores, each on one kept connection. A
request is timed from when it was due. `reads` and `submissions` are at the rates given; `most` asks as fast as the
callers can, for how much there is in reserve; `together` does both at once.

    python benchmarks/api_load.py [--seconds 30] [--reads 200] [--submissions 50] [--processes 1]
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from common import REPOSITORY, as_json, in_own_process, write

POLICIES, SCENES, CALLERS = 20, 50, 16
START_SECONDS = 60.0
SERVER = "openpi://8.8.8.8:{port}?action_space=joint_velocity&control_hz=15&chunk=8"


@dataclass(frozen=True)
class Options:
    """Requests a second, for `seconds` each."""

    seconds: float = 30.0
    reads: float = 200.0
    submissions: float = 50.0
    processes: int = 1
    postgresql: str | None = None


def fill(url: str, episodes: Path) -> tuple[str, str]:
    """A finished evaluation of `POLICIES` policies, and tokens to submit and to read with."""
    from arena.store import Scope, Store
    from workers.plans import EvaluationPlan

    store = Store(url)
    names = [f"policy-{i}" for i in range(POLICIES)]
    plan = EvaluationPlan("metaworld", ("hold",), episodes).to_json()
    config = {"policies": [[name, name] for name in names], "plan": plan, "scenes": [f"s-{i}" for i in range(SCENES)]}
    store.results.open_evaluation("e" * 16, config, "c" * 64, seed=0)
    place = {"rank": [1, POLICIES], "score": 0.1, "interval": [-1.0, 1.0], "comparisons": 950, "rollouts": SCENES,
             "abstained": 0, "successes": 25, "judged": 50, "progress": 51.5, "note": ""}  # fmt: skip
    board = {"evaluation": "e" * 16, "judge": {"name": "learned", "sha256": "j" * 64, "card": None},
             "policies": [{"policy": name, **place} for name in names], "groups": [names], "comparisons": 9500,
             "notes": []}  # fmt: skip
    store.results.finish_evaluation("e" * 16, board)
    token, _ = store.accounts.create_token("load", [Scope.SUBMIT], "benchmark")
    other, _ = store.accounts.create_token("reader", [Scope.VOTE], "benchmark")
    store.close()
    return token, other


class Caller(threading.local):
    """A connection for each thread."""

    connection: http.client.HTTPConnection | None = None

    def __call__(self, port: int, method: str, path: str, token: str, body: Any = None) -> int:
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self.connection.getresponse()
        answer.read()
        return answer.status


def load(
    port: int, tokens: tuple[str, str], rates: dict[str, float | None], seconds: float, first: int
) -> dict[str, Any]:
    """Ask at `rates` (None is as fast as it goes) for `seconds`. Submissions count on from `first`, none twice."""
    call = Caller()
    taken: dict[str, list[float]] = {kind: [] for kind in rates}
    statuses: dict[str, Counter[int]] = {kind: Counter() for kind in rates}

    def ask(kind: str, number: int) -> None:
        if kind == "reads":
            status = call(port, "GET", "/v1/leaderboard", tokens[1])
        else:
            # Every submission is another policy.
            policy = SERVER.format(port=1024 + number % 60_000) + f"&name=p{number}"
            status = call(port, "POST", "/v1/submissions", tokens[0], {"policy": policy})
        statuses[kind][status] += 1

    def steady(kind: str, rate: float) -> None:
        began = time.perf_counter() + 0.2

        def turn(number: int) -> None:
            due = began + number / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            ask(kind, first + number)
            taken[kind].append(time.perf_counter() - due)

        with ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(turn, range(round(seconds * rate))))

    def fast(kind: str) -> None:
        until = time.perf_counter() + seconds

        def turns(caller: int) -> None:
            number = first + caller
            while (began := time.perf_counter()) < until:
                ask(kind, number)
                taken[kind].append(time.perf_counter() - began)
                number += CALLERS

        with ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(turns, range(CALLERS)))

    began = time.perf_counter()
    threads = [
        threading.Thread(target=fast, args=(kind,))
        if rate is None
        else threading.Thread(target=steady, args=(kind, rate))
        for kind, rate in rates.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lasted = time.perf_counter() - began
    return {kind: _summary(taken[kind], statuses[kind], lasted) for kind in rates}


def _summary(taken: list[float], statuses: Counter[int], lasted: float) -> dict[str, Any]:
    return {
        "requests": len(taken),
        "per_second": round(len(taken) / lasted, 1),
        "errors": sum(count for status, count in statuses.items() if status >= 400),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        **{f"p{p}_ms": round(1000 * float(np.percentile(taken, p)), 1) for p in (50, 95, 99)},
    }


@contextmanager
def running(command: list[str], environment: dict[str, str], port: int) -> Iterator[None]:
    process = subprocess.Popen(
        command, env=environment, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{command[0]} did not start")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def measure(options: Options, home: Path) -> dict[str, Any]:
    from arena.store import Store

    redis = shutil.which("redis-server")
    if redis is None:
        raise SystemExit("this needs redis-server: apt-get install redis-server")
    url = options.postgresql or f"sqlite:///{home / 'arena.db'}"
    (home / "episodes").mkdir()
    tokens = fill(url, home / "episodes")
    broker, port = free_port(), free_port()
    environment = {
        **os.environ, "DREAMARENA_HOME": str(home), "DREAMARENA_DATABASE_URL": url,
        "DREAMARENA_BROKER_URL": f"redis://127.0.0.1:{broker}/0", "DREAMARENA_API_READS_PER_SECOND": "100000",
        "DREAMARENA_API_CHANGES_PER_SECOND": "100000", "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip
    api = [sys.executable, "-c", "from workers.cli import main; main()", "api", "--port", str(port),
           "--processes", str(options.processes)]  # fmt: skip
    runs: dict[str, dict[str, float | None]] = {
        "reads": {"reads": options.reads},
        "submissions": {"submissions": options.submissions},
        "together": {"reads": options.reads, "submissions": options.submissions},
        "most_reads": {"reads": None},
        "most_submissions": {"submissions": None},
    }
    found: dict[str, Any] = {}
    redis_command = [redis, "--port", str(broker), "--dir", str(home), "--appendonly", "yes", "--save", ""]
    with running(redis_command, environment, broker), running(api, environment, port):
        for place, (name, rates) in enumerate(runs.items()):
            found[name] = in_own_process(load, port, tokens, rates, options.seconds, 1_000_000 * place)
    store = Store(url)
    accepted = sum(run["submissions"]["requests"] - run["submissions"]["errors"] for run in found.values()
                   if "submissions" in run)  # fmt: skip
    found["jobs"] = {"accepted": accepted, "stored": sum(store.jobs.counts().values())}
    store.close()
    return found


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))
    shown = as_json(options) | ({"postgresql": "an empty database"} if options.postgresql else {})
    write("api_load_postgresql" if options.postgresql else "api_load", found | {"options": shown})
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(tyro.cli(Options))
