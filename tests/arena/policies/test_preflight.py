"""A probe tells what a server is before anybody relies on it, and names the typical mistakes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arena.contracts import ActionChunk, ActionSpace, FloatArray, InvalidInput
from arena.policies.errors import InvalidAction, PolicyServerError
from arena.policies.examination import made_up_scenes
from arena.policies.preflight import probe
from arena.policies.server import Access, Deadlines
from real2sim.robot import PandaKinematics
from tests.arena.policies.conftest import RoboArenaServer

Run = Callable[..., int]
CALLS = 3
HASTY = Access(Deadlines(5, 5))
STEPS = np.arange(1, 11)[:, None] / 15


def mean(image: Any) -> float:
    return float(np.asarray(image, dtype=np.float64)[: len(image) // 2].mean()) / 255


class Robot:
    """A joint-position policy that does nothing wrong: small steps from where the robot is, that depend on all it sees.

    `wrong` changes its answer `(N, 8)`; `looks_at` are the keys of the images that it looks at.
    """

    def __init__(
        self, wrong: Callable[[FloatArray, Mapping[str, Any]], FloatArray] = lambda actions, seen: actions,
        looks_at: tuple[str, ...] = ("observation/exterior_image_0_left", "observation/wrist_image_left"),
    ) -> None:  # fmt: skip
        self.wrong, self.looks_at = wrong, looks_at

    def velocity(self, seen: Mapping[str, Any]) -> FloatArray:
        """`(7,)` rad/s, below 1."""
        seed = len(seen["prompt"]) / 50 + sum(mean(seen[key]) for key in self.looks_at)
        return 0.4 * np.sin(seed * np.arange(1, 8))

    def __call__(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        joints = np.asarray(seen["observation/joint_position"], dtype=np.float64) + STEPS * self.velocity(seen)
        gripper = np.full((10, 1), float(np.asarray(seen["observation/gripper_position"])[0]) * 0.9)
        return {"actions": self.wrong(np.hstack([joints, gripper]), seen).astype(np.float32)}


def look(run_websocket: Run, robot: Any, space: str = "joint_position", **config: Any) -> Any:
    server = RoboArenaServer(robot, **{"n_external_cameras": 1, "action_space": space, **config})
    return probe(f"roboarena://127.0.0.1:{run_websocket(server)}", calls=CALLS, access=HASTY)


def names(report: Any) -> set[str]:
    return {mistake.name for mistake in report.mistakes}


def test_a_server_without_fault(run_websocket: Run) -> None:
    report = look(run_websocket, Robot())
    assert report.ok, report.problems
    assert report.mistakes == ()
    assert report.notes == ()
    assert (report.kind, report.action_space, report.control_hz) == ("roboarena", "joint_position", 15.0)
    assert (report.action_shape, report.chunk_lengths) == ((10, 8), (10, 10))
    assert report.cameras == ("exterior_1", "wrist")
    assert report.deterministic is True
    assert report.trials_at_once is True
    assert 0 < report.latency_p50_seconds <= report.latency_p95_seconds
    assert [tried.problem for tried in report.scenes] == [None] * 3
    address = re.fullmatch(r"roboarena://127\.0\.0\.1:\d+\?action_space=joint_position&chunk=10", report.submit_as)
    assert address is not None
    json.dumps(report.to_json(), allow_nan=False)


def degrees(actions: FloatArray, seen: Mapping[str, Any]) -> FloatArray:
    return np.hstack([np.rad2deg(actions[:, :7]), actions[:, 7:]])


def velocities(actions: FloatArray, seen: Mapping[str, Any]) -> FloatArray:
    rates = np.diff(actions[:, :7], axis=0, prepend=np.asarray(seen["observation/joint_position"])[None]) * 15
    return np.hstack([rates, actions[:, 7:]])


def normalised(actions: FloatArray, seen: Mapping[str, Any]) -> FloatArray:
    """Scaled to [-1, 1] between a Panda's joint limits, as before the last step of a policy."""
    low = np.array([-2.9, -1.76, -2.9, -3.07, -2.9, -0.02, -2.9])
    high = np.array([2.9, 1.76, 2.9, -0.07, 2.9, 3.75, 2.9])
    return np.hstack([2 * (actions[:, :7] - low) / (high - low) - 1, actions[:, 7:]])


