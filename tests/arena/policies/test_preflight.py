"""A probe tells what a server is before anybody relies on it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from arena.contracts import ActionSpace, InvalidInput
from arena.policies.errors import InvalidAction, PolicyServerError
from arena.policies.preflight import probe
from arena.policies.server import Deadlines

Run = Callable[..., int]


def actions(shape: tuple[int, ...], low: float = -0.5, high: float = 0.9) -> dict[str, Any]:
    return {"actions": np.linspace(low, high, int(np.prod(shape)), dtype=np.float32).reshape(shape)}


def test_a_droid_server(run_openpi: Run) -> None:
    calls: list[Any] = []

    def infer(request: dict[str, Any]) -> Any:
        time.sleep(0.3 if not calls else 0.0)
        calls.append(request)
        return actions((15, 8))

    seen: list[tuple[int, int, str]] = []
    port = run_openpi(infer, {"model": "pi05", "reset_pose": [0.0, float("nan")], "x": np.zeros(3)})
    report = probe(
        f"openpi://127.0.0.1:{port}", ActionSpace.JOINT_VELOCITY, calls=3, progress=lambda *step: seen.append(step)
    )
    assert report.ok, report.problems
    assert report.action_shape == (15, 8)
    assert report.action_spaces == ("joint_velocity", "joint_position")
    assert report.action_dtype == "float32"
    assert report.action_min[0] == pytest.approx(-0.5)
    assert report.gripper_max == pytest.approx(0.9)
    assert report.first_call_seconds >= 0.3
    assert report.first_call_seconds > report.median_call_seconds > 0
    assert len(calls) == report.calls == len(seen) == 3
    told = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert told["ok"] is True
    assert told["metadata"] == {
        "model": "pi05", "reset_pose": [0.0, "nan"], "x": {"shape": [3], "dtype": "float64"}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "space", "problem"),
    [
        (actions((15, 7)), ActionSpace.JOINT_VELOCITY, "joint_velocity needs 8 numbers per action, not 7"),
        (actions((15, 32)), None, "no action space has 32 numbers"),
        (actions((8,)), None, "must have shape (N, D)"),
        ({"actions": np.full((4, 8), np.nan)}, None, "NaN"),
    ],
)
def test_problems_are_reported(run_openpi: Run, answer: Any, space: ActionSpace | None, problem: str) -> None:
    report = probe(f"ws://127.0.0.1:{run_openpi(lambda request: answer)}", space, calls=2)
    assert not report.ok
    assert any(problem in found for found in report.problems)
    json.dumps(report.to_json(), allow_nan=False)


def test_notes(run_openpi: Run) -> None:
    metadata = {"action_space": "joint_position", "needs_session_id": True}
    port = run_openpi(lambda request: actions((15, 8), -2.0, 2.0), metadata)
    notes = " ".join(probe(f"openpi://127.0.0.1:{port}", ActionSpace.JOINT_VELOCITY, calls=1).notes)
    assert "joint_position" in notes
    assert "RoboArena" in notes
    assert "gripper" in notes
    assert "exceed 1" in notes


def test_failures_are_errors(run_openpi: Run) -> None:
    def fail(request: dict[str, Any]) -> Any:
        raise KeyError("endpoint")

    with pytest.raises(PolicyServerError, match="KeyError: 'endpoint'"):
        probe(f"openpi://127.0.0.1:{run_openpi(fail)}", deadlines=Deadlines(5, 5))
    with pytest.raises(InvalidAction, match="keys: action"):
        probe(f"openpi://127.0.0.1:{run_openpi(lambda request: {'action': 1})}", deadlines=Deadlines(5, 5))
    with pytest.raises(InvalidInput, match="must begin with"):
        probe("http://127.0.0.1")
