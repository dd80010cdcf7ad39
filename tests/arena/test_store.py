"""The store: concurrent writers, migrations, leases and fences. PostgreSQL runs the same tests when CI=true."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from arena.contracts import (
    ActionChunk,
    ActionSpace,
    InvalidInput,
    PolicyCard,
    Provenance,
    Rollout,
    Verdict,
    WorldCard,
)
from arena.store import EpisodeRecord, EvaluationStatus, JobStatus, NotFound, Store, jobs
from arena.store.database import Database, migration_config, open_database
from arena.store.tables import Base
from tests.services import postgresql_server, postgresql_url  # noqa: F401 (fixtures)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'arena.db'}"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store(url)
    yield store
    store.close()


def rollout(id: str = "r1", policy: str = "hold", scene: str = "s1", success: bool | None = True) -> Rollout:
    return Rollout(
        id=id,
        policy=policy,
        world="tiny",
        scene_id=scene,
        task="reach",
        instruction="reach the cup",
        seed=2**40,
        fps=5.0,
        frames={"wrist": np.zeros((3, 4, 4, 3), np.uint8)},
        state=np.zeros((3, 7)),
        action=ActionChunk(np.zeros((2, 7)), ActionSpace.CARTESIAN_POSITION, 5.0),
        step_seconds=(0.5, 0.25),
        provenance=Provenance("p", "w", "s", "c", "code"),
        success=success,
    )


def test_models_and_migrations_agree(url: str) -> None:
    database = open_database(url)
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_migrations_go_down_and_up_again(url: str) -> None:
    open_database(url).close()
    database = Database(url)
    config = migration_config()
    with database.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert set(sa.inspect(connection).get_table_names()) == {"alembic_version"}
    database.close()
    store = Store(url)
    assert store.voting.votes() == []
    store.close()


def test_a_database_of_a_newer_release_is_refused(url: str) -> None:
    database = open_database(url)
    with database.connect() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(InvalidInput, match="migration 9999"):
        Store(url)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("nonsense", "not a database URL"),
        ("mysql://host/name", "must be sqlite or postgresql"),
        ("sqlite://", "must be a file"),
        ("postgresql://127.0.0.1:1/none", "cannot open the database"),
    ],
)
def test_a_bad_url_is_named(bad: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Store(bad)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be read as one\n" * 100)
    with pytest.raises(InvalidInput, match=r"notes\.txt"):
        Store(f"sqlite:///{path}")


def write_many(url: str, worker: int, count: int) -> None:
    """One of several processes that open, migrate, and write at once."""
    store = Store(url)
    for index in range(count):
        store.voting.note("event", None, {"by": worker})
        store.jobs.submit(f"job-{index}", "test", {"index": index})
        lease = store.jobs.acquire(f"job-{index}", f"worker-{worker}")
        if lease is not None:
            store.jobs.progress(lease, 1, 1, "working")
            assert store.jobs.complete(lease, {"by": worker})
    store.close()


def test_eight_processes_write_without_a_lock_error(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_many, args=(url, worker, 25)) for worker in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 8
    store = Store(url)
    assert len(store.voting.audit()) == 8 * 25
    jobs_done = store.jobs.many([f"job-{index}" for index in range(25)])
    assert all(job.status is JobStatus.DONE and job.attempts == 1 and job.fence == 1 for job in jobs_done)
    store.close()


def test_cards_come_back_as_they_were(store: Store) -> None:
    policy = PolicyCard("hold", "hold", "aa", ActionSpace.JOINT_POSITION, 5.0, 4, ("wrist",), (64, 96))
    world = WorldCard("tiny", "bb", 5.0, 4, ("wrist", "exterior_1"))
    for _ in range(2):
        store.catalog.add_policy(policy)
        store.catalog.add_world(world)
    assert [record.card for record in store.catalog.policies()] == [policy]
    assert store.catalog.worlds() == [world]


def test_a_second_ingest_replaces_the_first(store: Store) -> None:
    first = [EpisodeRecord(id, "folder", "sha", {"length": 3}) for id in ("a", "b")]
    store.catalog.replace_dataset("folder", first)
    store.catalog.replace_dataset("other", [EpisodeRecord("a", "other", "sha", {})])
    store.catalog.replace_dataset("folder", first[:1])
    assert store.catalog.episodes("folder") == first[:1]
    assert len(store.catalog.episodes()) == 2


def test_results_are_recorded_once(store: Store) -> None:
    store.results.open_evaluation("e1", {"steps": 3}, "sha", seed=2**40)
    verdict = Verdict("r1", "demonstrations", "j1", 0.25, 40.0, "near the start")
    assert [store.results.add_rollout(rollout(), "rollouts/r1") for _ in range(2)] == [True, False]
    assert [store.results.add_verdict(verdict) for _ in range(2)] == [True, False]
    assert store.results.add_verdict(Verdict("r1", "vlm", "j2", None, None, "refused", abstained=True))
    store.results.link_rollouts("e1", ["r1", "r1"])
    stored = store.results.rollouts("e1")
    assert [(item.id, item.seed, item.frames, item.success) for item in stored] == [("r1", 2**40, 3, True)]
    assert stored[0].provenance == rollout().provenance
    assert stored[0].step_seconds == (0.5, 0.25)
    assert store.results.verdicts(["r1"], "j1") == [verdict]
    assert len(store.results.verdicts(["r1"])) == 2
    assert store.results.known_rollouts(["r1", "r2"]) == {"r1"}


def test_an_evaluation_is_reopened_and_finished(store: Store) -> None:
    opened = store.results.open_evaluation("e1", {"steps": 3}, "sha", 0)
    assert opened.status is EvaluationStatus.RUNNING
    assert opened.result is None
    store.results.finish_evaluation("e1", {"ranking": []})
    again = store.results.open_evaluation("e1", {"steps": 3}, "sha", 0)
    assert again.status is EvaluationStatus.DONE
    assert again.result == {"ranking": []}
    with pytest.raises(NotFound, match="e2"):
        store.results.evaluation("e2")


def test_a_job_is_done_once_however_often_it_is_submitted(store: Store) -> None:
    store.jobs.submit("k", "test", {"x": 1})
    lease = store.jobs.acquire("k", "one")
    assert lease is not None
    assert store.jobs.acquire("k", "two") is None
    assert store.jobs.submit("k", "test", {"x": 1}).status is JobStatus.RUNNING
    assert store.jobs.progress(lease, 2, 5, "halfway")
    assert store.jobs.complete(lease, {"answer": 42})
    finished = store.jobs.submit("k", "test", {"x": 1})
    assert (finished.status, finished.result, finished.done) == (JobStatus.DONE, {"answer": 42}, 2)
    assert store.jobs.acquire("k", "two") is None
    assert store.jobs.redo("k").status is JobStatus.QUEUED


def test_what_is_done_together_is_there_as_a_whole_or_not_at_all(store: Store) -> None:
    def half() -> None:
        with store.together():
            store.jobs.submit("key", "work", {})
            store.accounts.asked("key", "somebody")
            assert store.jobs.get("key").status is JobStatus.QUEUED
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    with pytest.raises(NotFound):
        store.jobs.get("key")
    assert store.accounts.askers("key") == frozenset()
    with store.together(), store.together():
        assert store.jobs.submit("key", "work", {}).priority == 0
        assert store.jobs.submit("key", "work", {}, priority=5).priority == 5
        store.accounts.asked("key", "somebody")
    assert store.jobs.get("key").priority == 5
    assert store.accounts.askers("key") == {"somebody"}


def test_others_do_not_see_what_is_not_there_yet(store: Store) -> None:
    with ThreadPoolExecutor(1) as other, store.together():
        store.jobs.submit("key", "work", {})
        with pytest.raises(NotFound):
            other.submit(store.jobs.get, "key").result()


def test_a_zombie_updates_no_row(store: Store) -> None:
    store.jobs.submit("k", "test", {})
    zombie = store.jobs.acquire("k", "one", seconds=-1.0)
    heir = store.jobs.acquire("k", "two")
    assert zombie is not None
    assert heir is not None
    assert heir.fence == zombie.fence + 1
    assert not store.jobs.heartbeat(zombie)
    assert not store.jobs.progress(zombie, 9, 9, "late")
    assert not store.jobs.complete(zombie, {"by": "zombie"})
    assert not store.jobs.fail(zombie, {"message": "late"})
    assert store.jobs.complete(heir, {"by": "heir"})
    assert store.jobs.get("k").result == {"by": "heir"}


def test_a_job_that_kills_its_workers_fails_after_three(store: Store) -> None:
    store.jobs.submit("k", "test", {})
    for attempt in range(jobs.MAX_ATTEMPTS):
        lease = store.jobs.acquire("k", f"victim-{attempt}", seconds=-1.0)
        assert lease is not None
    assert store.jobs.acquire("k", "fourth") is None
    failed = store.jobs.get("k")
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert "3 times" in failed.error["message"]
    assert not store.jobs.complete(lease, {})
    assert store.jobs.submit("k", "test", {}).attempts == 0


def test_an_interruption_costs_no_attempt_and_an_error_does(store: Store) -> None:
    store.jobs.submit("k", "test", {})
    for error, spent in ((None, 0), ({"message": "disk full"}, 1), ({"message": "disk full"}, 2), (None, 2)):
        lease = store.jobs.acquire("k", "one")
        assert lease is not None
        assert store.jobs.release(lease, error)
        assert store.jobs.get("k").attempts == spent
        assert store.jobs.get("k").status is JobStatus.QUEUED


def test_out_of_attempts_the_last_error_is_the_reason(store: Store) -> None:
    store.jobs.submit("k", "test", {})
    for _ in range(jobs.MAX_ATTEMPTS):
        lease = store.jobs.acquire("k", "one")
        assert lease is not None
        store.jobs.release(lease, {"message": "disk full"})
    assert store.jobs.acquire("k", "one") is None
    assert store.jobs.get("k").error == {"message": "disk full"}


def test_the_outbox_offers_unsent_lost_and_abandoned_jobs(store: Store) -> None:
    for key in ("new", "sent", "abandoned", "held", "done"):
        store.jobs.submit(key, "test", {})
    store.jobs.mark_sent("sent")
    store.jobs.acquire("abandoned", "dead", seconds=-1.0)
    store.jobs.acquire("held", "alive")
    lease = store.jobs.acquire("done", "alive")
    assert lease is not None
    store.jobs.complete(lease, {})
    assert [job.key for job in store.jobs.unsent(resend_after=60.0)] == ["new", "abandoned"]
    time.sleep(0.01)
    assert [job.key for job in store.jobs.unsent(resend_after=0.0)] == ["new", "sent", "abandoned"]
    # Offering must not renew a lease, or the job is offered for ever and never taken.
    store.jobs.mark_sent("abandoned")
    assert store.jobs.acquire("abandoned", "heir") is not None


def test_evicting_a_dead_owner_frees_only_its_own_lease(store: Store) -> None:
    store.jobs.submit("k", "test", {})
    store.jobs.acquire("k", "host:1")
    store.jobs.evict("k", "host:2")
    assert store.jobs.acquire("k", "heir") is None
    store.jobs.evict("k", "host:1")
    assert store.jobs.acquire("k", "heir") is not None


def test_more_keys_than_a_query_may_name(store: Store) -> None:
    """An evaluation of 1,000 policies on 1,000 scenes has more rollouts than PostgreSQL has parameters."""
    many = [f"absent-{n}" for n in range(70_000)]
    store.results.add_rollout(rollout(), "rollouts/r1")
    store.results.add_verdict(Verdict("r1", "demonstrations", "j1", 0.25, 40.0, "near the start"))
    assert store.results.known_rollouts([*many, "r1"]) == {"r1"}
    assert [verdict.rollout_id for verdict in store.results.verdicts(["r1", *many])] == ["r1"]
    with pytest.raises(NotFound, match="absent-0"):
        store.jobs.many(many)


def test_the_most_urgent_job_is_found_among_many_without_reading_them(store: Store) -> None:
    for n, (kind, priority) in enumerate([("a", 0), ("a", 5), ("b", 9), ("a", 5), ("a", 1)]):
        store.jobs.submit(f"k{n}", kind, {}, priority)
        store.jobs.mark_sent(f"k{n}")
    assert store.jobs.more_urgent(store.jobs.get("k4")) == "k1", "the highest of its kind, and the oldest of several"
    assert store.jobs.next_sent() == "k2"
    store.jobs.acquire("k1", "dead", seconds=-1.0)
    assert store.jobs.more_urgent(store.jobs.get("k4")) == "k1", "an abandoned one waits as the others do"
    assert store.jobs.acquire("k1", "alive") is not None
    assert store.jobs.more_urgent(store.jobs.get("k4")) == "k3"
