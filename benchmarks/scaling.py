"""What 1, 8 and 512 workers take for a small and for a very large evaluation, and which part breaks first.

Measured here, on CPUs: frames a second of one worker (docs/benchmarks/imagination.json), what each operation on the
jobs table costs a PostgreSQL, and bytes for each rollout. Assumed, and to be given: prices, how often a worker dies,
and how many times faster a GPU is than the measured worker (`--times-faster`; no GPU was measured).

The scheduler is simulated: every worker asks the one database for the most urgent job, takes its lease, tells how far
it is and that it lives, and says what came of it; the database does one thing at a time, at the measured costs. Workers
die at random, and their jobs wait for the lease's end and the next sweep. A window of the run is simulated, in which
every worker does `--jobs-each` jobs; the whole of it is as many windows as there are jobs.

    python benchmarks/scaling.py [--times-faster 1 10 100]

Writes docs/benchmarks/scaling.json.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from common import OUTPUT, REPOSITORY, as_json, write

sys.path.insert(0, str(REPOSITORY))

REPORT_SECONDS, HEARTBEAT_SECONDS, LEASE_SECONDS, SWEEP_SECONDS = 2.0, 15.0, 60.0, 30.0
FRAMES_A_STEP = 4
SIZES = {"30 policies x 100 scenes": (30, 100), "1,000 policies x 10,000 scenes": (1000, 10_000)}
WORKERS = (1, 8, 512)


@dataclass(frozen=True)
class Options:
    times_faster: tuple[float, ...] = (1.0, 10.0, 100.0)
    """Of a worker, than the two CPU cores that were measured."""
    frames: int = 60
    """Of one rollout, at 5 a second: 12 s of a robot's time."""
    batch: int = 12
    cameras: int = 3
    height: int = 192
    width: int = 320
    dollars_per_worker_hour: float = 2.0
    dollars_per_tb_month: float = 23.0
    hours_between_deaths: float = 24.0
    boot_seconds: float = 60.0
    jobs_each: int = 20
    waiting: int = 800_000
    operations: int = 2000
    seed: int = 0
    measured: Path | None = None
    """A file that this wrote: its measurements count, and none is made."""


@dataclass(frozen=True)
class Load:
    """What one window of the simulation came to."""

    jobs_per_second: float
    database_busy: float
    """The share of the time that the database works."""
    worker_waits: float
    """The share of their time that workers wait for the database, or that a dead one's job waits."""
    redone: float
    """The share of jobs that were begun again."""


class Database:
    """One that does one thing at a time, in the order of asking."""

    def __init__(self) -> None:
        self.free_at, self.busy = 0.0, 0.0

    def ask(self, now: float, cost: float) -> float:
        """When the answer is there."""
        self.free_at = max(now, self.free_at) + cost
        self.busy += cost
        return self.free_at


BEGIN = -1
"""Of a worker that is about to ask for a job; from 0 on, the step that it has just done; `steps`, to say what came."""


def simulate(workers: int, job_seconds: float, steps: int, costs: Any, options: Options) -> Load:
    """Every worker does `jobs_each` jobs of `steps` steps, each of which it reports if the last report is old."""
    chance, database = random.Random(options.seed), Database()
    # What happens next, by its time: the database is asked in the order of time.
    clock = [(chance.uniform(0, job_seconds), worker, BEGIN, 0.0) for worker in range(workers)]
    heapq.heapify(clock)
    done, begun, redone, worked, now = 0, 0, 0, 0.0, 0.0

    def go_on(at: float, worker: int, step: int, reported: float) -> None:
        """Work on a step, or die of it: then the job waits for its lease's end and a sweep, and its worker boots."""
        nonlocal redone, worked
        took = job_seconds / steps * chance.lognormvariate(0.0, 0.1)
        worked += took
        if chance.random() < took / (3600 * options.hours_between_deaths):
            redone += 1
            lost = took + LEASE_SECONDS + chance.uniform(0, SWEEP_SECONDS) + options.boot_seconds
            heapq.heappush(clock, (at + lost, worker, BEGIN, 0.0))
        else:
            heapq.heappush(clock, (at + took, worker, step, reported))

    while done < workers * options.jobs_each:
        now, worker, step, reported = heapq.heappop(clock)
        if step == BEGIN:
            begun += 1
            at = database.ask(now, costs.choose + costs.acquire)
            go_on(at, worker, 0, at)
        elif step == steps:
            done += 1
            heapq.heappush(clock, (database.ask(now, costs.complete), worker, BEGIN, 0.0))
        else:
            since = job_seconds / steps
            database.ask(now, costs.heartbeat * since / HEARTBEAT_SECONDS + costs.sweep * since / SWEEP_SECONDS)
            at = now
            if now - reported >= REPORT_SECONDS:
                at = reported = database.ask(now, costs.progress)
            if step + 1 == steps:
                heapq.heappush(clock, (at, worker, steps, reported))
            else:
                go_on(at, worker, step + 1, reported)
    busy = min(1.0, database.busy / now)
    return Load(done / now, busy, 1 - min(1.0, worked / (workers * now)), redone / begun)


