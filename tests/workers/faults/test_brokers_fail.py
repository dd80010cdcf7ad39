"""Faults 3, 4, 8, 9 and 12 of docs/reliability.md, and sweepers that meet: what brokers lose, and who notices."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from arena.store import JobStatus
from tests.workers.faults.brokers import Server
from tests.workers.faults.site import REPOSITORY, Site
from tests.workers.faults.worker import STEPS
from workers.app import CeleryBroker, make_app, task_name
from workers.jobs import Request
from workers.launch import launch
from workers.runner import BrokerUnreachable, offer

pytestmark = pytest.mark.services
Record = Callable[[str, object], None]


def test_3_a_broker_killed_while_idle_loses_nothing(site: Site, broker: Server, record_property: Record) -> None:
    keys = [site.ask("work", x=x) for x in range(4)]
    site.send()
    broker.restart()
    assert site.messages() == 4, "messages outlive the broker"
    with site.workers(1) as [worker]:
        site.settle(keys)
        broker.restart()
        later = [site.ask("work", x=x) for x in range(10, 14)]
        site.wait(lambda: sent(site))
        site.settle(later)
        assert worker.process.poll() is None, site.logs()
    jobs = site.check([*keys, *later])
    assert all(job.attempts == 1 for job in jobs)
    record_property("jobs", len(jobs))


def test_3_a_broker_killed_while_a_worker_is_busy_loses_nothing(
    site: Site, broker: Server, record_property: Record
) -> None:
    keys = [site.ask("work", x=x, seconds=2.0) for x in range(3)]
    site.send()
    with site.workers(1) as [worker]:
        site.wait(lambda: site.trace())
        broker.restart()
        site.settle(keys)
        assert worker.process.poll() is None, site.logs()
        more = site.ask("work", x=20)
        site.wait(lambda: sent(site))
        site.settle([more])
    jobs = site.check([*keys, more])
    assert all(job.attempts == 1 for job in jobs)
    assert [site.begun(x) for x in (0, 1, 2, 20)] == [1, 1, 1, 1]
    record_property("jobs", len(jobs))


def sent(site: Site) -> bool:
    """Tell a broker that may not be back yet."""
    try:
        site.send()
    except BrokerUnreachable:
        return False
    return True


def test_4_jobs_are_offered_again_from_the_database_by_a_broker_that_forgot(
    site: Site, broker: Server, record_property: Record
) -> None:
    keys = [site.ask("work", x=x) for x in range(4)]
    site.send()
    assert site.messages() == 4
    broker.forget()
    assert site.messages() == 0
    with site.workers(2):
        took = site.settle(keys)
    assert all(job.attempts == 1 for job in site.check(keys))
    record_property("all done after s", round(took, 1))


@pytest.mark.parametrize("before", ["send", "mark"])
def test_8_a_crash_between_commit_and_enqueue_is_made_up_for(before: str, site: Site) -> None:
    """A real process that is killed in between; a worker's sweep finds what it left in the outbox."""
    program = (
        "import os, sys, signal\n"
        "from tests.workers.faults.site import Site\n"
        "from pathlib import Path\n"
        "site = Site(Path(sys.argv[1]), sys.argv[2], sys.argv[3])\n"
        "site.ask('work')\n"
        "def die(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "if sys.argv[4] == 'send': site.broker.send = die\n"
        "else: site.store.jobs.mark_sent = die\n"
        "site.send()\n"
    )
    arguments = [str(site.home), site.broker_url, site.database_url, before]
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=REPOSITORY, timeout=60)
    assert done.returncode == -9
    [job] = site.store.jobs.recent()
    assert (job.status, job.attempts) == (JobStatus.QUEUED, 0)
    with site.workers(1):
        site.settle([job.key])
        assert site.begun() == 1
    assert site.check([job.key])[0].attempts == 1


def test_9_what_was_rolled_back_after_an_attempt_to_enqueue_is_no_task(
    redis: Server, database_url: str, make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker hears only of what is committed; and a message of what is not there any more does nothing."""
    site = make_site(redis, database_url)

    class Rolled(Exception):
        pass

    def roll_back(*_: object, **__: object) -> bool:
        raise Rolled

    with monkeypatch.context() as patched:
        patched.setattr("arena.store.jobs.insert_new", roll_back)
        with pytest.raises(Rolled):
            launch(Request("work", _work(9)), site.settings, site.store)
    assert site.messages() == 0
    assert not site.states()
    app = make_app(site.broker_url)
    app.send_task(task_name("work"), args=["ab" * 32], queue="dreamarena")
    with site.workers(1) as [worker]:
        key = site.ask("work")
        site.settle([key])
        assert worker.process.poll() is None
    site.check([key])
    assert sum(site.states().values()) == 1
    assert [x for what, x, _ in site.trace() if what == "begin"] == [3]


def _work(x: int) -> object:
    from tests.workers.faults.worker import Work

    return Work(x=x)


def test_12_a_job_cancelled_while_no_worker_is_up_never_runs(
    redis: Server, database_url: str, make_site: Callable[..., Site]
) -> None:
    site = make_site(redis, database_url)
    cancelled, kept = site.ask("work", x=1), site.ask("work", x=2)
    site.send()
    site.store.jobs.cancel(cancelled, "ann")
    with site.workers(1):
        site.settle([kept])
        site.wait(lambda: site.messages() == 0)
    assert site.store.jobs.get(cancelled).status is JobStatus.CANCELLED
    assert (site.begun(1), site.begun(2)) == (0, 1)
    assert len(site.visible()) == 1
    site.check([kept])


def test_two_sweepers_at_once_double_nothing(
    redis: Server, database_url: str, make_site: Callable[..., Site], record_property: Record
) -> None:
    site = make_site(redis, database_url)
    keys = [site.ask("work", x=x, seconds=0.02) for x in range(20)]
    sweepers = 4
    together = threading.Barrier(sweepers)
    offered: list[int] = []

    def sweep() -> None:
        broker = CeleryBroker(make_app(site.broker_url), site.broker_url, STEPS)
        together.wait()
        offered.append(offer(site.store.jobs, broker))

    threads = [threading.Thread(target=sweep) for _ in range(sweepers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(offered) == sweepers
    assert site.messages() > len(keys), "they did get in each other's way"
    with site.workers(2):
        site.settle(keys)
        site.wait(lambda: site.messages() == 0)
    assert all(job.attempts == 1 and job.fence == 1 for job in site.check(keys))
    assert all(site.begun(x) == 1 for x in range(20))
    record_property("messages for 20 jobs", sum(offered))
