"""Which evaluation in reality an imagined one is held against, and the page of the two."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from arena.store import EvaluationRecord, EvaluationStatus, Store
from ui.reality import compared, counterpart, validation_route

POLICIES = ["a", "b", "c"]


def record(id: str, judge: str, scenes: str, policies: list[str] = POLICIES, **changes: Any) -> EvaluationRecord:
    config = {"judge": {"name": judge}, "scenes": list(scenes), "policies": policies, "world": {"sha256": f"w-{judge}"}}
    values: dict[str, Any] = {
        "id": id,
        "config": config,
        "config_sha256": id,
        "seed": 0,
        "result": {},
        "finished_at": 1.0,
    }
    return EvaluationRecord(**(values | {"status": EvaluationStatus.DONE, "created_at": 0.0} | changes))


def test_the_counterpart_shares_scenes_and_policies_and_knows_the_truth() -> None:
    imagined = record("i", "learned", "xyz")
    far, near = record("far", "truth", "x"), record("near", "truth", "xyw")
    newer = record("newer", "truth", "xyv", created_at=5.0)
    others = [
        record("two policies", "truth", "xyz", ["a", "b"]),
        record("judged", "learned", "xyz"),
        record("running", "truth", "xyz", status=EvaluationStatus.RUNNING),
        record("elsewhere", "truth", "q"),
    ]
    assert counterpart(imagined, [imagined, *others]) is None
    assert counterpart(imagined, [*others, far, near]) == near
    assert counterpart(imagined, [far, near, newer]) == newer


def test_a_world_is_held_against_reality_by_its_newest_evaluation() -> None:
    truth = record("t", "truth", "xyz")
    new, old = record("new", "learned", "xy"), record("old", "learned", "xyz")
    assert compared("w-learned", [new, old, truth]) == (new, truth)
    assert compared("w-learned", [truth]) is None
    assert compared("w-other", [new, old, truth]) is None


def test_a_validation_that_cannot_be_is_a_line(filled: Store) -> None:
    client = TestClient(Starlette(routes=[validation_route(lambda: filled)]))
    found = client.get(f"/validation/{'e' * 64}/nobody")
    assert found.status_code == 404
    assert len(found.text.splitlines()) == 1


@pytest.fixture
def both(filled: Store) -> Store:
    """Three policies in five scenes, imagined and real."""
    from tests.ui.conftest import two_evaluations

    two_evaluations(filled)
    return filled


def test_the_page_of_a_world_gives_its_validation(both: Store) -> None:
    from streamlit.testing.v1 import AppTest

    page = AppTest.from_string("from ui import worlds\nworlds.page()", default_timeout=120).run()
    assert not page.exception
    measures = {metric.label: metric.value for metric in page.metric}
    assert measures["Pearson r"] == "1.00"
    assert measures["Optimism"] == "0.00"
    assert "validation/imagined/real" in "".join(text.value for text in page.markdown)
    client = TestClient(Starlette(routes=[validation_route(lambda: both)]))
    found = client.get("/validation/imagined/real")
    assert found.status_code == 200
    assert "Pearson r" in found.text
    assert found.headers["content-security-policy"] == "script-src 'none'"
