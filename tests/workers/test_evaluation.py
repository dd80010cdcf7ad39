"""An evaluation from plan to ranking: its order, resuming it, and sharing it between workers behind a real Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arena.contracts import InvalidInput
from arena.store import EvaluationStatus
from tests.services import redis_url  # noqa: F401 (a fixture)
from tests.workers import dots
from tests.workers.dots import DotWorkshop, dot_context, write_dataset
from workers.app import CeleryBroker, make_app
from workers.jobs import Context, Json, Request
from workers.orchestrate import evaluate
from workers.plans import EvaluationPlan
from workers.rollouts import load_rollout
from workers.runner import run_jobs
from workers.tasks import STEPS

EPISODES, BATCHES, ROLLOUTS = 4, 6, 12
"""Three policies in four scenes, two at a time."""
ENCODER_NOISE = 6
"""Levels that two encodings of the same frames may differ by: another picture differs by tens."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "dots", EPISODES)


def plan(dataset: Path, **changes: object) -> EvaluationPlan:
    asked = EvaluationPlan(world="dot", policies=("reverse", "replay", "hold"), episodes=dataset, steps=8, batch=2)
    return replace(asked, **changes)  # type: ignore[arg-type]


def here(context: Context, asked: EvaluationPlan) -> Json:
    def run(requests: Sequence[Request]) -> list[Json]:
        return run_jobs(requests, STEPS, context)

    return evaluate(context, asked, run)


@pytest.fixture(scope="module")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, Json, Path]:
    """The evaluation in one process and one go: its context, its result and the log of its batches."""
    home = tmp_path_factory.mktemp("whole")
    context = dot_context(home, home / "log")
    return context, here(context, plan(dataset)), home / "log"


