"""A policy that is submitted on its page, and a job that is tried again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from arena.contracts import InvalidInput
from arena.store import JobStatus, Store
from ui import access
from workers import launch, service
from workers.execution import owner_id
from workers.plans import EvaluationPlan
from workers.settings import Settings


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs that would be done in processes of their own; pages that only this machine can open."""
    keys: list[str] = []
    monkeypatch.setattr(launch, "_spawn", lambda key, settings: keys.append(key))
    monkeypatch.setattr(access, "LOCAL", (*access.LOCAL, st.get_option("server.address")))
    return keys


@pytest.fixture
def planned(filled: Store, catalogued: None, tmp_path: Path) -> str:
    """An evaluation that says how it was asked for."""
    plan = EvaluationPlan(world="metaworld", policies=("replay",), episodes=tmp_path)
    filled.results.open_evaluation("planned", {"plan": plan.to_json()}, "planned", seed=0)
    return "planned"


def page_of(module: str, **query: str) -> AppTest:
    page = AppTest.from_string(f"from ui import {module}\n{module}.page()", default_timeout=120)
    for name, value in query.items():
        page.query_params[name] = value
    return page.run()


def sent(page: AppTest, address: str) -> AppTest:
    page.text_input[0].set_value(address)
    button: Any = next(button for button in page.button if "Look at it" in button.label)
    return button.click().run()


def test_a_policy_is_asked_for_once(filled: Store, planned: str, spawned: list[str]) -> None:
    page = sent(page_of("policies", evaluation=planned), "hold")
    assert not page.exception
    assert "Asked for" in page.success[0].value
    [job] = filled.jobs.recent()
    assert job.kind == "submit_policy"
    assert {name: job.inputs[name] for name in ("policy", "evaluation")} == {"policy": "hold", "evaluation": planned}
    assert spawned == [job.key]
    lease = filled.jobs.acquire(job.key, owner_id())
    assert lease is not None
    page = sent(page_of("policies", evaluation=planned), "hold")
    assert "being done already" in page.success[0].value.replace("\\", "")
    assert spawned == [job.key]


@pytest.mark.parametrize(("address", "said"), [("", "address is missing"), ("holt", "unknown policy 'holt'")])
def test_what_is_no_policy_is_a_line_and_no_job(
    filled: Store, planned: str, spawned: list[str], address: str, said: str
) -> None:
    page = sent(page_of("policies", evaluation=planned), address)
    assert not page.exception
    assert said in page.error[0].value.replace("\\", "")
    assert not filled.jobs.recent()
    assert not spawned


def test_an_evaluation_that_does_not_say_how_it_was_asked_for_is_joined_by_nobody(
    filled: Store, settings: Settings
) -> None:
    with pytest.raises(InvalidInput, match="does not say how it was asked for"):
        service.submit(settings, filled, "hold", "e" * 64)


def test_a_failed_job_is_tried_again(filled: Store, settings: Settings, spawned: list[str]) -> None:
    filled.jobs.submit("k" * 64, "replay", {"a": 1})
    lease = filled.jobs.acquire("k" * 64, "me")
    assert lease is not None
    filled.jobs.fail(lease, {"message": "the disk is full"})
    page = page_of("jobs")
    assert "the disk is full" in page.error[0].value
    next(button for button in page.button if button.label == "Try again").click().run()
    assert not page.exception
    job = filled.jobs.get("k" * 64)
    assert job.status is JobStatus.QUEUED
    assert job.inputs == {"a": 1}
    assert spawned == ["k" * 64]
