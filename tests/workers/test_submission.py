"""One more policy in an evaluation: only what it adds is done, and what cannot act is refused before anything is."""

from __future__ import annotations

import json
import select
import shutil
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena.contracts import DreamarenaError, FloatArray, InvalidInput
from arena.policies.address import AddressRefused
from arena.policies.errors import (
    InvalidAction,
    PolicyConnectionError,
    PolicyServerError,
    PolicyTimeout,
    worth_another_try,
)
from arena.rollout import PolicyFailure
from tests.arena.policies.groot_server import GrootServer, serving, wrapped
from tests.workers.dots import dot_context, write_dataset
from tests.workers.test_evaluation import EPISODES, here, plan, started
from workers.jobs import Context, Request
from workers.plans import EvaluationPlan, absolute_spec, joined
from workers.runner import run_jobs
from workers.steps.submit_policy import intact, submission
from workers.tasks import STEPS


def submitted(context: Context, policy: str, evaluation: str) -> dict[str, object]:
    request = Request("submit_policy", submission(policy, evaluation, context.workshop))
    return dict(run_jobs([request], STEPS, context)[0])


def test_a_policy_joins_and_only_what_it_adds_is_done(tmp_path: Path) -> None:
    context = dot_context(tmp_path / "home", tmp_path / "log")
    asked = plan(write_dataset(tmp_path / "dots", EPISODES), policies=("replay", "hold"))
    first = here(context, asked)
    before = len(started(tmp_path / "log"))
    found = submitted(context, "reverse", first["evaluation"])
    assert found["policy"] == "reverse"
    batches = started(tmp_path / "log")[before:]
    assert batches
    assert len(batches) < before
    ranked = context.store.results.evaluation(str(found["evaluation"])).result or {}
    assert {place["policy"] for place in ranked["policies"]} == {"replay", "hold", "reverse"}
    # The same as asking for all three at once.
    whole = here(context, replace(asked, policies=("replay", "hold", "reverse")))
    assert whole["evaluation"] == found["evaluation"]
    assert submitted(context, "reverse", first["evaluation"]) == found


def test_a_server_that_does_not_answer_is_refused_before_anything_is_rolled_out(tmp_path: Path) -> None:
    context = dot_context(tmp_path / "home", tmp_path / "log")
    first = here(context, plan(write_dataset(tmp_path / "dots", EPISODES), policies=("hold",)))
    before = started(tmp_path / "log")
    address = "openpi://127.0.0.1:9?action_space=joint_velocity&control_hz=15&chunk=8"
    with pytest.raises(DreamarenaError, match=r"127\.0\.0\.1:9"):
        submitted(context, address, first["evaluation"])
    assert started(tmp_path / "log") == before
    [job] = [job for job in context.store.jobs.recent() if job.kind == "submit_policy"]
    assert job.error is not None
    assert "127.0.0.1:9" in str(job.error["message"])


def follower(change: Callable[[FloatArray], FloatArray]) -> GrootServer:
    """A GR00T server whose hand goes along x, in absolute poses; `change` is what is wrong with them, `(4, 6)`."""

    def act(seen: Any) -> Any:
        pose = np.tile(seen["state"]["cartesian_position"][0], (4, 1)).astype(np.float64)
        pose[:, 0] += 0.02 * np.arange(1, 5) + 1e-4 * float(seen["video"]["wrist_image_left"].mean())
        gripper = np.tile(seen["state"]["gripper_position"][0], (4, 1))
        return [{"cartesian_position": change(pose)[None], "gripper_position": gripper[None]}, {}]

    shown = {
        "video": ["wrist_image_left"],
        "state": ["cartesian_position", "gripper_position"],
        "action": ["cartesian_position", "gripper_position"],
        "language": ["task"],
    }
    return GrootServer(
        act, wrapped({key: {"modality_keys": names, "delta_indices": [0]} for key, names in shown.items()})
    )