def started(log: Path) -> list[list[str]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


class Film:
    """Frames that were encoded and decoded: the encoder's bytes are not reproducible (`encode.py`)."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels.astype(int)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Film) and bool(np.abs(self.pixels - other.pixels).max() <= ENCODER_NOISE)

    __hash__ = None  # type: ignore[assignment]


def everything(context: Context, evaluation: str) -> dict[str, tuple[object, ...]]:
    """What an evaluation's rollouts are: states, films and outcomes by id."""
    found = {}
    for record in context.store.results.rollouts(evaluation):
        rollout = load_rollout(context.artifacts, record.artifact)
        film = np.concatenate([frames.ravel() for frames in rollout.frames.values()])
        found[record.id] = (rollout.policy, rollout.seed, rollout.state.tobytes(), rollout.success, Film(film))
    return found


def test_policies_come_out_in_the_order_of_what_they_do(whole: tuple[Context, Json, Path]) -> None:
    context, found, log = whole
    best, *others = found["policies"]
    assert (best["policy"], best["successes"], best["judged"]) == ("replay", EPISODES, EPISODES)
    assert all(policy["successes"] == 0 for policy in others)
    assert found["judge"]["name"] == "truth"
    record = context.store.results.evaluation(found["evaluation"])
    assert (record.status, record.result) == (EvaluationStatus.DONE, found)
    assert len(context.store.results.rollouts(found["evaluation"])) == ROLLOUTS
    assert len(started(log)) == BATCHES


def test_asking_again_runs_nothing(dataset: Path, whole: tuple[Context, Json, Path]) -> None:
    context, found, log = whole
    assert here(context, plan(dataset)) == found
    assert len(started(log)) == BATCHES


def test_another_policy_runs_only_its_own_trials(dataset: Path, tmp_path: Path) -> None:
    context = dot_context(tmp_path, tmp_path / "log")
    first = here(context, plan(dataset, policies=("hold",), batch=EPISODES))
    second = here(context, plan(dataset, policies=("hold", "replay"), batch=EPISODES))
    assert first["evaluation"] != second["evaluation"]
    assert len(started(tmp_path / "log")) == 2


def test_an_interrupted_evaluation_runs_only_what_is_missing(
    dataset: Path, tmp_path: Path, whole: tuple[Context, Json, Path]
) -> None:
    context = dot_context(tmp_path, tmp_path / "log", crash_after=BATCHES - 2)
    with pytest.raises(KeyboardInterrupt):
        here(context, plan(dataset))
    assert len(started(tmp_path / "log")) == BATCHES - 2
    found = here(replace(context, workshop=DotWorkshop(tmp_path / "log")), plan(dataset))
    assert len(started(tmp_path / "log")) == BATCHES
    assert found == whole[1]
    assert everything(context, found["evaluation"]) == everything(whole[0], found["evaluation"])


def test_batches_do_not_change_what_happens(dataset: Path, tmp_path: Path, whole: tuple[Context, Json, Path]) -> None:
    context = dot_context(tmp_path)
    found = here(context, plan(dataset, batch=EPISODES))
    assert found == whole[1]
    assert everything(context, found["evaluation"]) == everything(whole[0], found["evaluation"])


def test_what_memory_has_no_room_for_is_run_in_parts(
    dataset: Path, tmp_path: Path, whole: tuple[Context, Json, Path]
) -> None:
    context = replace(dot_context(tmp_path), workshop=DotWorkshop(tmp_path / "log", room=2))
    told: list[tuple[int, int]] = []
    context = replace(context, progress=lambda done, total, stage: told.append((done, total)))
    found = here(context, plan(dataset, batch=EPISODES))
    assert found == whole[1]
    assert everything(context, found["evaluation"]) == everything(whole[0], found["evaluation"])
    sizes = [len(scenes) for scenes in started(tmp_path / "log")]
    # Found out once, for all jobs of this world.
    assert sizes[:2] == [EPISODES, EPISODES // 2]
    assert sizes.count(EPISODES) == 1
    assert max(done / total for done, total in told if total) == 1.0


def test_a_lost_film_is_made_again(dataset: Path, tmp_path: Path) -> None:
    context = dot_context(tmp_path, tmp_path / "log")
    found = here(context, plan(dataset, policies=("hold",)))
    victim = context.store.results.rollouts(found["evaluation"])[0]
    folder = context.artifacts.get(victim.artifact)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    here(context, plan(dataset, policies=("hold",)))
    assert started(tmp_path / "log")[2:] == [[victim.scene_id]]
    assert np.isfinite(load_rollout(context.artifacts, victim.artifact).state).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policies": ()}, "at least one policy"),
        ({"policies": ("hold", "hold")}, "hold occurs more than once"),
        ({"policies": ("hodl",)}, "unknown policy 'hodl'"),
        ({"steps": 0}, "at least one step"),
        ({"scenes": 0}, "at least one scene"),
        ({"beginnings": 0}, "begins at least once"),
        ({"judge": "demonstrations"}, "use --judge truth"),
        ({"episodes": Path("nowhere")}, "nowhere does not exist"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(dataset: Path, tmp_path: Path, changes: Json, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        here(dot_context(tmp_path), plan(dataset, **changes))


@contextmanager
def workers(count: int, home: Path, log: Path, url: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    environment = {**os.environ, "DREAMARENA_BROKER_URL": url}
    command = [sys.executable, str(Path(dots.__file__)), str(home), str(log)]
    processes = [subprocess.Popen(command, env=environment) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(60)


def there(context: Context, asked: EvaluationPlan, url: str) -> Json:
    broker = CeleryBroker(make_app(url), url, STEPS)

    def run(requests: Sequence[Request]) -> list[Json]:
        return run_jobs(requests, STEPS, context, broker, poll_seconds=0.1)

    return evaluate(context, asked, run)


@pytest.mark.services
def test_two_workers_give_what_one_process_gives(
    dataset: Path,
    tmp_path: Path,
    whole: tuple[Context, Json, Path],
    redis_url: str,  # noqa: F811
) -> None:
    alone, expected, _ = whole
    context = dot_context(tmp_path / "shared", tmp_path / "own log")
    with workers(2, tmp_path / "shared", tmp_path / "log", redis_url):
        assert there(context, plan(dataset), redis_url) == expected
    assert everything(context, expected["evaluation"]) == everything(alone, expected["evaluation"])
    assert len(started(tmp_path / "log")) == BATCHES, "every batch ran once"
    assert started(tmp_path / "own log") == [], "and on a worker"


@pytest.mark.services
def test_a_killed_worker_costs_nothing(dataset: Path, tmp_path: Path, redis_url: str) -> None:  # noqa: F811
    context = dot_context(tmp_path / "shared")
    with workers(1, tmp_path / "shared", tmp_path / "log", redis_url) as [victim]:
        deadline = time.monotonic() + 120
        requests: list[Request] = []

        def run(asked: Sequence[Request]) -> list[Json]:
            """Kill the worker as soon as it has started, and let another take over."""
            requests.extend(asked)
            broker = CeleryBroker(make_app(redis_url), redis_url, STEPS)
            for request in asked:
                job = context.store.jobs.submit(request.key, request.kind, request.inputs.model_dump(mode="json"))
                broker.send(job)
                context.store.jobs.mark_sent(job.key)
            while not started(tmp_path / "log"):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            with workers(1, tmp_path / "shared", tmp_path / "log", redis_url):
                return run_jobs(asked, STEPS, context, broker, poll_seconds=0.1)

        with pytest.raises(StopIteration):
            evaluate(context, plan(dataset), lambda asked: _once(run(asked)))
    jobs = context.store.jobs.many([request.key for request in requests])
    assert {job.status for job in jobs} == {"done"}
    assert all(job.attempts <= 2 for job in jobs)
    assert len(context.store.results.rollouts()) == ROLLOUTS


def _once(results: list[Json]) -> list[Json]:
    """The rollouts are all that this test looks at."""
    assert all(not result["failed"] for result in results)
    raise StopIteration
