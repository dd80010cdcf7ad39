"""Faults 7 and 10 of docs/reliability.md, a connection cut inside a commit, and clocks that jump."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from arena.store import JobStatus, Lease, Store
from tests.workers.faults.brokers import Server
from tests.workers.faults.proxy import Proxy
from tests.workers.faults.site import LEASE, Site
from workers.execution import patiently

pytestmark = pytest.mark.services
Record = Callable[[str, object], None]
OUTAGE_SECONDS = float(os.environ.get("DREAMARENA_FAULT_OUTAGE", "9"))
"""`benchmarks/faults.py` has the full minute of the table; here it is three leases, too."""


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    proxy = Proxy(int(urlsplit(database_url).port or 0))
    yield proxy
    proxy.close()


def through(proxy: Proxy, url: str) -> str:
    return url.replace(f":{urlsplit(url).port}/", f":{proxy.port}/")


def test_7_a_zombie_with_an_old_fence_updates_no_row(
    redis: Server, database_url: str, make_site: Callable[..., Site]
) -> None:
    """A worker that the database does not hear of for longer than its lease, while another one does its job."""
    site = make_site(redis, database_url)
    proxy = Proxy(int(urlsplit(database_url).port or 0))
    key = site.ask("silent", seconds=8.0)
    site.send()
    with site.workers(1, FAULT_HOST="one", FAULT_SLOW="3", DREAMARENA_DATABASE_URL=through(proxy, database_url)) as [
        zombie
    ]:
        site.wait(lambda: site.begun())
        proxy.cut()
        with site.workers(1, FAULT_HOST="two"):
            site.wait(lambda: site.begun() == 2)
            taken = site.store.jobs.get(key)
            assert (taken.fence, taken.attempts, taken.status) == (2, 2, JobStatus.RUNNING)
            proxy.mend()
            zombie_pid = site.trace()[0][2]
            site.wait(lambda: ("end", 3, zombie_pid) in site.trace())
            site.wait(lambda: "was lost; another worker has it" in zombie.log.read_text())
            site.settle([key])
    [job] = site.check([key])
    assert (job.fence, job.attempts) == (2, 2)
    old = Lease(key, "one", 1)
    jobs = site.store.jobs
    assert not any([jobs.heartbeat(old), jobs.progress(old, 1, 1, ""), jobs.complete(old, {}), jobs.fail(old, {})])
    assert site.store.jobs.get(key) == job
    proxy.close()


def test_10_a_database_that_is_away_costs_nothing_but_time(
    redis: Server, database_url: str, make_site: Callable[..., Site], proxy: Proxy, record_property: Record
) -> None:
    """It is where results go, as Celery's own result backend is not used. One job ends meanwhile, one begins."""
    site = make_site(redis, database_url, extra={"DREAMARENA_DATABASE_URL": through(proxy, database_url)})
    keys = [site.ask("work", x=x, seconds=2.0) for x in range(3)]
    site.send()
    with site.workers(1) as [worker]:
        site.wait(lambda: site.trace())
        proxy.cut()
        time.sleep(OUTAGE_SECONDS)
        states = site.states()
        proxy.mend()
        took = site.settle(keys)
        assert worker.process.poll() is None
    assert states == {JobStatus.RUNNING: 1, JobStatus.QUEUED: 2}
    jobs = site.check(keys)
    assert [job.attempts for job in jobs] == [1, 1, 1]
    assert [site.begun(x) for x in range(3)] == [1, 1, 1]
    record_property("away for s", OUTAGE_SECONDS)
    record_property("all done after s", round(took, 1))


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_connection_cut_inside_the_commit_of_a_result(
    cut: str, redis: Server, database_url: str, make_site: Callable[..., Site], proxy: Proxy
) -> None:
    """Whether the commit arrived cannot be known by whoever sent it: both cases end the same."""
    site = make_site(redis, database_url, extra={"DREAMARENA_DATABASE_URL": through(proxy, database_url)})
    keys = [site.ask("work", x=x, seconds=0.5) for x in range(2)]
    cuts: list[bytes] = []
    results: list[bytes] = []

    def judge(said: bytes) -> str:
        if b'"square"' in said:
            results.append(said)
        if results and b"COMMIT" in said and not cuts:
            cuts.append(said)
            proxy.refuse()
            return "cut" if cut == "before" else "after"
        return "pass"

    proxy.judge = judge
    site.send()
    with site.workers(1):
        site.wait(lambda: cuts)
        # Nobody gets through for a while, so that what the cut one did can be seen.
        time.sleep(1.0)
        arrived = site.states().get(JobStatus.DONE, 0)
        proxy.mend()
        site.settle(keys)
    assert arrived == (cut == "after")
    jobs = site.check(keys)
    assert [job.attempts for job in jobs] == [1, 1]
    assert len(results) == 3, "it was said once more, to no effect where it had arrived"
    assert [site.begun(x) for x in range(2)] == [1, 1]