def inverted(actions: FloatArray, seen: Mapping[str, Any]) -> FloatArray:
    return np.hstack([actions[:, :7], 1 - actions[:, 7:]])


def plus_minus(actions: FloatArray, seen: Mapping[str, Any]) -> FloatArray:
    return np.hstack([actions[:, :7], 2 * actions[:, 7:] - 1])


@pytest.mark.parametrize(
    ("wrong", "mistake", "certain"),
    [
        (degrees, "degrees", True),
        (velocities, "velocity_for_position", False),
        (normalised, "unnormalised_actions", False),
        (inverted, "gripper_inverted", False),
        (plus_minus, "gripper_range", False),
    ],
)
def test_typical_mistakes_are_named(run_websocket: Run, wrong: Any, mistake: str, certain: bool) -> None:
    report = look(run_websocket, Robot(wrong))
    assert names(report) == {mistake}
    [found] = report.mistakes
    assert found.certain is certain
    assert report.ok is not certain
    assert (report.submit_as is None) is certain


def test_positions_taken_for_velocities(run_websocket: Run) -> None:
    assert names(look(run_websocket, Robot(), "joint_velocity")) == {"position_for_velocity"}
    report = look(run_websocket, Robot(velocities), "joint_velocity")
    assert report.mistakes == ()


def test_velocities_in_degrees(run_websocket: Run) -> None:
    robot = Robot(lambda actions, seen: degrees(velocities(actions, seen), seen))
    report = look(run_websocket, robot, "joint_velocity")
    assert names(report) == {"degrees"}
    assert "exceed 1" in " ".join(report.notes)


def test_a_camera_that_is_not_looked_at(run_websocket: Run) -> None:
    report = look(run_websocket, Robot(looks_at=("observation/wrist_image_left",)))
    assert names(report) == {"wrong_camera"}
    assert "exterior_1" in report.mistakes[0].says


def test_a_server_that_counts_cameras_from_1(run_websocket: Run) -> None:
    robot = Robot(looks_at=("observation/exterior_image_1_left",))
    with pytest.raises(PolicyServerError, match=r"KeyError: 'observation/exterior_image_1_left' \(wrong camera index"):
        look(run_websocket, robot)
    server = RoboArenaServer(robot, n_external_cameras=1, action_space="joint_position", needs_wrist_camera=False)
    spec = f"roboarena://127.0.0.1:{run_websocket(server)}?first_camera=1"
    report = probe(spec, calls=CALLS, access=HASTY)
    assert report.ok
    assert report.submit_as == f"{spec}&action_space=joint_position&chunk=10"


def test_a_server_that_does_not_repeat_itself(run_websocket: Run) -> None:
    random = np.random.default_rng(0)
    report = look(run_websocket, Robot(lambda actions, seen: actions + random.normal(0, 0.001, actions.shape)))
    assert report.ok
    assert report.deterministic is False
    assert 0 < report.repeat_difference < 0.02
    assert report.trials_at_once is None, "which cannot be told then"
    assert any("does not repeat itself" in note for note in report.notes)
    assert report.mistakes == ()


def test_a_server_that_mixes_up_trials(run_websocket: Run) -> None:
    """It remembers how often it was asked since the last reset, whoever asked."""
    server = RoboArenaServer(lambda seen: None, n_external_cameras=1, action_space="joint_position")
    robot = Robot(lambda actions, seen: actions + 0.05 * count(server))

    def count(server: RoboArenaServer) -> int:
        return server.since

    class Counting(list):  # type: ignore[type-arg]
        def append(self, request: Any) -> None:
            server.since = -1
            super().append(request)

    server.since = 0  # type: ignore[attr-defined]
    server.resets = Counting()

    def infer(seen: Mapping[str, Any]) -> Any:
        server.since += 1  # type: ignore[attr-defined]
        return robot(seen)

    server.infer = infer
    report = probe(f"roboarena://127.0.0.1:{run_websocket(server)}", calls=CALLS, access=HASTY)
    assert report.deterministic is True
    assert report.trials_at_once is False
    assert any("mixes up trials" in note for note in report.notes)


