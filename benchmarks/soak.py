"""Two workers that are killed every few seconds, and now and then their broker, and their connections to the database:
are all jobs done, each exactly once?

The jobs (0.1 to 0.4 s each, an artifact of two files) come evenly over the time. Workers lease for 5 s here, not 60.
A trigger in the database counts how often each job became done. A job that was killed three times would be given up,
as it should be, and then the soak has failed: with these numbers that is a matter of one soak in a hundred.

    python benchmarks/soak.py [--minutes 10] [--jobs 500] [--seed 0]

Writes docs/benchmarks/soak.json, and its line in docs/benchmarks/faults.json and docs/reliability.md.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tyro
from common import REPOSITORY, as_json, write

sys.path.insert(0, str(REPOSITORY))

KINDS = {"child": 5, "worker": 4, "worker told to end": 3, "broker": 1, "connections": 2}
"""What is done to them, and how often in proportion."""
SETTLE_SECONDS = 900.0
"""How long what is left may take once nothing is hurt any more: on a busy machine workers are slow to come up."""
COUNTING = """
CREATE TABLE completions (key text NOT NULL);
CREATE FUNCTION count_completion() RETURNS trigger AS $$
BEGIN INSERT INTO completions VALUES (NEW.key); RETURN NEW; END $$ LANGUAGE plpgsql;
CREATE TRIGGER completed AFTER UPDATE ON jobs FOR EACH ROW
WHEN (OLD.status <> 'done' AND NEW.status = 'done') EXECUTE FUNCTION count_completion();
"""


@dataclass(frozen=True)
class Options:
    minutes: float = 10.0
    jobs: int = 500
    kill_every: tuple[float, float] = (2.0, 6.0)
    """Seconds between two faults: from, to."""
    seed: int = 0


@dataclass
class Crew:
    """Two supervised workers, of which each seems to be on a machine of its own, and what is done to them."""

    site: Any
    broker: Any
    proxy: Any
    random: random.Random
    workers: list[Any] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    seen: dict[Path, int] = field(default_factory=dict)
    """How often each worker had come up when it was last hurt."""

    def start(self, number: int) -> Any:
        return self.site.start("--supervised", "0", FAULT_HOST=f"machine-{number}")

    def up(self) -> list[Any]:
        """Workers that came up since they were last hurt: on a busy machine that takes longer than the pause between
        two faults, and whoever is killed each time before would never work.
        """
        return [worker for worker in self.workers if times_up(worker) > self.seen.get(worker.log, 0)]

    def hurt(self) -> None:
        """One of those that are up; nothing where none is."""
        ready = self.up()
        if not ready:
            return
        [kind] = self.random.choices(list(KINDS), weights=list(KINDS.values()))
        worker = self.random.choice(ready)
        if kind not in ("broker", "connections"):
            self.seen[worker.log] = times_up(worker)
        parent = worker.process.pid
        if kind == "broker":
            self.broker.restart()
        elif kind == "connections":
            self.proxy.hang_up()
        elif kind == "child":
            for child in children(parent):
                os.kill(child, signal.SIGKILL)
        else:
            os.kill(parent, signal.SIGKILL if kind == "worker" else signal.SIGTERM)
        self.done[kind] += 1

    def look_after(self) -> None:
        """What a service manager does: a worker that is gone is started again."""
        for number, worker in enumerate(self.workers):
            if worker.process.poll() is not None:
                self.site.end(worker)
                self.workers[number] = self.start(number)


def times_up(worker: Any) -> int:
    """Celery's banner is in its log once for each time that it took up work."""
    return int(worker.log.read_text(errors="replace").count("[queues]"))


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in found.read_text().split()] if found.exists() else []


@contextmanager
def site(home: Path) -> Iterator[tuple[Any, Any, Any]]:
    """A Redis, a PostgreSQL behind a wire that can be cut, and what shares them."""
    # The services' own switch.
    os.environ["CI"] = "true"
    import psycopg

    from tests.services import running_postgresql
    from tests.workers.faults.brokers import Redis
    from tests.workers.faults.proxy import Proxy
    from tests.workers.faults.site import QUICK, Site

    broker = Redis(home / "redis")
    broker.start()
    try:
        with running_postgresql() as url:
            with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
                connection.execute("CREATE DATABASE soak")
            proxy = Proxy(int(urlsplit(url).port or 0))
            # The workers' connections go through the proxy, ours do not.
            cuttable = f"postgresql://arena@127.0.0.1:{proxy.port}/soak"
            found = Site(home / "home", broker.url, f"{url}/soak", replace(QUICK, lease=5.0),
                         {"DREAMARENA_DATABASE_URL": cuttable})  # fmt: skip
            with psycopg.connect(f"{url}/soak", autocommit=True) as connection:
                connection.execute(COUNTING)
            try:
                yield found, broker, proxy
            finally:
                found.close()
                proxy.close()
    finally:
        broker.kill()


