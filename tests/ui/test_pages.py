"""The pages, run by Streamlit's own test runner on a store that this test filled."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from arena.contracts import ActionSpace, InvalidInput, PolicyCard, RankedPolicy, WorldCard
from arena.store import Store
from tests.ui.browser import open_tab
from tests.ui.conftest import HOSTILE
from ui import charts
from ui.stored import films, plain
from workers.settings import Settings

APP = Path(__file__).resolve().parents[2] / "ui" / "app.py"
SECONDS = 120.0


def rollouts_page() -> AppTest:
    return AppTest.from_string("from ui import rollouts\nrollouts.page()", default_timeout=SECONDS).run()


def app() -> AppTest:
    return AppTest.from_file(str(APP), default_timeout=SECONDS).run()


def shown(page: AppTest) -> str:
    return "\n".join(element.value for kind in (page.markdown, page.caption, page.subheader) for element in kind)


def test_an_empty_store_gets_advice(settings: Settings) -> None:
    page = app()
    assert not page.exception
    assert "dreamarena evaluate" in page.info[0].value
    assert "dreamarena evaluate" in rollouts_page().info[0].value


def test_the_leaderboard_shows_the_ranking_and_what_limits_it(filled: Store) -> None:
    page = app()
    assert not page.exception
    table = page.dataframe[0].value
    assert list(table["Policy"]) == ["good", "bad"]
    assert list(table["Judged success"]) == ["100% (44–100%), 3/3", "0% (0–66%), 0/2"]
    assert list(table["True success"]) == ["100% (44–100%), 3/3", "0% (0–56%), 0/3"]
    assert list(table["Abstained"]) == ["0", "1"]
    text = shown(page)
    assert plain("the judge abstained on 1 rollouts") in text
    assert "latent" in text


def test_a_rollout_is_found_by_task_scene_and_policy(filled: Store) -> None:
    page = rollouts_page()
    assert not page.exception
    assert [box.label for box in page.selectbox] == ["Evaluation", "Outcome", "Task", "Scene", "Policy", "Seed"]
    assert {metric.label: metric.value for metric in page.metric}["Judged"] == "failure (20%)"
    page.selectbox[4].select("good").run()
    assert {metric.label: metric.value for metric in page.metric} == {
        "Judged": "success (90%)",
        "Progress": "96 / 100",
        "True outcome": "success",
    }
    assert len(page.get("video")) == 2
    assert "w" * 64 in "\n".join(page.dataframe[0].value["value"])


def test_an_abstention_is_shown_as_one(filled: Store) -> None:
    page = rollouts_page()
    page.selectbox[3].select("scene-2").run()
    assert {metric.label: metric.value for metric in page.metric}["Judged"] == "abstained"


def test_hostile_text_is_shown_and_not_interpreted(filled: Store) -> None:
    text = shown(rollouts_page())
    assert plain(HOSTILE) in text
    # Links of our own lead to pages by relative addresses.
    assert not re.search(r"(?<!\\)[<\[]", re.sub(r"\[[^\]<]*\]\((policies|worlds|audit/|\.)[^)]*\)", "", text))


def test_a_film_that_is_gone_is_a_line_and_no_traceback(filled: Store, settings: Settings) -> None:
    shutil.rmtree(settings.artifacts_location)
    page = rollouts_page()
    assert not page.exception
    assert "is not in" in page.error[0].value


def page_of(module: str) -> AppTest:
    return AppTest.from_string(f"from ui import {module}\n{module}.page()", default_timeout=SECONDS).run()


@pytest.mark.parametrize("module", ["policies", "worlds", "jobs"])
def test_every_page_of_an_empty_store_says_what_to_do_next(settings: Settings, module: str) -> None:
    page = page_of(module)
    assert not page.exception
    assert "dreamarena" in page.info[0].value


def test_a_policys_card_and_its_results_by_task(filled: Store) -> None:
    filled.catalog.add_policy(PolicyCard("good", "bc:folder", "ab", ActionSpace.JOINT_POSITION, 5.0, 4, ("wrist",)))
    page = page_of("policies")
    assert not page.exception
    card, results = (table.value for table in page.dataframe)
    assert "bc:folder" in list(card["value"])
    assert list(results["Judged success"]) == ["100% (34–100%), 2/2", "100% (21–100%), 1/1"]
    assert "rollouts?evaluation=" in shown(page)


def test_a_worlds_replays_are_drawn_only_for_the_world_they_are_of(filled: Store) -> None:
    for name in ("mine", "other"):
        filled.catalog.add_world(WorldCard(name, name * 8, 10.0, 4, ("wrist",)))
    row = {"view": "all", "seconds": 1.0, "psnr": {"model": 25.0, "copy": 18.0, "wrong_action": 17.0, "ceiling": 33.0}}
    filled.jobs.submit("replay-1", "replay", {"world": {"name": "/worlds/mine"}})
    lease = filled.jobs.acquire("replay-1", "me")
    assert lease is not None
    # As `worldmodels.replay.ReplayReport` writes it: `world` is the checkpoint's content hash.
    filled.jobs.complete(lease, {"fidelity": [row], "world": "mine" * 8})
    page = page_of("worlds")
    assert not page.exception
    assert len(page.get("plotly_chart")) == 1
    assert "worldmodel replay" in page.info[-1].value


def test_jobs_show_progress_and_why_they_failed(filled: Store) -> None:
    for key in ("a" * 16, "b" * 16, "c" * 16):
        filled.jobs.submit(key, "rollout", {})
    running, failing = filled.jobs.acquire("a" * 16, "me"), filled.jobs.acquire("b" * 16, "me")
    assert running is not None
    assert failing is not None
    filled.jobs.progress(running, 3, 12, "imagining")
    filled.jobs.fail(failing, {"message": "the <b>server</b> hung up"})
    page = page_of("jobs")
    assert not page.exception
    assert {metric.label: metric.value for metric in page.metric} == {
        "Queued": "1", "Running": "1", "Done": "0", "Failed": "1", "Cancelled": "0",
    }  # fmt: skip
    assert plain("the <b>server</b> hung up") in page.error[0].value
    table = page.dataframe[0].value
    assert sorted(table["Status"]) == ["failed", "queued", "running"]
    assert "3/12" in list(table["Progress"])


def test_films_outside_the_artifacts_are_refused(settings: Settings) -> None:
    with pytest.raises(InvalidInput, match="not an artifact's reference"):
        films(settings.artifacts_location, "rollouts/../../secret")


def test_a_bad_setting_is_a_line(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv("DREAMARENA_DATABASE_URL", "mysql://host/name")
    page = app()
    assert not page.exception
    assert "mysql" in page.error[0].value


def test_open_intervals_end_in_arrows_at_the_axis() -> None:
    places = [RankedPolicy("<i>a</i>", 1, 1, 2.0, 0.5, np.inf, 4), RankedPolicy("b", 2, 2, -2.0, -np.inf, -0.5, 4)]
    figure = charts.forest(places)
    points, left, right = figure.data
    assert list(left.y) == [1]
    assert list(right.y) == [0]
    low, high = figure.layout.xaxis.range
    assert right.x[0] == points.x[0] + points.error_x.array[0] == high
    assert left.x[0] == points.x[1] - points.error_x.arrayminus[1] == low
    assert figure.layout.yaxis.ticktext == ("&lt;i&gt;a&lt;/i&gt;  <b>1</b>", "b  <b>2</b>")


@pytest.mark.slow
def test_a_browser_draws_the_pages(filled: Store, tmp_path: Path) -> None:
    """The whole way: the server that `dreamarena ui` starts, and a real browser that plays its films."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    options = ["--server.headless=true", f"--server.port={port}", "--server.address=127.0.0.1"]
    command = [sys.executable, "-m", "streamlit", "run", str(APP), "--browser.gatherUsageStats=false", *options]
    with (tmp_path / "streamlit.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path)
    try:
        _wait_for(f"http://127.0.0.1:{port}/_stcore/health", server)
        with open_tab(f"http://127.0.0.1:{port}/", tmp_path / "browser") as tab:
            tab.wait_for("document.querySelector('.js-plotly-plot .points')")
            assert "good" in tab.evaluate("document.querySelector('.js-plotly-plot').innerText")
            tab.ask("Page.navigate", url=f"http://127.0.0.1:{port}/rollouts")
            tab.wait_for("[...document.querySelectorAll('video')].filter(film => film.readyState >= 2).length == 2")
            assert HOSTILE in tab.evaluate("document.body.innerText")
            _served_in_parts(tab.evaluate("document.querySelector('video').currentSrc"))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(SECONDS)


def _served_in_parts(film: str) -> None:
    """Safari plays no film that it cannot have in parts."""
    with urllib.request.urlopen(urllib.request.Request(film, headers={"Range": "bytes=0-99"}), timeout=30) as answer:
        assert answer.status == 206
        assert answer.headers["Content-Range"].startswith("bytes 0-99/")
        assert len(answer.read()) == 100


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.read() == b"ok"
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    pytest.fail("the server did not start")
