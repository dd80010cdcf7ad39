"""Faults 1, 2, 5 and 6 of docs/reliability.md, out of memory, and an orderly end: workers that die or have to go."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from arena.store import JobStatus
from tests.workers.faults.brokers import Server
from tests.workers.faults.site import LEASE, QUICK, Site
from workers.supervisor import memory_of

pytestmark = pytest.mark.services
Record = Callable[[str, object], None]


def working_pid(site: Site) -> int:
    [(_, _, pid)] = [line for line in site.trace() if line[0] == "begin"][-1:]
    return pid


def test_1_a_killed_child_is_started_again_and_its_job_done_once(site: Site, record_property: Record) -> None:
    key = site.ask("work", seconds=1.0)
    site.send()
    with site.workers(1, "--supervised", "0") as [parent]:
        site.wait(lambda: site.begun())
        child = working_pid(site)
        assert child != parent.process.pid
        signal_child(child)
        site.wait(lambda: site.begun() == 2)
        site.settle([key])
        assert parent.process.poll() is None
        assert working_pid(site) != child
    [job] = site.check([key])
    assert job.attempts == 2
    assert len(site.visible()) == 1
    record_property("attempts", job.attempts)


def signal_child(pid: int) -> None:
    import os

    os.kill(pid, signal.SIGKILL)


def test_2_a_killed_workers_job_is_taken_up_within_twice_the_lease(site: Site, record_property: Record) -> None:
    """On another machine: nobody there can know that the process is dead, so that the lease has to run out."""
    key = site.ask("work", seconds=0.5)
    site.send()
    with site.workers(1, FAULT_HOST="one", FAULT_SLOW="100") as [victim]:
        site.wait(lambda: site.begun())
        with site.workers(1, FAULT_HOST="two") as [heir]:
            site.wait(heir.is_ready)
            victim.kill()
            waited = site.wait(lambda: site.begun() == 2)
            site.settle([key])
    assert waited < 2 * LEASE
    [job] = site.check([key])
    assert (job.attempts, len(site.visible())) == (2, 1)
    record_property("taken up after s", round(waited, 1))


def test_2_an_abandoned_job_does_not_wait_until_a_full_queue_is_empty(site: Site) -> None:
    """Messages of another kind keep the broker busy, so that it cannot be seen from its queue that one is lost."""
    key = site.ask("work", seconds=0.5)
    site.send()
    with site.workers(1, FAULT_HOST="one", FAULT_SLOW="100") as [victim]:
        site.wait(lambda: site.begun())
        victim.kill()
    others = [site.ask("silent", x=x, seconds=0.0) for x in range(10, 14)]
    site.send()
    with site.store._database.write() as session:
        from sqlalchemy import text

        session.execute(text("UPDATE jobs SET lease_expires = 1"))
        session.execute(text("UPDATE jobs SET sent_at = 0.5 WHERE kind = 'work'"))
    assert site.messages() >= len(others)
    assert [job.key for job in site.store.jobs.unsent(float("inf"))] == [key]
    with site.workers(1):
        site.settle([key, *others])
    site.check([key, *others])


def test_5_a_job_that_outlives_the_brokers_patience_is_committed_once(
    broker: Server, database_url: str, make_site: Callable[..., Site], record_property: Record
) -> None:
    """Redis hands a message out again after the visibility timeout, RabbitMQ after the consumer timeout (3 s here)."""
    site = make_site(broker, database_url, timing=replace(QUICK, visibility=2.0))
    key = site.ask("silent", seconds=8.0)
    site.send()
    with site.workers(2) as workers:
        site.settle([key])
        time.sleep(1.0)
        assert site.begun() == 1, "a message that came again started nothing"
        more = [site.ask("work", x=x) for x in (4, 5)]
        site.send()
        site.settle(more)
        assert [worker.process.poll() for worker in workers] == [None, None], site.logs()
    [job, *_] = site.check([key, *more])
    assert job.attempts == 1
    record_property("begun", site.begun())


def test_6_a_poisoned_job_fails_after_three_and_others_proceed(site: Site, record_property: Record) -> None:
    poisoned = site.ask("poison", x=0)
    good = [site.ask("work", x=x) for x in (1, 2, 3, 4)]
    site.send()
    with site.workers(1, "--supervised", "0") as [parent]:
        site.settle([poisoned, *good])
        assert parent.process.poll() is None
    job = site.store.jobs.get(poisoned)
    assert (job.status, job.attempts, site.begun(0)) == (JobStatus.FAILED, 3, 3)
    assert job.error is not None
    assert "SIGKILL" in job.error["message"]
    site.check(good)
    record_property("deaths", site.begun(0))


def test_6_a_poisoned_job_that_takes_its_parents_along_fails_as_well(site: Site) -> None:
    """Without anybody who notes what the workers died of."""
    poisoned, good = site.ask("poison", x=0), site.ask("work", x=1)
    site.send()
    for _ in range(5):
        with site.workers(1) as [worker]:
            site.wait(lambda worker=worker: worker.process.poll() is not None or both_over(site, poisoned, good))
        if both_over(site, poisoned, good):
            break
    job = site.store.jobs.get(poisoned)
    assert (job.status, job.attempts, site.begun(0)) == (JobStatus.FAILED, 3, 3)
    assert job.error == {"type": "WorkerLost", "message": "its worker died 3 times", "user": False}
    site.check([good])


def both_over(site: Site, *keys: str) -> bool:
    return all(job.status in (JobStatus.DONE, JobStatus.FAILED) for job in site.store.jobs.many(keys))


def test_out_of_memory_ends_the_child_and_fails_the_job_with_the_reason(
    redis: Server, database_url: str, make_site: Callable[..., Site], record_property: Record
) -> None:
    site = make_site(redis, database_url)
    greedy, good = site.ask("hog", x=0), site.ask("work", x=1)
    site.send()
    with site.workers(1, "--supervised", "0.4") as [parent]:
        site.settle([greedy, good])
        assert parent.process.poll() is None
        assert memory_of(parent.process.pid) < 0.4 * 2**30
    job = site.store.jobs.get(greedy)
    assert (job.status, job.attempts) == (JobStatus.FAILED, 3)
    assert job.error is not None
    assert "GiB of memory, of 0.4 that it may" in job.error["message"]
    site.check([good])
    record_property("reason", job.error["message"])


@pytest.mark.parametrize("supervised", [True, False])
def test_sigterm_lets_a_job_finish_that_is_quick(
    supervised: bool, redis: Server, database_url: str, make_site: Callable[..., Site]
) -> None:
    site = make_site(redis, database_url, timing=replace(QUICK, drain=30.0))
    keys = [site.ask("work", x=x, seconds=1.0) for x in (1, 2, 3)]
    site.send()
    with site.workers(1, *(["--supervised", "0"] if supervised else [])) as [worker]:
        site.wait(lambda: site.trace())
        worker.process.terminate()
        assert worker.process.wait(60) == 0, site.logs()
    first, *others = sorted(site.store.jobs.many(keys), key=lambda job: job.status is not JobStatus.DONE)
    assert (first.status, first.attempts) == (JobStatus.DONE, 1)
    assert {job.status for job in others} == {JobStatus.QUEUED}, "it took no new ones"
    with site.workers(1):
        site.settle(keys)
    assert all(job.attempts == 1 for job in site.check(keys))


@pytest.mark.parametrize("supervised", [True, False])
def test_sigterm_hands_a_long_job_back_at_no_cost(
    supervised: bool, redis: Server, database_url: str, make_site: Callable[..., Site], record_property: Record
) -> None:
    site = make_site(redis, database_url)
    key = site.ask("work", seconds=6.0)
    site.send()
    with site.workers(1, *(["--supervised", "0"] if supervised else [])) as [worker]:
        site.wait(lambda: site.begun())
        began = time.monotonic()
        worker.process.terminate()
        assert worker.process.wait(60) == 0, site.logs()
        left = time.monotonic() - began
    job = site.store.jobs.get(key)
    assert (job.status, job.attempts, job.lease_owner) == (JobStatus.QUEUED, 0, None)
    assert not site.visible()
    with site.workers(1):
        site.settle([key])
    assert site.check([key])[0].attempts == 1
    record_property("left after s", round(left, 1))


def test_a_child_goes_with_its_parent(redis: Server, database_url: str, make_site: Callable[..., Site]) -> None:
    """Otherwise a service manager that starts a new parent has two workers on one GPU."""
    site = make_site(redis, database_url)
    key = site.ask("work", seconds=30.0)
    site.send()
    with site.workers(1, "--supervised", "0") as [parent]:
        site.wait(lambda: site.begun())
        child = working_pid(site)
        parent.kill()
        site.wait(lambda: site.store.jobs.get(key).status is JobStatus.QUEUED)
        site.wait(lambda: memory_of(child) == 0)
    assert site.store.jobs.get(key).attempts == 0