def test_recorded_scenes_show_signs_and_speeds(run_websocket: Run) -> None:
    """The recording moves as the good policy does; then the policy's motion is mirrored, then far too fast."""
    kinematics = PandaKinematics()
    scenes = []
    for scene in made_up_scenes():
        joints = scene.observation.joint_position
        assert joints is not None
        rows = np.hstack([joints + 0.1 * STEPS * np.array([1, 0.5, 0, 0, 0, 0, 0]), np.ones((10, 1))])
        recorded = ActionChunk(rows, ActionSpace.JOINT_POSITION, 15.0)
        scenes.append(replace(scene, recorded=recorded))

    def policy(factor: float, gripper: float) -> Any:
        def answer(seen: Mapping[str, Any]) -> Any:
            rates = 0.1 * factor * (1 + mean(seen["observation/wrist_image_left"])) * np.array([1, 0.5, 0, 0, 0, 0, 0])
            rates *= (1 + mean(seen["observation/exterior_image_0_left"]) / 10) * (1 + len(seen["prompt"]) / 1e3)
            joints = np.asarray(seen["observation/joint_position"]) + STEPS * rates
            return {"actions": np.hstack([joints, np.full((10, 1), gripper)]).astype(np.float32)}

        server = RoboArenaServer(answer, n_external_cameras=1, action_space="joint_position")
        spec = f"roboarena://127.0.0.1:{run_websocket(server)}"
        return probe(spec, None, CALLS, HASTY, scenes, kinematics)

    good = policy(1.0, 0.9)
    assert good.mistakes == ()
    assert all(tried.agreement > 0.99 for tried in good.scenes)
    assert all(1.2 < tried.moved_metres / tried.recorded_metres < 2 for tried in good.scenes)
    assert names(policy(-1.0, 0.9)) == {"motion_inverted"}
    assert names(policy(8.0, 0.9)) == {"too_fast"}
    assert names(policy(1.0, 0.0)) == {"gripper_inverted"}


def test_what_goes_wrong_in_a_scene_is_a_problem(run_websocket: Run) -> None:
    """The scenes show no second exterior camera, which the server wants."""
    scenes = [
        replace(scene, observation=replace(scene.observation, cameras={
            name: image for name, image in scene.observation.cameras.items() if name != "exterior_2"
        }))
        for scene in made_up_scenes()
    ]  # fmt: skip
    server = RoboArenaServer(Robot(), action_space="joint_position")
    report = probe(f"roboarena://127.0.0.1:{run_websocket(server)}", None, CALLS, HASTY, scenes)
    assert not report.ok
    assert len(report.problems) == 3
    assert "in made-up-0: " in report.problems[0]
    assert "no camera 'exterior_2'" in report.problems[0]
    assert report.submit_as is None


def actions(shape: tuple[int, ...], low: float = -0.5, high: float = 0.9) -> dict[str, Any]:
    return {"actions": np.linspace(low, high, int(np.prod(shape)), dtype=np.float32).reshape(shape)}


def test_an_openpi_server(run_openpi: Run) -> None:
    calls: list[Any] = []

    def infer(request: dict[str, Any]) -> Any:
        time.sleep(0.3 if not calls else 0.0)
        calls.append(request)
        return actions((15, 8))

    seen: list[tuple[int, int, str]] = []
    port = run_openpi(infer, {"model": "pi05", "reset_pose": [0.0, float("nan")], "x": np.zeros(3)})
    url = f"openpi://127.0.0.1:{port}"
    report = probe(url, ActionSpace.JOINT_VELOCITY, calls=3, progress=lambda *step: seen.append(step))
    assert report.ok, report.problems
    assert report.action_shape == (15, 8)
    assert report.action_spaces == ("joint_velocity", "joint_position")
    assert report.action_dtype == "float32"
    assert report.action_min[0] == pytest.approx(-0.5)
    assert report.gripper_max == pytest.approx(0.9)
    assert report.first_call_seconds >= 0.3
    assert report.first_call_seconds > report.latency_p50_seconds > 0
    assert len(calls) == report.calls
    assert [stage for _, _, stage in seen[:3]] == ["first call", "calls", "calls"]
    assert "another instruction changes nothing in the answer" in report.notes
    assert report.submit_as == f"{url}?action_space=joint_velocity&chunk=15&control_hz=15"
    told = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert told["ok"] is True
    assert told["metadata"] == {
        "model": "pi05", "reset_pose": [0.0, "nan"], "x": {"shape": [3], "dtype": "float64"}
    }  # fmt: skip


