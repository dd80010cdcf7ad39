"""What a service of many workers rests on, measured here: the jobs table's operations, and bytes for each rollout."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import REPOSITORY

THREADS = 4
ROWS = 20_000
FILL = """
INSERT INTO jobs
(key, kind, inputs, status, attempts, done, total, stage, fence, sent_at, created_at, updated_at, priority)
SELECT 'waiting-' || n, 'rollout', '{"trials": 12}', 'queued', 0, 0, 0, '', 0, 1.0, 1.0, 1.0, 0
FROM generate_series(1, %s) AS n
"""


@dataclass(frozen=True)
class Costs:
    """Seconds that the database takes for each operation, with `THREADS` askers at once (throughput, not latency)."""

    acquire: float
    progress: float
    heartbeat: float
    complete: float
    choose: float
    """Which job is the most urgent of its kind, with `waiting` jobs in the table."""
    sweep: float
    waiting: int


def database_costs(url: str, waiting: int, operations: int) -> Costs:
    """On an empty PostgreSQL: `waiting` jobs are put into the table first."""
    import psycopg

    from arena.store import Store

    store = Store(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(FILL, (waiting,))
        connection.execute("ANALYZE jobs")
    jobs = store.jobs
    keys = [f"timed-{n}" for n in range(operations)]
    for key in keys:
        jobs.submit(key, "timed", {"trials": 12})
    leases: dict[str, Any] = {}

    def acquire(key: str) -> None:
        leases[key] = jobs.acquire(key, "worker")

    def progress(key: str) -> None:
        jobs.progress(leases[key], 1, 2, "rollout")
        jobs.is_cancelled(key)

    found = {
        "acquire": timed(acquire, keys),
        "progress": timed(progress, keys),
        "heartbeat": timed(lambda key: jobs.heartbeat(leases[key]), keys),
        "complete": timed(lambda key: jobs.complete(leases[key], {"ran": 12}), keys),
    }
    some = jobs.get("waiting-1")
    found["choose"] = timed(lambda key: jobs.more_urgent(some), keys[: max(8, operations // 40)])
    found["sweep"] = timed(lambda key: jobs.unsent(float("inf")), keys[: max(8, operations // 40)])
    store.close()
    return Costs(**found, waiting=waiting)


def timed(operation: Callable[[str], object], keys: list[str]) -> float:
    """Seconds for each key, by `THREADS` threads at once."""
    shares = [keys[n::THREADS] for n in range(THREADS)]

    def work(share: list[str]) -> None:
        for key in share:
            operation(key)

    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - began) / len(keys)


def bytes_of_a_rollout(frames: int, cameras: int, height: int, width: int) -> dict[str, float]:
    """Of real robot video (../shared/data/bridge), resized, as `workers.rollouts` keeps it."""
    from arena.contracts import ActionChunk, ActionSpace, Provenance, Rollout
    from arena.episodes.video import VideoFrames
    from workers.artifacts import Artifacts
    from workers.rollouts import save_rollout

    films = sorted((REPOSITORY.parent / "shared" / "data" / "bridge").glob("*.mp4"))[: 4 * cameras]
    if not films:
        raise SystemExit("this needs ../shared/data/bridge")
    sizes = []
    for first in range(0, len(films), cameras):
        pictures = {}
        for number, film in enumerate(films[first : first + cameras]):
            read = VideoFrames(film).resized(height, width).read()
            pictures[f"camera_{number}"] = read[np.minimum(np.arange(frames), len(read) - 1)]
        rollout = Rollout(
            id=f"{first:064x}", policy="p", world="w", scene_id="s", task="t", instruction="i", seed=0, fps=5.0,
            frames=pictures, state=np.zeros((frames, 7)), step_seconds=(0.1,) * (frames // 4), success=None,
            action=ActionChunk(np.zeros((frames - 1, 7)), ActionSpace.CARTESIAN_POSITION, 5.0),
            provenance=Provenance("p", "w", "s", "c", "code"),
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            save_rollout(Artifacts(folder, Path(folder)), rollout)
            sizes.append(sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()))
    return {"bytes": float(np.mean(sizes)), "rollouts": len(sizes)}


def bytes_of_rows(url: str) -> float:
    """What a rollout takes in the database, with its verdict and its place in an evaluation, indices included."""
    import psycopg

    from arena.store import Store

    Store(url).close()
    provenance = json.dumps(dict.fromkeys(("policy", "world", "scene", "config", "code"), "a" * 64))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO evaluations (id, config, config_sha256, seed, status, created_at) "
            "VALUES ('e', '{}', 'c', 0, 'running', 0)"
        )
        connection.execute(
            "INSERT INTO rollouts (id, policy, world, scene_id, task, instruction, seed, frames, fps, provenance, "
            "step_seconds, artifact, created_at) SELECT md5(n::text) || md5(n::text), 'policy', 'world', "
            "'scene-' || n, 'task', 'put the red block into the drawer', n, 60, 5.0, %s::json, %s::json, "
            "'rollouts/ab/' || md5(n::text) || md5(n::text), 0 FROM generate_series(1, %s) AS n",
            (provenance, json.dumps([0.1] * 15), ROWS),
        )
        connection.execute("INSERT INTO evaluation_rollouts SELECT 'e', id FROM rollouts")
        connection.execute(
            "INSERT INTO verdicts (rollout_id, judge_sha256, judge, success_probability, progress, reason, abstained, "
            "created_at) SELECT id, md5('j') || md5('j'), 'learned', 0.5, 50, 'near the drawer', false, 0 FROM rollouts"
        )
        sizes = connection.execute(
            "SELECT sum(pg_total_relation_size(name)) "
            "FROM unnest(ARRAY['rollouts', 'evaluation_rollouts', 'verdicts']) AS name"
        ).fetchone()
    assert sizes is not None
    return float(sizes[0]) / ROWS
