"""The page for those who run the arena."""

from __future__ import annotations

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from arena.store import Store
from arena.votes.desk import Ballot
from arena.votes.rules import Rules
from tests.arena.votes.conftest import Booth
from ui import access


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "LOCAL", (*access.LOCAL, st.get_option("server.address")))


def voters() -> AppTest:
    return AppTest.from_string("from ui import voters\nvoters.page()", default_timeout=120).run()


def test_without_votes_it_says_what_to_do(filled: Store) -> None:
    page = voters()
    assert not page.exception
    assert "Nobody has voted yet" in page.info[0].value


def test_who_voted_and_what_was_noted(filled: Store) -> None:
    booth = Booth(filled, Rules(gold=0.0, repeat=0.0))
    for votes in (1, 3):
        voter = booth.desk.enrol("prolific", f"person-{votes}")
        for _ in range(votes):
            [pair] = booth.desk.pairs(voter, 1)
            booth.later()
            booth.desk.cast(voter, pair.token, Ballot.of({"choice": "left"}))
    filled.voting.forget(booth.desk.enrol("prolific", "person-1").id)
    page = voters()
    assert not page.exception
    table, trail = (each.value for each in page.dataframe)
    assert list(table["Votes"]) == [3]
    assert "person-3" not in table.to_string()
    assert "voter_forgotten" in list(trail["What"])
