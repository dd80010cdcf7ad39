"""Tokens that open what they should, for as long as they should; policies that are somebody's; jobs that stop."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arena.contracts import InvalidInput
from arena.store import JobStatus, NotFound, Scope, Store, TokenRefused
from tests.services import postgresql_server, postgresql_url  # noqa: F401 (fixtures)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        found = Store(f"sqlite:///{tmp_path / 'arena.db'}")
    else:
        found = Store(request.getfixturevalue("postgresql_url"))
    yield found
    found.close()


def events(store: Store) -> list[str]:
    return [record.event for record in store.voting.audit()]


def test_a_token_is_known_again_and_its_secret_is_kept_nowhere(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'arena.db'}")
    token, record = store.accounts.create_token("ann@lab", [Scope.VOTE, Scope.SUBMIT], "root", note="her laptop")
    assert store.accounts.recognise(token) == record
    assert record.scopes == (Scope.SUBMIT, Scope.VOTE)
    assert record.allows(Scope.VOTE)
    assert not record.allows(Scope.ADMIN)
    store.close()
    kept = "\n".join(sqlite3.connect(tmp_path / "arena.db").iterdump())
    assert token.rpartition("_")[2] not in kept
    assert record.id in kept


def test_an_admin_may_do_everything(store: Store) -> None:
    _, record = store.accounts.create_token("ann", [Scope.ADMIN], "root")
    assert all(record.allows(scope) for scope in Scope)


def test_unknown_expired_and_revoked_tokens_open_nothing(store: Store) -> None:
    short, record = store.accounts.create_token("ann", [Scope.VOTE], "root", expires_at=time.time() + 0.2)
    long, other = store.accounts.create_token("ann", [Scope.VOTE], "root")
    store.accounts.revoke_token(other.id, "root")
    time.sleep(0.25)
    wrong = f"da_{record.id}_{'0' * 64}"
    for token, why in ((short, "expired"), (long, "revoked"), (wrong, "unknown"), ("", "unknown"), ("é\0", "unknown")):
        with pytest.raises(TokenRefused) as refused:
            store.accounts.recognise(token)
        assert refused.value.why == why


def test_every_change_of_a_token_is_in_the_audit_trail_once(store: Store) -> None:
    _, record = store.accounts.create_token("ann", [Scope.VOTE], "root")
    for _ in range(2):
        store.accounts.revoke_token(record.id, "root")
    assert events(store) == ["token_revoked", "token_created"]
    assert store.voting.audit()[0].detail == {"by": "root", "token": record.id, "owner": "ann"}
    assert [each.id for each in store.accounts.tokens("ann")] == [record.id]
    assert store.accounts.tokens("bob") == []


@pytest.mark.parametrize(
    ("owner", "scopes", "expires", "note"),
    [
        ("", ["vote"], None, ""),
        ("a b", ["vote"], None, ""),
        ("x" * 65, ["vote"], None, ""),
        ("ann", [], None, ""),
        ("ann", ["root"], None, ""),
        ("ann", ["vote"], 1.0, ""),
        ("ann", ["vote"], float("nan"), ""),
        ("ann", ["vote"], None, "two\nlines"),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(
    store: Store, owner: str, scopes: list[Scope], expires: float | None, note: str
) -> None:
    with pytest.raises(InvalidInput):
        store.accounts.create_token(owner, scopes, "root", expires, note)
    assert store.accounts.tokens() == []


def test_a_token_that_is_not_there_cannot_be_revoked(store: Store) -> None:
    with pytest.raises(NotFound, match="no token 'none'"):
        store.accounts.revoke_token("none", "root")


def test_a_private_policy_is_hidden_from_all_but_its_owner(store: Store) -> None:
    assert store.accounts.own_policy("aa", "ann", private=True)
    assert not store.accounts.own_policy("aa", "ann", private=True)
    assert store.accounts.own_policy("bb", "bob", private=False)
    assert store.accounts.hidden("ann") == frozenset()
    assert store.accounts.hidden("bob") == store.accounts.hidden(None) == {"aa"}
    with pytest.raises(InvalidInput, match="somebody else"):
        store.accounts.own_policy("aa", "bob", private=False)
    with pytest.raises(InvalidInput, match="public already"):
        store.accounts.own_policy("bb", "bob", private=True)
    store.accounts.own_policy("aa", "ann", private=False)
    assert store.accounts.hidden(None) == frozenset()
    assert events(store) == ["policy_published", "policy_owned", "policy_owned"]


def test_several_may_ask_for_one_job(store: Store) -> None:
    store.jobs.submit("k", "test", {})
    for owner in ("ann", "bob", "ann"):
        store.accounts.asked("k", owner)
    assert store.accounts.askers("k") == {"ann", "bob"}
    assert store.accounts.askers("other") == frozenset()


def test_a_job_that_waits_is_cancelled_at_once_and_never_starts(store: Store) -> None:
    store.jobs.submit("k", "test", {})
    cancelled = store.jobs.cancel("k", "ann")
    assert cancelled.status is JobStatus.CANCELLED
    assert cancelled.error == {"type": "Cancelled", "message": "cancelled by ann", "user": True}
    assert store.jobs.acquire("k", "one") is None
    assert store.jobs.unsent(60.0) == []
    again = store.jobs.submit("k", "test", {})
    assert (again.status, again.error, again.cancel_at) == (JobStatus.QUEUED, None, None)
    assert store.jobs.acquire("k", "one") is not None


def test_a_job_that_runs_is_asked_to_stop_and_says_so_when_it_has(store: Store) -> None:
    store.jobs.submit("k", "test", {})
    lease = store.jobs.acquire("k", "one")
    assert lease is not None
    assert not store.jobs.is_cancelled("k")
    assert store.jobs.cancel("k", "ann").status is JobStatus.RUNNING
    assert store.jobs.is_cancelled("k")
    assert store.jobs.stop(lease)
    stopped = store.jobs.get("k")
    assert (stopped.status, stopped.lease_owner) == (JobStatus.CANCELLED, None)
    assert stopped.error is not None
    assert stopped.error["message"] == "cancelled by ann"


@pytest.mark.parametrize("error", [None, {"message": "disk full"}])
def test_a_job_that_was_to_stop_is_not_put_back(store: Store, error: dict[str, str] | None) -> None:
    store.jobs.submit("k", "test", {})
    lease = store.jobs.acquire("k", "one")
    assert lease is not None
    store.jobs.cancel("k", "ann")
    assert store.jobs.release(lease, error)
    assert store.jobs.get("k").status is JobStatus.CANCELLED


def test_a_result_that_was_there_first_outlives_a_cancellation(store: Store) -> None:
    store.jobs.submit("k", "test", {})
    lease = store.jobs.acquire("k", "one")
    assert lease is not None
    store.jobs.cancel("k", "ann")
    assert store.jobs.complete(lease, {"answer": 42})
    done = store.jobs.cancel("k", "ann")
    assert (done.status, done.result, done.error) == (JobStatus.DONE, {"answer": 42}, None)
    assert store.jobs.redo("k").cancel_at is None


def test_a_job_whose_worker_died_after_it_was_told_to_stop_is_cancelled_by_the_next_taker(store: Store) -> None:
    store.jobs.submit("k", "test", {})
    dead = store.jobs.acquire("k", "one", seconds=0.05)
    assert dead is not None
    store.jobs.cancel("k", "ann")
    time.sleep(0.06)
    assert store.jobs.acquire("k", "two") is None
    assert store.jobs.get("k").status is JobStatus.CANCELLED
    assert not store.jobs.complete(dead, {})


def test_the_most_urgent_job_goes_first_and_then_the_oldest(store: Store) -> None:
    for key, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        store.jobs.submit(key, "test", {}, priority)
    assert [job.key for job in store.jobs.unsent(60.0)] == ["b", "d", "a", "c"]
    assert store.jobs.next_sent() is None, "nobody was told of any"
    for key in "abcd":
        store.jobs.mark_sent(key)
    assert store.jobs.next_sent() == "b"
    assert store.jobs.more_urgent(store.jobs.get("a")) == "b"
    assert store.jobs.more_urgent(store.jobs.get("b")) is None
    store.jobs.acquire("b", "one")
    assert store.jobs.more_urgent(store.jobs.get("b")) == "d", "its ticket is worth another job"
    assert store.jobs.submit("a", "test", {}, 9).priority == 9
    assert store.jobs.submit("a", "test", {}, 1).priority == 9