def measure(options: Options) -> dict[str, Any]:
    # The services' own switch.
    os.environ["CI"] = "true"
    import psycopg
    from scaling_measures import bytes_of_a_rollout, bytes_of_rows, database_costs

    from tests.services import running_postgresql

    with running_postgresql() as url:
        with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
            for name in ("costs", "rows"):
                connection.execute(f"CREATE DATABASE {name}")
        costs = database_costs(f"{url}/costs", options.waiting, options.operations)
        rows = bytes_of_rows(f"{url}/rows")
    films = bytes_of_a_rollout(options.frames, options.cameras, options.height, options.width)
    speed = json.loads((OUTPUT / "imagination.json").read_text())["imagined_fps"]
    load = os.getloadavg()[1]
    return {"costs": costs, "row_bytes": rows, "film_bytes": films["bytes"], "fps": speed, "load": load}


def measured_before(path: Path) -> dict[str, Any]:
    from scaling_measures import Costs

    found = json.loads(path.read_text())["measured"]
    return {**found, "costs": Costs(**found["costs"])}


def scenario(options: Options, found: dict[str, Any], size: tuple[int, int], workers: int, faster: float) -> Any:
    policies, scenes = size
    rollouts = policies * scenes
    jobs = policies * -(-scenes // options.batch)
    job_seconds = options.batch * options.frames / (found["fps"] * faster)
    load = simulate(workers, job_seconds, options.frames // FRAMES_A_STEP, found["costs"], options)
    # A last job may begin when all others end.
    hours = (jobs / load.jobs_per_second + job_seconds) / 3600
    stored = rollouts * (found["film_bytes"] + found["row_bytes"])
    return {
        "workers": workers, "times_faster": faster, "rollouts": rollouts, "jobs": jobs,
        "job_seconds": round(job_seconds, 2), "hours": round(hours, 2),
        "hours_if_the_database_cost_nothing": round(jobs * job_seconds / workers / 3600, 2),
        "worker_dollars": round(hours * workers * options.dollars_per_worker_hour, 2),
        "terabytes": round(stored / 1e12, 3), "database_gigabytes": round(rollouts * found["row_bytes"] / 1e9, 2),
        "storage_dollars_a_month": round(stored / 1e12 * options.dollars_per_tb_month, 2),
        **{name: round(value, 4) for name, value in asdict(load).items()},
    }  # fmt: skip


def breaking_point(options: Options, found: dict[str, Any], faster: float) -> int:
    """How many workers keep the database busy nine tenths of the time."""
    job_seconds = options.batch * options.frames / (found["fps"] * faster)
    short, steps, workers = replace(options, jobs_each=6), options.frames // FRAMES_A_STEP, 1
    while workers < 1 << 16:
        if simulate(workers, job_seconds, steps, found["costs"], short).database_busy > 0.9:
            return workers
        workers = max(workers + 1, round(workers * 1.25))
    return workers


def main(options: Options) -> None:
    found = measure(options) if options.measured is None else measured_before(options.measured)
    costs = asdict(found["costs"])
    print({name: round(value, 5) for name, value in costs.items()}, flush=True)
    rows = {
        name: [scenario(options, found, size, workers, faster)
               for faster in options.times_faster for workers in WORKERS]
        for name, size in SIZES.items()
    }  # fmt: skip
    breaks = {f"{faster:g}": breaking_point(options, found, faster) for faster in options.times_faster}
    measured = {**found, "costs": costs}
    figures = {"measured": measured, "scenarios": rows, "workers_that_fill_the_database": breaks}
    print(write("scaling", figures | {"options": as_json(options)}))
    print(json.dumps(rows, indent=1), breaks)


if __name__ == "__main__":
    main(tyro.cli(Options))