def test_an_action_space_is_not_guessed(run_openpi: Run) -> None:
    report = probe(f"ws://127.0.0.1:{run_openpi(lambda request: actions((15, 7)))}", calls=2)
    assert report.action_space is None
    assert report.action_spaces == ("cartesian_position", "cartesian_velocity")
    assert report.submit_as is None
    assert report.scenes == ()
    assert any("declare the action space" in note for note in report.notes)


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
    report = probe(f"openpi://127.0.0.1:{port}", ActionSpace.JOINT_VELOCITY, calls=1)
    notes = " ".join(report.notes)
    assert "joint_position" in notes
    assert "roboarena://" in notes
    assert "exceed 1" in notes
    assert "gripper_range" in names(report)


def test_a_slow_server_is_told_from_its_chunks(run_openpi: Run) -> None:
    def infer(request: dict[str, Any]) -> Any:
        time.sleep(0.1)
        return actions((1, 8))

    report = probe(f"openpi://127.0.0.1:{run_openpi(infer)}", ActionSpace.JOINT_VELOCITY, calls=2)
    assert any(re.search(r"takes up to 0\.\d+ s and lasts 0\.067 s at 15 Hz", note) for note in report.notes)


def test_failures_are_errors(run_openpi: Run) -> None:
    def fail(request: dict[str, Any]) -> Any:
        raise KeyError("endpoint")

    with pytest.raises(PolicyServerError, match=r"KeyError: 'endpoint' \(RoboArena's servers read 'endpoint'"):
        probe(f"openpi://127.0.0.1:{run_openpi(fail)}", access=HASTY)
    with pytest.raises(InvalidAction, match="keys: action"):
        probe(f"openpi://127.0.0.1:{run_openpi(lambda request: {'action': 1})}", access=HASTY)
    for address in ("http://127.0.0.1", "OPENPI://127.0.0.1", "hold", ""):
        with pytest.raises(InvalidInput, match="must begin with"):
            probe(address)
    spec = f"openpi://127.0.0.1:{run_openpi(lambda request: actions((15, 8)))}?action_space=joint_position"
    with pytest.raises(InvalidInput, match="declares joint_position, and joint_velocity was asked about"):
        probe(spec, ActionSpace.JOINT_VELOCITY)


@pytest.mark.parametrize(
    ("space", "change", "mistake"),
    [
        ("cartesian_position", lambda pose, step: pose + step, None),
        ("cartesian_position", lambda pose, step: np.hstack([pose[:3], np.rad2deg(pose[3:])]) + step, "degrees"),
        ("cartesian_position", lambda pose, step: np.hstack([1000 * pose[:3], pose[3:]]) + step, "metres"),
        ("cartesian_position", lambda pose, step: step, "velocity_for_position"),
        ("cartesian_position", lambda pose, step: pose / ([0.8] * 3 + [np.pi] * 3) + step, "unnormalised_actions"),
        ("cartesian_velocity", lambda pose, step: 15 * step, None),
        ("cartesian_velocity", lambda pose, step: pose + step, "position_for_velocity"),
        ("cartesian_velocity", lambda pose, step: 15000 * step, "degrees"),
    ],
)  # fmt: skip
def test_cartesian_policies(run_websocket: Run, space: str, change: Any, mistake: str | None) -> None:
    def robot(seen: Mapping[str, Any]) -> Any:
        pose = np.asarray(seen["observation/cartesian_position"], dtype=np.float64)
        looks = mean(seen["observation/exterior_image_0_left"]) - mean(seen["observation/wrist_image_left"])
        step = 0.01 * np.cos((looks + len(seen["prompt"])) * np.arange(1, 7))
        gripper = np.full((10, 1), float(np.asarray(seen["observation/gripper_position"])[0]))
        return {"actions": np.hstack([np.tile(change(pose, step), (10, 1)), gripper])}

    report = look(run_websocket, robot, space)
    assert names(report) == ({mistake} if mistake else set())