def test_a_server_is_looked_at_in_the_evaluations_scenes_and_ranked(tmp_path: Path) -> None:
    """Unchanged, by its address: what its owner says of it is its action space."""
    context = dot_context(tmp_path / "home", tmp_path / "log")
    first = here(context, plan(write_dataset(tmp_path / "dots", EPISODES), policies=("hold",)))
    with serving(follower(lambda pose: pose)) as port:
        policy = f"groot://127.0.0.1:{port}?action_space=cartesian_position&chunk=4&control_hz=10&image_size=16x16"
        found = submitted(context, policy, first["evaluation"])
    ranked = context.store.results.evaluation(str(found["evaluation"])).result or {}
    assert {place["policy"] for place in ranked["policies"]} == {f"groot://127.0.0.1:{port}", "hold"}
    assert ranked["policies"][0]["policy"] == found["policy"], "it goes where the bar is to be, and hold does not"
    assert "another instruction changes nothing in the answer" in str(found["notes"])


def test_a_mistake_that_is_certain_is_named_before_anything_is_rolled_out(tmp_path: Path) -> None:
    context = dot_context(tmp_path / "home", tmp_path / "log")
    first = here(context, plan(write_dataset(tmp_path / "dots", EPISODES), policies=("hold",)))
    before = started(tmp_path / "log")
    with serving(follower(lambda pose: pose * [1000, 1000, 1000, 1, 1, 1])) as port:
        policy = f"groot://127.0.0.1:{port}?action_space=cartesian_position&chunk=4&control_hz=10&image_size=16x16"
        with pytest.raises(InvalidInput, match=r"cannot be evaluated: positions reach .* are they millimetres"):
            submitted(context, policy, first["evaluation"])
    assert started(tmp_path / "log") == before


def test_scenes_that_have_changed_since_are_not_rolled_out_anew(tmp_path: Path) -> None:
    context = dot_context(tmp_path / "home", tmp_path / "log")
    data = write_dataset(tmp_path / "dots", EPISODES)
    first = here(context, plan(data, policies=("hold",)))
    before = started(tmp_path / "log")
    shutil.rmtree(data)
    write_dataset(data, EPISODES - 1)
    with pytest.raises(InvalidInput, match=r"the scenes of evaluation \w+ has changed since"):
        submitted(context, "replay", first["evaluation"])
    assert started(tmp_path / "log") == before


def test_a_submission_whose_rollouts_are_gone_is_not_taken_for_done(tmp_path: Path) -> None:
    context = dot_context(tmp_path / "home", tmp_path / "log")
    first = here(context, plan(write_dataset(tmp_path / "dots", EPISODES), policies=("hold",)))
    inputs = submission("replay", first["evaluation"], context.workshop)
    assert not intact(inputs, context)
    submitted(context, "replay", first["evaluation"])
    assert intact(inputs, context)
    trained_anew = inputs.model_copy(update={"policy_sha256": "0" * 64})
    assert not intact(trained_anew, context)
    assert Request("submit_policy", trained_anew).key != Request("submit_policy", inputs).key


def test_an_evaluation_of_an_earlier_version_can_be_asked_for_again_and_joined(tmp_path: Path) -> None:
    context = dot_context(tmp_path / "home", tmp_path / "log")
    asked = plan(write_dataset(tmp_path / "dots", EPISODES), policies=("hold",))
    record = context.store.results.evaluation(here(context, asked)["evaluation"])
    old = {name: value for name, value in record.config.items() if name != "plan"}
    context.store.results.open_evaluation(record.id, old, record.config_sha256, record.seed)
    with pytest.raises(InvalidInput, match="does not say how it was asked for"):
        joined(context.store.results.evaluation(record.id), "replay")
    here(context, asked)
    assert joined(context.store.results.evaluation(record.id), "replay").policies == ("hold", "replay")


def test_a_plan_is_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "world").mkdir()
    asked = EvaluationPlan("world", ("hold",), Path("data"), keep=("a", "b"), demonstrations=Path("shown"))
    kept = EvaluationPlan.of_json(json.loads(json.dumps(asked.to_json())))
    here_now = {"world": str(tmp_path / "world"), "episodes": tmp_path / "data", "demonstrations": tmp_path / "shown"}
    assert kept == replace(asked, **here_now)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="planned by another version"):
        EvaluationPlan.of_json({**asked.to_json(), "colour": "red"})


