"""Policies submitted over the network: whose they are, where their servers may be, and what becomes of their jobs."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from arena.contracts import InvalidInput
from arena.policies.errors import PolicyConnectionError
from arena.policies.registry import parse_spec
from arena.policies.server import Access
from arena.store import JobStatus, Scope
from tests.workers.api.conftest import PRIVATE, PUBLIC, SERVER, Api
from workers.runner import BrokerUnreachable


def test_a_submission_is_a_job_that_is_looked_after(api: Api, spawned: list[str]) -> None:
    bob = api.as_("bob", Scope.SUBMIT)
    answer = bob.post("submissions", {"policy": SERVER})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['key']}"
    assert (job["kind"], job["status"], job["priority"]) == ("submit_policy", "queued", 0)
    assert spawned == [job["key"]]
    assert api.store.jobs.get(job["key"]).inputs["evaluation"] == PUBLIC, "the newest that bob can see"
    assert bob.post("submissions", {"policy": SERVER}).json()["key"] == job["key"]
    assert bob.get(f"jobs/{job['key']}").json()["key"] == job["key"]
    assert [each["key"] for each in bob.get("jobs").json()["items"]] == [job["key"]]
    lease = api.store.jobs.acquire(job["key"], "worker:1:1")
    assert lease is not None
    api.store.jobs.complete(lease, {"evaluation": PUBLIC, "policy": "x"})
    assert bob.get(f"jobs/{job['key']}").json()["result"]["evaluation"] == PUBLIC


def test_jobs_are_seen_by_those_who_asked(api: Api) -> None:
    ann, bob, root = (api.as_(name, scope) for name, scope in
                      (("ann", Scope.SUBMIT), ("bob", Scope.SUBMIT), ("root", Scope.ADMIN)))  # fmt: skip
    key = ann.post("submissions", {"policy": SERVER}).json()["key"]
    for answer in (bob.get(f"jobs/{key}"), bob.post(f"jobs/{key}/cancel"), bob.post(f"jobs/{key}/retry")):
        assert answer.status_code == 404
    assert bob.get("jobs").json()["items"] == []
    assert [each["key"] for each in root.get("jobs").json()["items"]] == [key]
    # Bob asks for the same, and from then on it is his as well.
    assert bob.post("submissions", {"policy": SERVER}).json()["key"] == key
    assert bob.get(f"jobs/{key}").status_code == 200
    refused = ann.post(f"jobs/{key}/cancel")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:dreamarena:asked-for-by-others")
    assert root.post(f"jobs/{key}/cancel").json()["status"] == "cancelled"


def test_a_job_is_cancelled_and_asked_for_again(api: Api) -> None:
    bob = api.as_("bob", Scope.SUBMIT)
    key = bob.post("submissions", {"policy": SERVER}).json()["key"]
    cancelled = bob.post(f"jobs/{key}/cancel").json()
    assert (cancelled["status"], cancelled["error"]) == ("cancelled", "cancelled by bob")
    assert bob.post(f"jobs/{key}/retry").json()["status"] == "queued"
    assert api.store.jobs.acquire(key, "worker:1:1") is not None
    stopping = bob.post(f"jobs/{key}/cancel").json()
    assert (stopping["status"], stopping["stopping"]) == ("running", True)


def test_an_error_of_the_machine_is_no_visitors_business(api: Api) -> None:
    bob, root = api.as_("bob", Scope.SUBMIT), api.as_("root", Scope.ADMIN)
    key = bob.post("submissions", {"policy": SERVER}).json()["key"]
    lease = api.store.jobs.acquire(key, "worker:1:1")
    assert lease is not None
    api.store.jobs.fail(lease, {"type": "OSError", "message": "/secret/path", "user": False})
    assert bob.get(f"jobs/{key}").json()["error"] == "an error of the server"
    assert root.get(f"jobs/{key}").json()["error"] == "/secret/path"


def test_priorities_are_for_admins(api: Api) -> None:
    bob, root = api.as_("bob", Scope.SUBMIT), api.as_("root", Scope.ADMIN)
    assert bob.post("submissions", {"policy": SERVER, "priority": 3}).status_code == 403
    assert root.post("submissions", {"policy": SERVER, "priority": 3}).json()["priority"] == 3


def test_a_private_policy_stays_its_owners(api: Api) -> None:
    ann, bob = api.as_("ann", Scope.SUBMIT), api.as_("bob", Scope.SUBMIT)
    assert ann.post("submissions", {"policy": SERVER, "private": True}).status_code == 202
    refused = bob.post("submissions", {"policy": SERVER})
    assert refused.status_code == 400
    assert "somebody else" in refused.json()["detail"]
    sha256 = parse_spec(SERVER).card.sha256
    assert sha256 in api.store.accounts.hidden("bob")
    assert sha256 not in api.store.accounts.hidden("ann")
    # An evaluation that bob cannot see is none that he can join.
    assert bob.post("submissions", {"policy": SERVER, "evaluation": PRIVATE}).status_code == 404


def test_whoever_submitted_a_policy_has_no_vote_on_it(api: Api) -> None:
    bob = api.as_("bob", Scope.SUBMIT)
    bob.post("submissions", {"policy": f"{SERVER}&name=bobs"})
    voter = api.server.voter("bob").id
    assert api.store.voting.owned(voter) == {"bobs"}


def test_nobody_goes_by_the_name_of_another_policy(api: Api) -> None:
    refused = api.as_("bob", Scope.SUBMIT).post("submissions", {"policy": f"{SERVER}&name=good"})
    assert refused.status_code == 400
    assert "another policy is called 'good'" in refused.json()["detail"]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "10.0.0.1", "192.168.1.1", "169.254.169.254",
     "[::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::ffff:127.0.0.1]", "0.0.0.0"],
)  # fmt: skip
def test_servers_on_private_networks_are_not_called(api: Api, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_connection(*_: object, **__: object) -> None:
        raise AssertionError("connected")

    bob = api.as_("bob", Scope.SUBMIT)
    with monkeypatch.context() as patched:
        patched.setattr(socket, "create_connection", no_connection)
        for path, said in (("submissions", {"policy": SERVER.replace("8.8.8.8", host)}),
                           ("probes", {"url": f"openpi://{host}:8000"})):  # fmt: skip
            refused = bob.post(path, said)
            assert refused.status_code == 400, (path, refused.text)
    assert bob.get("jobs").json()["items"] == []


@pytest.mark.parametrize("scheme", ["roboarena", "roboarena+wss", "groot", "wss"])
def test_no_scheme_is_a_way_to_a_private_network(api: Api, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_connection(*_: object, **__: object) -> None:
        raise AssertionError("connected")

    bob = api.as_("bob", Scope.SUBMIT)
    spec = f"{scheme}://HOST:8000?action_space=joint_position&control_hz=15&chunk=8"
    accepted = bob.post("submissions", {"policy": spec.replace("HOST", "8.8.8.8")})
    assert accepted.status_code == 202, accepted.text
    assert api.store.jobs.get(accepted.json()["key"]).inputs["policy"].endswith("&network=public")
    with monkeypatch.context() as patched:
        patched.setattr(socket, "create_connection", no_connection)
        for host in ("127.0.0.1", "2130706433", "169.254.169.254", "[::ffff:10.0.0.1]"):
            for path, said in (("submissions", {"policy": spec.replace("HOST", host)}),
                               ("probes", {"url": f"{scheme}://{host}:8000"})):  # fmt: skip
                refused = bob.post(path, said)
                assert refused.status_code == 400, (path, refused.text)
                assert "not on the public internet" in refused.json()["detail"]


def test_a_name_that_is_rebound_later_is_refused_where_it_is_connected_to(api: Api) -> None:
    bob = api.as_("bob", Scope.SUBMIT)
    key = bob.post("submissions", {"policy": SERVER}).json()["key"]
    spec = api.store.jobs.get(key).inputs["policy"]
    assert spec.endswith("&network=public")
    # What a worker makes of this spec refuses, whatever the worker's own settings are.
    policy = parse_spec(spec.replace("8.8.8.8", "127.0.0.1")).create()
    with pytest.raises(PolicyConnectionError, match="not on the public internet"):
        policy.server.metadata()  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="network can be public"):
        parse_spec(f"{SERVER}&network=any")


def test_private_networks_are_allowed_by_configuration(serve: Callable[..., Api]) -> None:
    api = serve(private_policies=True)
    answer = api.as_("bob", Scope.SUBMIT).post("submissions", {"policy": SERVER.replace("8.8.8.8", "127.0.0.1")})
    assert answer.status_code == 202
    assert api.store.jobs.get(answer.json()["key"]).inputs["policy"].endswith("chunk=8")


@pytest.mark.parametrize(
    "policy",
    ["hold", "bc:/etc", "replay", "lerobot:/x", "file:///etc/passwd", "upload:../x", "upload:", "upload:" + "0" * 64,
     "http://8.8.8.8", SERVER + "&x=1", " ", "openpi://", f"adapted:/etc/passwd,{SERVER}"],
)  # fmt: skip
def test_strangers_name_servers_and_uploads_and_nothing_else(api: Api, policy: str) -> None:
    refused = api.as_("bob", Scope.SUBMIT).post("submissions", {"policy": policy})
    assert refused.status_code == 400, refused.text
    assert api.store.accounts.owners().keys() == {"mine" * 8}


def test_admins_name_what_the_command_line_can(api: Api) -> None:
    assert api.as_("root", Scope.ADMIN).post("submissions", {"policy": "hold"}).status_code == 202


def test_a_probe_tells_what_the_server_is_like(serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch) -> None:
    api = serve(private_policies=True)
    seen: dict[str, Any] = {}

    class Report:
        def to_json(self) -> dict[str, Any]:
            return {"ok": True}

    def probe(url: str, space: object, calls: int, access: Access) -> Report:
        seen.update(url=url, space=space, calls=calls, allow_private=access.allow_private)
        return Report()

    monkeypatch.setattr("arena.policies.preflight.probe", probe)
    asked = {"url": "ws://127.0.0.1:9", "action_space": "joint_velocity", "calls": 2}
    assert api.as_("bob", Scope.SUBMIT).post("probes", asked).json() == {"ok": True}
    assert seen == {"url": asked["url"], "space": "joint_velocity", "calls": 2, "allow_private": True}
    for _ in range(4):
        assert api.server.probing.acquire(blocking=False)
    assert api.as_("bob", Scope.SUBMIT).post("probes", asked).status_code == 503


def test_a_broker_that_is_away_is_said_without_its_address(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise BrokerUnreachable("cannot reach the broker redis://10.0.0.7:6379/0")

    monkeypatch.setattr("workers.service.take_up", away)
    answer = api.as_("bob", Scope.SUBMIT).post("submissions", {"policy": SERVER})
    assert answer.status_code == 503
    assert "10.0.0.7" not in answer.text
    assert api.store.jobs.counts()[JobStatus.QUEUED] == 1, "it waits for them"