def test_a_commit_whose_answer_was_lost_counts_and_another_ones_does_not(database_url: str) -> None:
    store = Store(database_url)
    store.jobs.submit("k", "work", {"x": 1})
    lease = store.jobs.acquire("k", "one")
    assert lease is not None
    assert store.jobs.complete(lease, {"by": "one"})
    assert store.jobs.complete(lease, {"by": "one"}), "said again by whoever got no answer"
    assert not store.jobs.fail(lease, {"message": "late"})
    assert store.jobs.get("k").status is JobStatus.DONE
    store.jobs.redo("k")
    assert not store.jobs.complete(lease, {"by": "one"})
    heir = store.jobs.acquire("k", "two")
    assert heir is not None
    assert not store.jobs.complete(lease, {"by": "one"})
    assert store.jobs.complete(heir, {"by": "two"})
    assert not store.jobs.complete(lease, {"by": "one"})
    assert store.jobs.get("k").result == {"by": "two"}
    store.close()


def test_patience_has_an_end(database_url: str, proxy: Proxy) -> None:
    from sqlalchemy.exc import OperationalError

    store = Store(through(proxy, database_url))
    store.jobs.submit("k", "work", {})
    proxy.cut()
    began = time.monotonic()
    with pytest.raises(OperationalError):
        patiently(lambda: store.jobs.get("k"), seconds=1.0)
    assert time.monotonic() - began < 5
    proxy.mend()
    assert store.jobs.get("k").status is JobStatus.QUEUED
    store.close()


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_clocks_that_differ_steal_nothing(
    ahead: float, redis: Server, database_url: str, make_site: Callable[..., Site]
) -> None:
    """One machine's clock is an hour off: leases are of the database's clock."""
    site = make_site(redis, database_url)
    keys = [site.ask("work", x=x, seconds=LEASE + 1.0) for x in range(2)]
    site.send()
    with (
        site.workers(1, FAULT_HOST="one", FAULT_CLOCK=str(ahead)),
        site.workers(1, FAULT_HOST="two"),
    ):
        site.settle(keys)
    jobs = site.check(keys)
    assert all(job.attempts == 1 and job.fence == 1 for job in jobs)
    now = time.time()
    assert all(abs(job.updated_at - now) < 60 for job in jobs)


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
@pytest.mark.parametrize("holder", ["alive", "dead"])
def test_a_clock_that_jumps_while_a_job_is_done(
    jump: float, holder: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that counts: the database's. A living holder goes on or is fenced off; a dead one's job is not lost."""
    from arena.store.database import Database

    store = Store(database_url)
    jobs = store.jobs
    jobs.submit("k", "work", {})
    jobs.mark_sent("k")
    first = jobs.acquire("k", "one")
    assert first is not None
    true_now = Database.now
    monkeypatch.setattr(Database, "now", lambda self, session: true_now(self, session) + jump)
    if holder == "alive":
        assert jobs.heartbeat(first), "nobody took it meanwhile"
        assert jobs.acquire("k", "two") is None
        assert not jobs.unsent(float("inf"))
        assert jobs.complete(first, {"by": "one"})
        assert jobs.get("k").result == {"by": "one"}
    else:
        assert not jobs.is_held(jobs.get("k"))
        assert [job.key for job in jobs.unsent(float("inf"))] == ["k"]
        second = jobs.acquire("k", "two")
        assert second is not None
        assert not jobs.complete(first, {"by": "one"})
        assert jobs.complete(second, {"by": "two"})
        assert jobs.get("k").result == {"by": "two"}
    store.close()


def test_a_worker_outlives_a_database_that_is_away_while_it_sweeps(
    redis: Server, database_url: str, make_site: Callable[..., Site], proxy: Proxy
) -> None:
    """The sweep is a thread: an error that it does not expect would end it, and nobody would notice."""
    site = make_site(redis, database_url, extra={"DREAMARENA_DATABASE_URL": through(proxy, database_url)})
    with site.workers(1) as [worker]:
        site.wait(worker.is_ready)
        proxy.cut()
        site.wait(lambda: "cannot look for jobs" in worker.log.read_text())
        proxy.mend()
        # No message is sent: only the sweep can find it.
        key = site.ask("work")
        site.settle([key])
        assert worker.process.poll() is None
    [job] = site.check([key])
    assert (job.attempts, site.begun()) == (1, 1)
