"""The leaderboard with people's votes beside the judge's verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from arena.contracts import RankedPolicy, Ranking
from arena.leaderboard import WinMatrix
from arena.store import Store
from arena.votes.desk import Ballot
from arena.votes.rules import Rules
from tests.arena.votes.conftest import Booth
from tests.ui.conftest import HOSTILE
from ui import charts
from ui.audits import audit_route

SECONDS = 120.0


def board(**query: str) -> AppTest:
    page = AppTest.from_string("from ui import leaderboard\nleaderboard.page()", default_timeout=SECONDS)
    for name, value in query.items():
        page.query_params[name] = value
    return page.run()


def shown(page: AppTest) -> str:
    kinds = (page.markdown, page.caption, page.subheader, page.info, page.warning)
    return "\n".join(element.value for kind in kinds for element in kind).replace("\\", "")


@pytest.fixture
def voted(filled: Store) -> Store:
    """Ten people who all saw `bad` do better: they and the judge contradict each other."""
    booth = Booth(filled, Rules(gold=0.0, repeat=0.0))
    for _ in range(10):
        voter = booth.desk.enrol("anonymous")
        for _ in range(3):
            [pair] = booth.desk.pairs(voter, 1)
            choice = "left" if pair.left.policy == "bad" else "right"
            booth.later()
            booth.desk.cast(voter, pair.token, Ballot.of({"choice": choice}))
    return filled


def test_without_votes_the_page_says_how_to_get_them(filled: Store) -> None:
    page = board()
    assert not page.exception
    assert "Nobody has voted on these rollouts yet" in shown(page)
    assert not page.radio


def test_people_and_the_judge_stand_side_by_side(voted: Store) -> None:
    page = board()
    assert not page.exception
    assert list(page.dataframe[0].value["Policy"]) == ["good", "bad"]
    assert "30 votes by 10 voters" in shown(page)
    assert "agreement takes 3" in shown(page)
    page.radio[0].set_value("People").run()
    assert not page.exception
    table = page.dataframe[0].value
    assert list(table["Policy"]) == ["bad", "good"]
    assert list(table["Comparisons"]) == ["30", "30"]
    assert list(table["Judged success"]) == ["0% (0–66%), 0/2", "100% (44–100%), 3/3"]
    assert "Preliminary: it rests on 10 voters" in shown(page)


def test_a_few_comparisons_are_preliminary(filled: Store) -> None:
    assert "Preliminary: it rests on 2 scenes, and 20 are asked for" in shown(board())


def test_a_task_is_cut_out_of_ranking_table_and_links(voted: Store) -> None:
    page = board(task="task-1")
    assert not page.exception
    assert [box.label for box in page.selectbox] == ["Evaluation", "Task", "Scene"]
    assert list(page.dataframe[0].value["Judged success"]) == ["100% (21–100%), 1/1", "0% (0–79%), 0/1"]
    assert all("task=task-1" in link for link in page.dataframe[0].value["Rollouts"])
    assert "10 votes by 10 voters" in shown(page)
    page.selectbox[2].select("scene-0").run()
    assert "No rollout is of all of these" in shown(page)


def test_the_judges_audit_is_linked_or_asked_for(filled: Store) -> None:
    assert "dreamarena judge audit" in shown(board())
    filled.jobs.submit("k" * 64, "audit_judge", {})
    lease = filled.jobs.acquire("k" * 64, "me")
    assert lease is not None
    assert filled.jobs.complete(
        lease, {"judge_sha256": "j" * 64, "passed": False, "page": "/gone", "shown": "recorded"}
    )
    assert f"**failed** [its audit](audit/{'j' * 64})" in shown(board())


def test_an_audit_that_was_never_made_is_not_found(filled: Store) -> None:
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    client = TestClient(Starlette(routes=[audit_route(lambda: filled)]))
    found = client.get("/audit/nobody")
    assert found.status_code == 404
    assert "dreamarena judge audit" in found.text


def _ranking(*places: tuple[str, float]) -> Ranking:
    ranked = tuple(
        RankedPolicy(name, i + 1, i + 1, score, score - 1, np.inf, 40) for i, (name, score) in enumerate(places)
    )
    return Ranking(ranked, (tuple(name for name, _ in places),), 40, "", ())


def test_the_scatter_pairs_policies_by_name_and_escapes_them() -> None:
    figure = charts.beside(_ranking((HOSTILE, 1.0), ("b", -1.0)), _ranking(("b", 2.0), (HOSTILE, -2.0), ("c", -3.0)))
    [points] = figure.data
    assert list(points.x) == [2.0, -2.0]
    assert list(points.y) == [-1.0, 1.0]
    assert "<b>" not in "".join(points.text)
    assert max(points.error_y.array) < 10


def test_the_matrix_is_blank_where_nobody_met() -> None:
    wins = np.array([[0, 3, 0], [1, 0, 0], [0, 0, 0]])
    figure = charts.matrix(WinMatrix(("a", "b", "c"), wins, np.array([[0, 2, 0], [2, 0, 0], [0, 0, 0]])))
    assert figure.data[0].text[0] == ["", "3–1<br>+2", ""]
    assert np.isnan(figure.data[0].z[2]).all()
    assert figure.data[0].z[0][1] == 4 / 6
