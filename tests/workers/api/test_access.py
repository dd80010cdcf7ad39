"""Who gets in, and to what: every operation by every kind of token; how often; and what is written down."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from arena.store import Scope
from tests.workers.api.conftest import PUBLIC, SERVER, Api
from workers.api.limits import MAX_BUCKETS, Limits, Rate
from workers.api.problems import Problem

ANY = frozenset(Scope)
JOB = "k" * 64
OPERATIONS: dict[tuple[str, str], frozenset[Scope]] = {
    ("GET", "/v1/evaluations"): ANY,
    ("GET", "/v1/leaderboard"): ANY,
    ("GET", "/v1/evaluations/{id}/leaderboard"): ANY,
    ("GET", "/v1/evaluations/{id}/rollouts"): ANY,
    ("GET", "/v1/evaluations/{id}/rollouts.csv"): ANY,
    ("GET", "/v1/rollouts/{id}"): ANY,
    ("GET", "/v1/rollouts/{id}/films/{camera}"): ANY,
    ("GET", "/v1/status"): ANY,
    ("GET", "/v1/me"): ANY,
    ("POST", "/v1/submissions"): frozenset({Scope.SUBMIT}),
    ("POST", "/v1/probes"): frozenset({Scope.SUBMIT}),
    ("POST", "/v1/uploads"): frozenset({Scope.SUBMIT}),
    ("GET", "/v1/jobs"): frozenset({Scope.SUBMIT}),
    ("GET", "/v1/jobs/{key}"): frozenset({Scope.SUBMIT}),
    ("POST", "/v1/jobs/{key}/cancel"): frozenset({Scope.SUBMIT}),
    ("POST", "/v1/jobs/{key}/retry"): frozenset({Scope.SUBMIT}),
    ("POST", "/v1/votes"): frozenset({Scope.VOTE}),
    ("POST", "/v1/votes/pairs"): frozenset({Scope.VOTE}),
    ("POST", "/v1/votes/skip"): frozenset({Scope.VOTE}),
    ("GET", "/v1/votes/films/{token}"): frozenset({Scope.VOTE}),
    ("GET", "/v1/votes.csv"): frozenset({Scope.JUDGE}),
    ("POST", "/v1/verdicts"): frozenset({Scope.JUDGE}),
    ("GET", "/v1/admin/tokens"): frozenset(),
    ("POST", "/v1/admin/tokens"): frozenset(),
    ("DELETE", "/v1/admin/tokens/{id}"): frozenset(),
    ("GET", "/v1/admin/audit"): frozenset(),
    ("GET", "/v1/admin/metrics"): frozenset(),
}
"""Which scopes open an operation, beside admin, which opens all."""


def call(api: Api, operation: tuple[str, str], token: str | None) -> Any:
    method, path = operation
    for name, value in (("{id}", PUBLIC), ("{key}", JOB), ("{camera}", "wrist"), ("{token}", "x.y")):
        path = path.replace(name, value)
    headers = {} if token is None else {"Authorization": token}
    return api.client.request(method, path, headers=headers, json={} if method == "POST" else None)


def test_every_operation_is_in_the_table(api: Api) -> None:
    paths = api.client.get("/openapi.json").json()["paths"]
    found = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert found == {*OPERATIONS, ("GET", "/v1/health")}


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_a_token_opens_what_its_scopes_say_and_nothing_else(api: Api, operation: tuple[str, str]) -> None:
    for scope in Scope:
        status = call(api, operation, f"Bearer {api.token('bob', scope)}").status_code
        if scope is Scope.ADMIN or scope in OPERATIONS[operation]:
            assert status not in (401, 403), (scope, status)
        else:
            assert status == 403, (scope, status)
    for bad in (None, "", "Bearer", "Bearer da_x", "Basic Ym9iOmJvYg==", f"Bearer da_{'0' * 12}_{'0' * 64}"):
        refused = call(api, operation, bad)
        assert refused.status_code == 401, bad
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert refused.json()["status"] == 401


def test_revoked_and_expired_tokens_open_nothing_at_once(api: Api) -> None:
    root = api.as_("root", Scope.ADMIN)
    made = root.post("admin/tokens", {"owner": "bob", "scopes": ["vote"]}).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert api.client.get("/v1/me", headers=headers).json()["owner"] == "bob"
    assert root.delete(f"admin/tokens/{made['id']}").json()["state"] == "revoked"
    refused = api.client.get("/v1/me", headers=headers)
    assert (refused.status_code, refused.json()["type"]) == (401, "urn:dreamarena:token-revoked")
    brief, _ = api.store.accounts.create_token("bob", [Scope.VOTE], "test", time.time() + 0.1)
    time.sleep(0.15)
    refused = api.client.get("/v1/me", headers={"Authorization": f"Bearer {brief}"})
    assert refused.json()["type"] == "urn:dreamarena:token-expired"


def test_tokens_are_told_once_and_listed_without_secrets(api: Api) -> None:
    root = api.as_("root", Scope.ADMIN)
    made = root.post("admin/tokens", {"owner": "bob", "scopes": ["vote", "submit"], "days": None, "note": "ci"})
    assert made.status_code == 201
    listed = root.get("admin/tokens", params={"owner": "bob"})
    assert made.json()["token"].rpartition("_")[2] not in listed.text
    [only] = listed.json()["items"]
    assert (only["scopes"], only["expires_at"], only["note"]) == (["submit", "vote"], None, "ci")
    assert root.delete("admin/tokens/none").status_code == 404
    for wrong in ({"owner": "a b", "scopes": ["vote"]}, {"owner": "bob", "scopes": ["root"]}, {"owner": "bob"},
                  {"owner": "bob", "scopes": ["vote"], "days": -1}):  # fmt: skip
        assert root.post("admin/tokens", wrong).status_code == 422


def test_every_change_is_in_the_audit_trail_with_who_made_it(api: Api) -> None:
    root, bob = api.as_("root", Scope.ADMIN), api.as_("bob", Scope.SUBMIT, Scope.JUDGE)
    before = {each["number"] for each in root.get("admin/audit").json()["items"]}
    job = bob.post("submissions", {"policy": SERVER}).json()["key"]
    bob.post(f"jobs/{job}/cancel")
    bob.post(f"jobs/{job}/retry")
    bob.post("verdicts", {"judge": "mine", "verdicts": [{"rollout": "0a" * 32, "success_probability": 1.0}]})
    made = root.post("admin/tokens", {"owner": "eve", "scopes": ["vote"]}).json()
    root.delete(f"admin/tokens/{made['id']}")
    trail = [each for each in root.get("admin/audit").json()["items"] if each["number"] not in before]
    assert [(each["event"], each["detail"]["by"]) for each in reversed(trail)] == [
        ("policy_owned", "bob"), ("policy_submitted", "bob"), ("job_cancelled", "bob"), ("job_retried", "bob"),
        ("verdicts_added", "bob"), ("token_created", "root"), ("token_revoked", "root"),
    ]  # fmt: skip
    assert made["token"] not in root.get("admin/audit").text
    first = root.get("admin/audit", params={"limit": 2}).json()
    second = root.get("admin/audit", params={"limit": 2, "cursor": first["next"]}).json()
    assert first["items"][-1]["number"] > second["items"][0]["number"]


def test_whoever_asks_too_often_is_told_when_to_come_back(serve: Callable[..., Api]) -> None:
    api = serve(api_reads_per_second=5.0, api_changes_per_second=1.0)
    now = stopped_clock(api)
    bob, ann = api.as_("bob", Scope.SUBMIT), api.as_("ann", Scope.SUBMIT)
    assert [bob.get("me").status_code for _ in range(10)] == [200] * 10
    refused = bob.get("me")
    assert refused.status_code == 429
    assert refused.json()["type"] == "urn:dreamarena:too-many-requests"
    assert refused.headers["retry-after"] == "1"
    assert ann.get("me").status_code == 200, "it is one token that asked too often"
    assert bob.post("probes", {}).status_code == 422, "what changes things is counted apart"
    now[0] += 0.2
    assert [bob.get("me").status_code for _ in range(2)] == [200, 429], "five a second is one each 0.2 s"


def test_guessing_is_slowed_down(api: Api) -> None:
    stopped_clock(api)
    answers = [api.client.get("/v1/me", headers={"Authorization": "Bearer da_guess"}) for _ in range(41)]
    assert [each.status_code for each in answers] == [401] * 40 + [429]
    assert api.as_("bob", Scope.VOTE).get("me").status_code == 200


def stopped_clock(api: Api) -> list[float]:
    """The time by which this API counts requests: it stands still until a test moves it, so no test is a race."""
    now = [0.0]
    api.server.limits = Limits(lambda: now[0])
    return now


def test_a_bucket_fills_again_and_old_ones_are_forgotten() -> None:
    now = [0.0]
    limits, rate = Limits(lambda: now[0]), Rate(2.0, 3.0)
    for _ in range(3):
        limits.spend("a", rate)
    with pytest.raises(Problem, match="come back in 1 s"):
        limits.spend("a", rate)
    now[0] = 0.5
    limits.spend("a", rate)
    with pytest.raises(Problem):
        limits.spend("a", rate)
    now[0] = 1000.0
    for _ in range(3):
        limits.spend("a", rate)
    for name in range(MAX_BUCKETS + 5):
        limits.spend(str(name), rate)
    assert len(limits._levels) == MAX_BUCKETS
