"""What those who may read are told, once, in parts and page by page; and what is nobody else's."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from arena.store import Scope
from tests.workers.api.conftest import PRIVATE, PUBLIC, Api
from workers.settings import Settings

FILM = "rollouts/" + "0a" * 32 + "/films/wrist"


def test_leaderboards_are_told_and_not_twice(api: Api) -> None:
    bob = api.as_("bob", Scope.VOTE)
    newest = bob.get("leaderboard")
    assert newest.status_code == 200
    assert [place["policy"] for place in newest.json()["policies"]] == ["good", "bad"]
    assert newest.json()["judge"]["audit"] is None
    assert bob.get(f"evaluations/{PUBLIC}/leaderboard").json() == newest.json()
    tag = newest.headers["etag"]
    for asked in (tag, f'"other", W/{tag}', "*"):
        again = bob.get("leaderboard", {"If-None-Match": asked})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert bob.get("leaderboard", {"If-None-Match": '"other"'}).status_code == 200


def test_a_leaderboard_that_changed_has_another_etag(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.api.server.FRESH_SECONDS", 0.0)
    bob = api.as_("bob", Scope.VOTE)
    tag = bob.get("leaderboard").headers["etag"]
    changed = dict(api.store.results.evaluation(PUBLIC).result or {}) | {"notes": ["now something else"]}
    api.store.results.finish_evaluation(PUBLIC, changed)
    again = bob.get("leaderboard", {"If-None-Match": tag})
    assert again.status_code == 200
    assert again.json()["notes"] == ["now something else"]


def test_somebody_elses_private_policy_is_nowhere_to_be_seen(api: Api) -> None:
    ann, bob, root = (api.as_(name, scope) for name, scope in
                      (("ann", Scope.SUBMIT), ("bob", Scope.SUBMIT), ("root", Scope.ADMIN)))  # fmt: skip
    mine = "rollouts/" + "0c" * 32
    places = [f"evaluations/{PRIVATE}/leaderboard", f"evaluations/{PRIVATE}/rollouts",
              f"evaluations/{PRIVATE}/rollouts.csv", mine, f"{mine}/films/wrist"]  # fmt: skip
    for place in places:
        assert ann.get(place).status_code == root.get(place).status_code == 200, place
        refused = bob.get(place)
        assert refused.status_code == 404, place
        assert "mine" not in refused.text
    assert [each["id"] for each in bob.get("evaluations").json()["items"]] == [PUBLIC]
    assert [each["id"] for each in ann.get("evaluations").json()["items"]] == [PUBLIC, PRIVATE]
    # What is told of something that is not there is no different.
    assert bob.get("evaluations/none/leaderboard").json()["type"] == bob.get(places[0]).json()["type"]
    api.store.accounts.own_policy("mine" * 8, "ann", private=False)
    assert bob.get(mine).status_code == 200


def test_lists_are_read_page_by_page(api: Api) -> None:
    ann = api.as_("ann", Scope.SUBMIT)
    found, cursor = [], None
    for _ in range(10):
        page = ann.get(f"evaluations/{PRIVATE}/rollouts", params={"limit": 4, **({"cursor": cursor} if cursor else {})})
        found += [each["id"] for each in page.json()["items"]]
        cursor = page.json()["next"]
        if cursor is None:
            break
    assert found == sorted(set(found))
    assert len(found) == 9
    first = ann.get("evaluations", params={"limit": 1}).json()
    assert first["next"] == PUBLIC
    assert ann.get("evaluations", params={"limit": 1, "cursor": PUBLIC}).json()["next"] is None
    assert ann.get("evaluations", params={"cursor": "nowhere"}).status_code == 400
    assert ann.get("evaluations", params={"limit": 201}).status_code == 422


def test_rollouts_are_chosen_by_policy_and_scene(api: Api) -> None:
    bob = api.as_("bob", Scope.VOTE)
    asked = {"policy": "good", "scene": "scene-1"}
    [only] = bob.get(f"evaluations/{PUBLIC}/rollouts", params=asked).json()["items"]
    assert (only["policy"], only["scene"], only["verdicts"][0]["judge"]) == ("good", "scene-1", "learned")


def test_films_come_whole_in_parts_and_not_again(api: Api) -> None:
    bob = api.as_("bob", Scope.VOTE)
    whole = bob.get(FILM)
    assert whole.status_code == 200
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["accept-ranges"] == "bytes"
    size = len(whole.content)
    for asked, expected in (("bytes=0-99", whole.content[:100]), ("bytes=100-", whole.content[100:]),
                            ("bytes=-50", whole.content[-50:])):  # fmt: skip
        part = bob.get(FILM, {"Range": asked})
        assert (part.status_code, part.content) == (206, expected)
        assert part.headers["content-range"].endswith(f"/{size}")
    assert bob.get(FILM, {"Range": f"bytes={size}-"}).status_code == 416
    tag = whole.headers["etag"]
    assert bob.get(FILM, {"If-None-Match": tag}).status_code == 304
    assert bob.get(FILM, {"Range": "bytes=0-99", "If-Range": tag}).status_code == 206
    assert bob.get(FILM, {"Range": "bytes=0-99", "If-Range": '"other"'}).content == whole.content
    films = bob.get(FILM.partition("/films")[0]).json()["films"]
    assert [(film["camera"], film["size"]) for film in films][1] == ("wrist", size)
    assert f'"{films[1]["sha256"]}"' == tag


@pytest.mark.parametrize("camera", ["rollout", "none", "%2e%2e%2fwrist", "wrist.mp4", "manifest.json"])
def test_no_path_leads_out_of_a_rollouts_films(api: Api, camera: str) -> None:
    answer = api.as_("root", Scope.ADMIN).get(f"{FILM.rpartition('/')[0]}/{camera}")
    assert answer.status_code in (404, 422)


def test_tables_open_as_text_in_a_spreadsheet(api: Api) -> None:
    answer = api.as_("bob", Scope.VOTE).get(f"evaluations/{PUBLIC}/rollouts.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 6
    assert {row["reason"] for row in rows} == {"'=1+1"}
    assert answer.headers["content-type"].startswith("text/csv")


def test_the_state_is_told(api: Api) -> None:
    bob = api.as_("bob", Scope.VOTE, Scope.JUDGE)
    assert api.client.get("/v1/health").json()["status"] == "ok"
    assert bob.get("status").json()["evaluations"] == 1
    me = bob.get("me").json()
    assert (me["owner"], me["scopes"]) == ("bob", ["judge", "vote"])


def test_prometheus_is_told_by_a_token_of_an_admin(api: Api) -> None:
    told = api.as_("root", Scope.ADMIN).get("admin/metrics")
    assert told.status_code == 200, told.text
    assert told.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert '\ndreamarena_evaluations{status="done"} ' in told.text
    assert api.as_("bob", Scope.SUBMIT).get("admin/metrics").status_code == 403


def test_strangers_read_what_is_public_where_that_is_allowed(serve: Callable[..., Api]) -> None:
    api = serve(api_open=True)
    assert api.client.get("/v1/leaderboard").status_code == 200
    assert api.client.get(f"/v1/evaluations/{PRIVATE}/leaderboard").status_code == 404
    assert api.client.post("/v1/submissions", json={"policy": "hold"}).status_code == 401
    # Somebody who shows a token means it.
    assert api.client.get("/v1/leaderboard", headers={"Authorization": "Bearer da_wrong"}).status_code == 401


@pytest.mark.services
def test_the_same_on_postgresql(serve: Callable[..., Api], request: pytest.FixtureRequest) -> None:
    api = serve(database_url=request.getfixturevalue("postgresql_url"))
    ann, bob = api.as_("ann", Scope.SUBMIT), api.as_("bob", Scope.ADMIN)
    assert [each["id"] for each in ann.get("evaluations").json()["items"]] == [PUBLIC, PRIVATE]
    assert ann.get("leaderboard").status_code == 200
    assert ann.get(FILM, {"Range": "bytes=0-9"}).status_code == 206
    assert bob.get("admin/audit").json()["items"][0]["event"] == "token_created"
    # PostgreSQL knows no NUL in a text.
    assert bob.get("admin/tokens", params={"owner": "a\0b"}).status_code == 422
    assert bob.post("admin/tokens", {"owner": "x", "scopes": ["vote"], "note": "a\0b"}).status_code == 422


def test_an_empty_home_is_told_as_such(settings: Settings, home: Path) -> None:
    from starlette.testclient import TestClient

    from workers.api.app import create_app

    with TestClient(create_app(settings)) as client:
        token, _ = client.app.state.server.store.accounts.create_token("ann", [Scope.SUBMIT], "test")  # type: ignore[attr-defined]
        for path in ("leaderboard", "evaluations/none/leaderboard"):
            answer = client.get(f"/v1/{path}", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 404
            assert answer.headers["content-type"] == "application/problem+json"