def test_folders_in_specs_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever carries out a plan may work elsewhere; what follows the folder stays."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert absolute_spec("bc:mine?name=x") == f"bc:{tmp_path}/mine?name=x"
    assert absolute_spec("lerobot:mine?chunk=8&state=a+b") == f"lerobot:{tmp_path}/mine?chunk=8&state=a+b"
    for spec in ("hold", "noise?speed=0.2", "openpi://mine:8000?chunk=8", "bc:", "bc:?name=x", "lerobot:yours?chunk=8"):
        assert absolute_spec(spec) == spec


def test_a_policy_that_is_there_already_changes_no_plan(tmp_path: Path) -> None:
    context = dot_context(tmp_path / "home", tmp_path / "log")
    asked = plan(write_dataset(tmp_path / "dots", EPISODES), policies=("hold",))
    record = context.store.results.evaluation(here(context, asked)["evaluation"])
    assert joined(record, "hold").policies == ("hold",)
    assert joined(record, "replay").policies == ("hold", "replay")


def test_trials_that_a_server_kept_from_being_finished_are_run_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes away in the middle of the evaluation, and the breaker opens: some trials are missing, until later."""
    monkeypatch.setattr("workers.execution.PUT_OFF_SECONDS", (1.0, 1.0, 1.0))
    monkeypatch.setattr("arena.policies.breaker.REST_SECONDS", 0.5)
    context = dot_context(tmp_path / "home", tmp_path / "log")
    server = follower(lambda pose: pose)
    answer, answered, away = server.act, 0, False
    seen: list[str] = []
    context = replace(context, progress=lambda done, total, stage: seen.append(stage))

    def act(observed: Any) -> Any:
        nonlocal answered, away
        answered += 1
        away = away or answered == 5
        return answer(observed)

    server.act = act
    with serving(server) as port, Cut(port) as cut:
        monkeypatch.setattr(cut, "is_away", lambda: away and not any("again in" in stage for stage in seen))
        policy = f"groot://127.0.0.1:{cut.port}?action_space=cartesian_position&chunk=4&control_hz=10&image_size=16x16"
        ranking = here(context, plan(write_dataset(tmp_path / "dots", EPISODES), policies=(policy, "hold")))
    assert away, "the server was away at some time"
    waited = [stage for stage in seen if "again in" in stage]
    assert waited, "and its trials were put off"
    assert "missing: " in waited[0]
    rollouts = context.store.results.rollouts()
    assert len(rollouts) == 2 * EPISODES, "nothing is missing in the end"
    assert {place["policy"]: place["rollouts"] for place in ranking["policies"]}["hold"] == EPISODES
    put_off = [job for job in context.store.jobs.recent() if job.postponed]
    assert put_off
    assert all(job.attempts == 1 and job.status == "done" for job in put_off)
    assert all(not (job.result or {})["failed"] for job in put_off)


class Cut:
    """A TCP proxy to `port` that hangs up on everybody for as long as `is_away()`."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]

    def is_away(self) -> bool:
        return False

    def __enter__(self) -> Cut:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._carry, args=(self._listening.accept()[0],), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            if self.is_away():
                return
            with socket.create_connection(("127.0.0.1", self._to)) as server:
                while ready := select.select([client, server], [], [], 0.05)[0] or [None]:
                    if self.is_away():
                        return
                    for source in filter(None, ready):
                        data = source.recv(65536)
                        if not data:
                            return
                        (server if source is client else client).sendall(data)


def test_what_may_work_later_and_what_may_not() -> None:
    away = PolicyConnectionError("p failed")
    forbidden = PolicyConnectionError("p failed")
    forbidden.__cause__ = AddressRefused("private")
    for cause, later in (
        (away, True), (PolicyTimeout("late"), True), (forbidden, False), (PolicyServerError("500"), False),
        (InvalidAction("NaN"), False),
    ):  # fmt: skip
        error = PolicyFailure("failed in scene 3")
        error.__cause__ = cause
        assert worth_another_try(error) is later
