"""Voting as a stranger does it: in a real Chromium, by keyboard, against the server that `dreamarena ui` starts."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena.contracts import Rollout
from arena.store import Store
from arena.votes.rules import Rules
from tests.ui.conftest import rollout_of
from workers.artifacts import Artifacts
from workers.rollouts import save_rollout
from workers.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
POLICIES = ("alpha", "beta", "gamma")
SCENES = 10
START_SECONDS = 240.0
"""Streamlit takes six on an idle machine, and two minutes on a very busy one."""


@pytest.fixture
def contest(settings: Settings) -> Store:
    """Three policies in ten scenes."""
    store, artifacts = Store(settings.store_url), Artifacts(settings.artifacts_location, settings.cache)
    for scene in range(SCENES):
        for number, policy in enumerate(POLICIES):
            rollout = _rollout(policy, number, scene)
            store.results.add_rollout(rollout, save_rollout(artifacts, rollout))
    return store


def _rollout(policy: str, number: int, scene: int) -> Rollout:
    """A square that moves as far as its policy is good."""
    frames = np.full((12, 48, 64, 3), 200, np.uint8)
    for t in range(12):
        at = 4 + (number + 1) * t
        frames[t, 20:28, at : at + 8] = (200, 30 * number, 20 * scene)
    base = rollout_of("good", 0)
    films = {"exterior_1": frames, "wrist": frames}
    names = {"id": f"{number}{scene}" * 32, "policy": policy, "scene_id": f"scene-{scene}", "task": "push"}
    states = {"state": np.zeros((12, 7)), "action": replace(base.action, values=np.zeros((11, 7)))}
    return replace(base, **names, **states, frames=films, instruction="push it", fps=10.0, success=None)


@contextmanager
def serving(settings: Settings, **environment: str) -> Iterator[str]:
    """`dreamarena ui` on a free port; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from workers.cli import main; main()", "ui", "--port", str(port)]
    surroundings = {**os.environ, "DREAMARENA_HOME": str(settings.home), **environment}
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=5)
                break
            except (urllib.error.URLError, OSError):
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    pytest.fail(f"the server did not start: {process.communicate()[0]}")
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def post(address: str, path: str, body: Any, credential: str | None = None) -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": "application/json"}
    if credential is not None:
        headers["Authorization"] = f"Bearer {credential}"
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/vote/{path}", data, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def fetch(address: str, path: str, asked: str | None = None) -> tuple[int, bytes, Any]:
    request = urllib.request.Request(f"{address}/{path}", headers={"Range": asked} if asked else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, b"", error.headers


def test_the_routes_from_entering_to_a_vote(settings: Settings, contest: Store) -> None:
    with serving(settings) as address:
        status, entered = post(address, "enter", {})
        assert status == 200
        credential = entered["credential"]
        assert len(entered["lessons"]) == 2
        for lesson in entered["lessons"]:
            for film in lesson["left"] + lesson["right"]:
                assert fetch(address, film)[1][4:8] == b"ftyp"

        pair = entered["pairs"][0]
        assert not any(policy in json.dumps(entered) for policy in POLICIES)
        status, film, headers = fetch(address, pair["left"][0])
        assert (status, headers["Content-Type"], headers["Accept-Ranges"]) == (200, "video/mp4", "bytes")
        status, part, headers = fetch(address, pair["left"][0], "bytes=10-19")
        assert (status, part) == (206, film[10:20])
        assert headers["Content-Range"] == f"bytes 10-19/{len(film)}"
        assert fetch(address, pair["left"][0], "bytes=-5")[1] == film[-5:]
        assert fetch(address, pair["left"][0], f"bytes={len(film)}-")[0] == 416
        assert fetch(address, pair["left"][0][:-3] + "AAA")[0] == 404
        assert fetch(address, "vote/lesson/../../pyproject.toml")[0] in (400, 404)

        time.sleep(Rules().least_watch)
        status, cast = post(address, "cast", {"token": pair["token"], "choice": "left"}, credential)
        assert status == 200
        assert {cast["receipt"]["left"], cast["receipt"]["right"]} < set(POLICIES)
        assert cast["votes"] == 1
        assert pair["offer"] not in [each["offer"] for each in cast["pairs"]]
        status, again = post(address, "cast", {"token": pair["token"], "choice": "right"}, credential)
        assert (status, again["refused"]) == (409, "token_spent")

        # Who comes back is known; a stranger's credential, or none, is not.
        assert post(address, "enter", {"credential": credential})[1]["votes"] == 1
        assert post(address, "pairs", {}, credential[:-4] + "AAAA")[0] == 403
        assert post(address, "pairs", {})[0] == 403
        assert post(address, "pairs", b"[1]", credential)[0] == 400
        assert post(address, "pairs", b"{" * 4000, credential)[0] == 400
        assert post(address, "pairs", b"x" * 20_000, credential)[0] == 413
    assert [vote.choice for _, _, vote in contest.voting.votes()] == ["left"]


def test_nobody_votes_before_the_films_can_have_been_seen(settings: Settings, contest: Store) -> None:
    """On a slow machine asking takes longer than the films: then somebody else tries."""
    films = 12 / 10
    with serving(settings) as address:
        for _ in range(20):
            began = time.monotonic()
            entered = post(address, "enter", {})[1]
            ballot = {"token": entered["pairs"][0]["token"], "choice": "left"}
            status, said = post(address, "cast", ballot, entered["credential"])
            if time.monotonic() - began < min(films, Rules().least_watch):
                break
        else:
            pytest.fail("this machine never asked quickly enough to be refused")
        assert (status, said["refused"]) == (425, "too_fast")
        votes = len(contest.voting.votes())
        time.sleep(Rules().least_watch)
        assert post(address, "cast", ballot, entered["credential"])[0] == 200
    assert len(contest.voting.votes()) == votes + 1


def test_a_platforms_worker_is_sent_back_only_when_the_votes_are_stored(settings: Settings, contest: Store) -> None:
    link = "https://example.org/done?cc=ABC"
    limits = {"DREAMARENA_VOTE_COMPLETION_URL": link, "DREAMARENA_VOTE_COMPLETION_VOTES": "2"}
    parameters = {"PROLIFIC_PID": "5f1e0c", "STUDY_ID": "st1", "SESSION_ID": "se1"}
    with serving(settings, **limits) as address:
        _, entered = post(address, "enter", {"parameters": parameters})
        assert entered["completion"] == {"needed": 2, "link": None}
        pairs = entered["pairs"]
        for count in (1, 2):
            time.sleep(Rules().least_watch)
            ballot = {"token": pairs[0]["token"], "choice": "tie", "reason": "both fell"}
            _, cast = post(address, "cast", ballot, entered["credential"])
            assert cast["completion"]["link"] == (link if count == 2 else None)
            pairs = cast["pairs"]
        assert post(address, "enter", {"parameters": parameters})[1]["votes"] == 2
        preview = {"workerId": "w", "assignmentId": "ASSIGNMENT_ID_NOT_AVAILABLE"}
        assert "accept the task" in post(address, "enter", {"parameters": preview})[1]["message"]
        assert post(address, "enter", {"parameters": {"PROLIFIC_PID": "<script>"}})[0] == 400
    [voter] = contest.voting.voters()
    assert (voter.origin, dict(voter.facts)) == ("prolific", {"study": "st1"})
    assert "5f1e0c" not in repr(voter)
    assert "se1" not in repr(voter)


def test_where_signing_in_is_asked_for_strangers_cannot_vote(settings: Settings, contest: Store) -> None:
    with serving(settings, DREAMARENA_VOTE_SIGN_IN="true") as address:
        status, said = post(address, "enter", {})
        assert (status, said["message"]) == (403, "sign in to vote")


@pytest.fixture
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def ready(page: Any) -> None:
    page.wait_for_selector("[data-choice=left]:enabled", timeout=60_000)


def votes_shown(page: Any) -> int:
    return int(page.locator(".count").inner_text().split()[0])


def press(page: Any, key: str) -> None:
    ready(page)
    page.keyboard.press(key)


def do_the_tutorial(page: Any) -> None:
    press(page, "ArrowLeft")
    page.get_by_text("Look again").wait_for()
    press(page, "ArrowRight")
    page.get_by_text("One more").wait_for()
    press(page, "ArrowDown")
    page.get_by_text("Now the real ones").wait_for()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_stranger_votes_twenty_times_and_nothing_counts_twice(
    settings: Settings, contest: Store, browser: Any
) -> None:
    with serving(settings) as address:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.goto(f"{address}/vote")
        do_the_tutorial(page)
        keys = ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown")
        for count in range(1, 21):
            press(page, keys[count % 4])
            page.keyboard.press(keys[count % 4])  # the second press says nothing
            page.wait_for_function(
                f"[...document.querySelectorAll('*')].some(e => e.shadowRoot && "
                f"e.shadowRoot.querySelector('.count')?.textContent.startsWith('{count} '))",
                timeout=60_000,
            )
            assert "Left was" in page.locator(".told").inner_text()
        assert len(contest.voting.votes()) == 20

        # The same voter after a reload, and in a second tab, which shows the same pair.
        page.reload()
        ready(page)
        assert votes_shown(page) == 20
        other = context.new_page()
        other.goto(f"{address}/vote")
        ready(other)
        for tab in (page, other):
            tab.locator("[data-choice=left]").dblclick()
        page.wait_for_timeout(2000)
        assert len(contest.voting.votes()) == 21
        said = {tab.locator(".told").inner_text().partition(":")[0] for tab in (page, other)}
        assert "That one was counted already." in said

        page.goto(f"{address}/board")
        page.go_back()
        ready(page)
        assert votes_shown(page) == 21
        assert len(contest.voting.votes()) == 21


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_voting_on_a_phone(settings: Settings, contest: Store, browser: Any) -> None:
    with serving(settings) as address:
        page = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True).new_page()
        page.goto(f"{address}/vote")
        do_the_tutorial(page)
        ready(page)
        boxes = {name: page.locator(f"[data-choice={name}]").bounding_box() for name in ("left", "right", "both_bad")}
        assert all(box["height"] >= 40 and box["x"] + box["width"] <= 390 for box in boxes.values())
        assert boxes["left"]["x"] < boxes["right"]["x"]
        page.locator("[data-choice=right]").tap()
        page.get_by_text("Stored").wait_for()
        page.get_by_text("Say more").tap()
        page.locator("[data-reason]").fill("s is typed here and skips nothing")
        ready(page)
        page.locator("[data-choice=tie]").tap()
        page.wait_for_timeout(1500)
    assert [vote.reason for _, _, vote in contest.voting.votes()] == ["", "s is typed here and skips nothing"]
