"""The review page: a person's word on each trial is kept, and nothing is shown as markup that came from outside."""

from __future__ import annotations

from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from arena.store import Store
from arena.synthesis.review import Decision, Item, Review, read_review, write_review
from tests.ui.conftest import HOSTILE
from ui import access
from workers.settings import REVIEWS, Settings


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "LOCAL", (*access.LOCAL, st.get_option("server.address")))


def review_page() -> AppTest:
    return AppTest.from_string("from ui import review\nreview.page()", default_timeout=120).run()


@pytest.fixture
def waiting(filled: Store, settings: Settings) -> Path:
    """Three trials that wait, with real films."""
    rollouts = filled.results.rollouts()[:3]
    items = tuple(
        Item(each.id, each.artifact, each.task, HOSTILE, 0.8, each.frames, each.frames - 1) for each in rollouts
    )
    path = settings.home / REVIEWS / "drawer-0123.json"
    write_review(path, Review("data/drawer", items))
    return path


def test_with_nothing_to_review_it_says_how_to_ask(settings: Settings) -> None:
    page = review_page()
    assert not page.exception
    assert "--review" in page.info[0].value


def test_each_trial_is_accepted_rejected_or_trimmed(waiting: Path) -> None:
    page = review_page()
    assert not page.exception
    assert len(page.get("video")) == 2
    assert "<b>" not in "".join(each.value for each in page.markdown)
    before = read_review(waiting).items
    page.button[0].click().run()
    assert read_review(waiting).items[0] == Item(**{**vars(before[0]), "decision": Decision.ACCEPTED})
    page.button[1].click().run()
    assert read_review(waiting).items[1].decision is Decision.REJECTED
    page.slider[0].set_value((2, 3)).run()
    page.button[0].click().run()
    assert not page.exception
    last = read_review(waiting).items[2]
    assert (last.decision, last.first, last.frames) == (Decision.ACCEPTED, 1, 2)
    assert "run the same" in page.success[0].value


def test_strangers_may_not_decide(waiting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMARENA_ADMINS", "me@example.org")
    page = review_page()
    assert not page.exception
    assert not page.get("video")
    assert [button.label for button in page.button] == ["Sign in"]


def test_a_damaged_review_is_one_line(waiting: Path) -> None:
    waiting.write_text('{"format": "dreamarena-review-1", "dataset": "x", "items": [{}]}')
    page = review_page()
    assert not page.exception
    assert "not a review" in page.error[0].value.replace("\\", "")
