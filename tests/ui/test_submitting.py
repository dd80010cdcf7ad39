"""A policy that is submitted on its page, and a job that is tried again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from arena.contracts import InvalidInput
from arena.policies.report import FACTS
from arena.store import JobStatus, Store
from tests.arena.policies.groot_server import GrootServer, serving, wrapped
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
        service.submit(settings, filled, "hold", "e" * 64, "ann")


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
    assert "job_retried" in [entry.event for _, entry in filled.voting.audit_page(None, 10)]


def test_a_job_is_cancelled_and_asked_for_more_urgently(filled: Store, settings: Settings, spawned: list[str]) -> None:
    filled.jobs.submit("k" * 64, "replay", {"a": 1})
    page = page_of("jobs")
    next(button for button in page.button if button.label == "Cancel it").click().run()
    assert not page.exception
    assert filled.jobs.get("k" * 64).status is JobStatus.CANCELLED
    page = page_of("jobs")
    page.number_input[0].set_value(7)
    next(button for button in page.button if button.label == "Try again").click().run()
    job = filled.jobs.get("k" * 64)
    assert (job.status, job.priority) == (JobStatus.QUEUED, 7)
    events = [entry.event for _, entry in filled.voting.audit_page(None, 10)]
    assert {"job_cancelled", "job_retried"} <= set(events)


def only_looked_at(page: AppTest, address: str) -> AppTest:
    page.text_input[0].set_value(address)
    return next(button for button in page.button if button.label == "Only look").click().run()


def test_what_a_look_finds_is_on_the_page_and_nothing_is_queued(
    filled: Store, planned: str, spawned: list[str]
) -> None:
    """A server in millimetres, whose gripper works the wrong way round."""

    def act(seen: Any) -> Any:
        pose = np.tile(seen["state"]["cartesian_position"][0], (4, 1)).astype(np.float64)
        pose[:, 0] += 0.02 * np.arange(1, 5) + 1e-4 * float(seen["video"]["wrist_image_left"].mean())
        gripper = 1 - np.tile(seen["state"]["gripper_position"][0], (4, 1))
        return [{"cartesian_position": pose[None] * [1000, 1000, 1000, 1, 1, 1], "gripper_position": gripper[None]}, {}]

    shown = {
        "video": ["wrist_image_left"], "state": ["cartesian_position", "gripper_position"],
        "action": ["cartesian_position", "gripper_position"], "language": ["task"],
    }  # fmt: skip
    config = wrapped({key: {"modality_keys": names, "delta_indices": [0]} for key, names in shown.items()})
    with serving(GrootServer(act, config)) as port:
        page = only_looked_at(page_of("policies", evaluation=planned), f"groot://127.0.0.1:{port}")
    assert not page.exception
    assert "are they millimetres" in page.error[0].value
    assert any(warning.value.startswith("gripper") and "inverted" in warning.value for warning in page.warning)
    facts = {row[""]: row["value"] for row in page.dataframe[0].value.to_dict("records")}
    assert facts["cameras"] == "wrist"
    assert facts["action_space"] == "cartesian_position"
    assert {"control_hz", "chunk_lengths", "gripper_min", "deterministic"} <= set(facts)
    assert {"latency_p50_seconds", "latency_p95_seconds"} <= set(facts)
    assert sum(name.startswith("in ") for name in facts) == 3, "a dry run of three scenes"
    assert not filled.jobs.recent()
    assert not spawned


def test_a_server_that_cannot_be_reached_is_a_line(filled: Store, planned: str, spawned: list[str]) -> None:
    for address, said in (("groot://127.0.0.1:9", "failed at the handshake"), ("hold", "only servers are looked at")):
        page = only_looked_at(page_of("policies", evaluation=planned), address)
        assert not page.exception
        assert said in page.error[0].value.replace("\\", "")


def test_what_a_look_found_stays_with_the_job(filled: Store, settings: Settings, spawned: list[str]) -> None:
    filled.jobs.submit("k" * 64, "submit_policy", {})
    lease = filled.jobs.acquire("k" * 64, "me")
    assert lease is not None
    report = dict.fromkeys(FACTS) | {"scenes": [], "notes": ["it is slow"], "problems": [], "submit_as": None}
    report["mistakes"] = [{"name": "wrong_camera", "says": "what wrist shows changes nothing", "certain": False}]
    filled.jobs.complete(
        lease, {"evaluation": "e", "policy": "mine", "notes": ["it is slow"], "probe": report, "failed": []}
    )
    page = page_of("jobs")
    assert not page.exception
    assert "what wrist shows changes nothing" in page.warning[0].value
    assert "it is slow" in page.info[0].value