def soak(options: Options, home: Path) -> dict[str, Any]:
    chance = random.Random(options.seed)
    with site(home) as (place, broker, proxy):
        crew = Crew(place, broker, proxy, chance)
        crew.workers = [crew.start(number) for number in range(2)]
        try:
            began = time.monotonic()
            keys = torment(options, crew, chance, began)
            settled = until_over(place, crew, keys)
            lasted = time.monotonic() - began
        finally:
            for worker in crew.workers:
                place.end(worker)
        return {**judged(place, keys), "kills": dict(crew.done), "seconds": round(lasted, 1),
                "seconds_after_the_last_kill": round(settled, 1)}  # fmt: skip


def torment(options: Options, crew: Crew, chance: random.Random, began: float) -> list[str]:
    """Ask for jobs and hurt, until the time is over."""
    keys: list[str] = []
    end, next_hurt = began + 60 * options.minutes, began + 5.0
    while (now := time.monotonic()) < end or len(keys) < options.jobs:
        while len(keys) < options.jobs and now >= began + len(keys) * (end - began) / options.jobs:
            keys.append(crew.site.ask("work", x=len(keys), seconds=round(chance.uniform(0.1, 0.4), 2)))
        if now >= next_hurt:
            crew.hurt()
            next_hurt = time.monotonic() + chance.uniform(*options.kill_every)
        crew.look_after()
        time.sleep(0.05)
        if len(keys) % 50 == 0:
            print(f"{now - began:.0f} s: {crew.site.states()}", end="\r", file=sys.stderr, flush=True)
    return keys


def until_over(place: Any, crew: Crew, keys: list[str]) -> float:
    began = time.monotonic()
    while not all(job.status in ("done", "failed", "cancelled") for job in place.store.jobs.many(keys)):
        if time.monotonic() - began > SETTLE_SECONDS:
            break
        crew.look_after()
        time.sleep(0.1)
    return time.monotonic() - began


def judged(place: Any, keys: list[str]) -> dict[str, Any]:
    """What came of every job: by the table, by the trigger, and by the artifacts."""
    import psycopg

    jobs = place.store.jobs.many(keys)
    with psycopg.connect(place.database_url) as connection:
        completions = Counter(key for (key,) in connection.execute("SELECT key FROM completions").fetchall())
    wrong: list[str] = []
    for job in jobs:
        try:
            place.check_result(job)
        except (AssertionError, KeyError) as error:
            wrong.append(f"{job.inputs['x']}: {job.status} {job.error} {error}"[:200])
    place.check_artifacts([job for job in jobs if job.status == "done"])
    began = Counter(x for what, x, _ in place.trace() if what == "begin")
    return {
        "jobs": len(keys),
        "states": {state.value: count for state, count in place.states().items()},
        "done_exactly_once": sum(completions[key] == 1 for key in keys),
        "done_twice": sum(completions[key] > 1 for key in keys),
        "wrong": wrong,
        "artifacts": len(place.visible()),
        "begun": sum(began.values()),
        "begun_more_than_once": sum(count > 1 for count in began.values()),
        "attempts": dict(Counter(str(job.attempts) for job in jobs)),
    }


def verdict(found: dict[str, Any]) -> dict[str, Any]:
    jobs = found["jobs"]
    passed = found["done_exactly_once"] == jobs and not found["wrong"] and found["artifacts"] == jobs
    kills = sum(found["kills"].values())
    minutes = found["seconds"] / 60
    detail = (
        f"{found['done_exactly_once']} of {jobs} jobs done exactly once in {minutes:.1f} min under {kills} faults "
        f"({', '.join(f'{count} {kind}' for kind, count in sorted(found['kills'].items()))}); "
        f"{found['begun_more_than_once']} jobs were begun more than once"
    )
    return {"passed": passed, "detail": detail}


def main(options: Options) -> int:
    with tempfile.TemporaryDirectory() as folder:
        found = soak(options, Path(folder))
    write("soak", found | {"options": as_json(options)})
    print(json.dumps(found, indent=1))
    said = verdict(found)
    print(said["detail"])
    import faults

    rows = json.loads(faults.FIGURES.read_text()) if faults.FIGURES.exists() else {}
    rows["soak"] = said
    faults.FIGURES.write_text(json.dumps(rows, indent=1) + "\n")
    faults.write_table(rows)
    return 0 if said["passed"] else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
