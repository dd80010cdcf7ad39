"""Votes and verdicts from elsewhere: blind, counted once, and never instead of somebody else's."""

from __future__ import annotations

import time

import pytest

from arena.contracts import Choice
from arena.store import Scope
from tests.workers.api.conftest import PUBLIC, Api
from ui.stored import read_evaluation


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    # Films of these tests are shorter than the least that has to be watched, but not this short.
    monkeypatch.setattr("arena.votes.rules.Rules.least_watch", 0.0)


def test_a_pair_is_blind_and_is_voted_on_once(api: Api) -> None:
    api.server.desk.rules = api.server.desk.rules.__class__(least_watch=0.0)
    bob = api.as_("bob", Scope.VOTE)
    shown = bob.post("votes/pairs", {"count": 2})
    assert shown.status_code == 200
    assert all(word not in shown.text for word in ("good", "bad", "mine", "0a0a0a", "scene-"))
    pair = shown.json()["pairs"][0]
    film = bob.get(pair["left"]["wrist"].removeprefix("/v1/"))
    assert film.headers["content-type"] == "video/mp4"
    assert bob.post("votes/pairs", {"count": 2}).json()["pairs"][0]["offer"] == pair["offer"]
    ballot = {"token": pair["token"], "choice": Choice.LEFT.value, "reason": "it  closed"}
    cast = bob.post("votes", ballot)
    assert cast.status_code == 201
    assert {cast.json()["left"], cast.json()["right"]} <= {"good", "bad"}
    assert bob.post("votes", ballot).status_code == 409
    [(_, offer, vote)] = api.store.voting.votes()
    assert (offer.id, vote.reason) == (pair["offer"], "it closed")
    assert bob.get("me").json()["owner"] == "bob"


def test_nobody_votes_with_anothers_pair(api: Api) -> None:
    bob, eve = api.as_("bob", Scope.VOTE), api.as_("eve", Scope.VOTE)
    pair = bob.post("votes/pairs", {}).json()["pairs"][0]
    for token in (pair["token"], pair["token"][:-2] + "xx", "x.y", ""):
        assert eve.post("votes", {"token": token, "choice": "left"}).status_code == 403
    assert eve.post("votes", {"token": pair["token"], "choice": "nobody"}).status_code == 422
    assert eve.post("votes", {"token": pair["token"], "choice": "left", "left_success": 2}).status_code == 422
    assert api.store.voting.votes() == []


def test_films_of_pairs_need_their_signature(api: Api) -> None:
    bob = api.as_("bob", Scope.VOTE)
    pair = bob.post("votes/pairs", {}).json()["pairs"][0]
    place = pair["left"]["wrist"].removeprefix("/v1/")
    assert bob.get(place[:-2] + "xx").status_code == 404
    assert bob.get(f"votes/films/{pair['token']}").status_code == 404, "a token of another purpose"


def test_a_private_policy_is_in_nobodys_pairs(api: Api) -> None:
    assert all("mine" not in cell for cell in api.server.contest().cells.values())
    assert api.server.contest().policies == ("bad", "good")


def test_votes_are_told_as_a_table(api: Api) -> None:
    api.server.desk.rules = api.server.desk.rules.__class__(least_watch=0.0)
    bob = api.as_("bob", Scope.VOTE)
    pair = bob.post("votes/pairs", {}).json()["pairs"][0]
    bob.post("votes", {"token": pair["token"], "choice": "left"})
    time.sleep(2.1)
    lines = api.as_("judge", Scope.JUDGE).get("votes.csv").text.splitlines()
    assert lines[0].startswith("left,right,winner,worker")
    assert len(lines) == 2
    assert "bob" not in lines[1]


def said(**changes: object) -> dict[str, object]:
    verdict = {"rollout": "0b" * 32, "success_probability": 1.0, "progress": 99.0, "reason": "looks done"}
    return {"judge": "mine", "verdicts": [verdict | changes]}


def test_a_judge_from_elsewhere_speaks_once_and_for_itself(api: Api) -> None:
    judge = api.as_("carl", Scope.JUDGE)
    first = judge.post("verdicts", said())
    assert first.status_code == 201
    assert (first.json()["judge"], first.json()["new"]) == ("outside:carl/mine", 1)
    again = judge.post("verdicts", said(success_probability=0.0)).json()
    assert (again["new"], again["known"]) == (0, 1)
    verdicts = api.store.results.verdicts(["0b" * 32], first.json()["judge_sha256"])
    assert [(each.success_probability, each.abstained) for each in verdicts] == [(1.0, False)]
    other = api.as_("dora", Scope.JUDGE).post("verdicts", said())
    assert other.json()["judge_sha256"] != first.json()["judge_sha256"]
    silent = judge.post("verdicts", said(rollout="1b" * 32, success_probability=None, progress=None))
    assert silent.json()["new"] == 1
    assert api.store.results.verdicts(["1b" * 32], silent.json()["judge_sha256"])[0].abstained


def test_no_board_rests_on_a_judge_from_elsewhere(api: Api) -> None:
    judge = api.as_("carl", Scope.JUDGE)
    record = api.store.results.evaluation(PUBLIC)
    before = read_evaluation(api.store, record).verdicts
    judge.post("verdicts", said())
    assert read_evaluation(api.store, record).verdicts == before


@pytest.mark.parametrize(
    "wrong",
    [said(success_probability=1.5), said(success_probability="1"), said(progress=-1), said(rollout="../x"),
     said(reason="a\0b"), {"judge": "a/b", "verdicts": said()["verdicts"]}, {"judge": "a", "verdicts": []}],
)  # fmt: skip
def test_a_verdict_that_is_none_is_refused(api: Api, wrong: dict[str, object]) -> None:
    assert api.as_("carl", Scope.JUDGE).post("verdicts", wrong).status_code == 422


def test_nobody_judges_what_they_may_not_see(api: Api) -> None:
    judge = api.as_("carl", Scope.JUDGE)
    for rollout in ("0c" * 32, "9z" * 32):
        assert judge.post("verdicts", said(rollout=rollout)).status_code == 404
