"""A server that fails again and again is left alone, and its trials are missing with the reason."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from websockets.sync.server import ServerConnection

from arena.contracts import ActionChunk, Observation, Rollout, Scene, WorldCard, WorldStep
from arena.policies import errors
from arena.policies.breaker import FAILURES, REST_SECONDS, Breakers
from arena.policies.errors import ServerResting
from arena.policies.registry import default_parsers, parse_spec
from arena.policies.server import Access, Deadlines
from arena.rollout import FailedRollout, run_rollouts
from tests.arena.policies.conftest import PATIENT, RoboArenaServer

Run = Callable[..., int]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_rests_and_lets_one_try() -> None:
    clock = Clock()
    breaker = Breakers(clock).of("ws://a:1")
    for _ in range(FAILURES):
        breaker.enter()
        breaker.failed("nobody answers")
    with pytest.raises(ServerResting, match=r"failed 3 times in a row and .* for 30 s more; .*nobody answers"):
        breaker.enter()
    clock.now += REST_SECONDS + 1
    breaker.enter()
    with pytest.raises(ServerResting):
        breaker.enter()
    breaker.answered()
    breaker.enter()


def test_answers_in_between_keep_it_closed_and_servers_are_apart() -> None:
    breakers = Breakers()
    flaky = breakers.of("ws://a:1")
    for _ in range(FAILURES):
        flaky.failed("slow")
        flaky.answered()
    flaky.enter()
    for _ in range(FAILURES):
        breakers.of("ws://a:1").failed("slow")
    with pytest.raises(ServerResting):
        flaky.enter()
    breakers.of("ws://b:1").enter()


def test_errors_in_answers_do_not_open_it(run_openpi: Run, observation: Observation) -> None:
    def fail(request: dict[str, Any]) -> Any:
        raise ValueError("no")

    policy = at(run_openpi(fail), PATIENT)()
    for _ in range(FAILURES + 1):
        with pytest.raises(errors.PolicyServerError, match="ValueError: no"):
            policy.act(observation)
    policy.close()


def at(port: int, deadlines: Deadlines) -> Callable[[], Any]:
    spec = f"openpi://127.0.0.1:{port}?action_space=cartesian_position&control_hz=5&chunk=4"
    return parse_spec(spec, default_parsers(Access(deadlines))).create


def test_a_batch_waits_for_a_dead_server_three_times_and_not_for_each_trial(
    run_socket: Run, observation: Observation
) -> None:
    """Eight trials of a server that accepts and says nothing: five of them are told at once what three found out."""
    calls: list[int] = []

    def stall(connection: socket.socket) -> None:
        calls.append(1)
        connection.recv(4096)
        time.sleep(60)

    create, started = at(run_socket(stall), Deadlines(first=0.5, step=0.5)), time.monotonic()
    found = [reason(create(), observation) for _ in range(8)]
    assert len(calls) == FAILURES
    assert time.monotonic() - started < 30
    assert all("no answer to the websocket handshake within 0." in each for each in found)
    assert ["left alone" in each for each in found] == [False] * 3 + [True] * 5


def reason(policy: Any, observation: Observation) -> str:
    with pytest.raises((errors.PolicyTimeout, errors.PolicyConnectionError)) as caught:
        policy.act(observation)
    policy.close()
    return str(caught.value)


class StillWorld:
    """Shows the first observation for ever, the robot where it was told to go."""

    card = WorldCard("still", "w" * 64, 5.0, 4, ("exterior_1", "wrist"))

    def start(self, scenes: Sequence[Scene], seeds: Sequence[int]) -> list[Observation]:
        self.first = [scene.observation for scene in scenes]
        return self.first

    def step(self, chunks: Sequence[ActionChunk]) -> list[WorldStep]:
        return [self._step(first, chunk) for first, chunk in zip(self.first, chunks, strict=True)]

    def _step(self, first: Observation, chunk: ActionChunk) -> WorldStep:
        last = chunk.values[-1]
        frames = {name: np.repeat(image[None], len(chunk), axis=0) for name, image in first.cameras.items()}
        return WorldStep(frames, chunk.values, replace(first, cartesian_position=last[:6], gripper_position=last[6:]))

    def close(self) -> None:
        pass


def test_a_trial_whose_server_died_is_missing_and_says_why(
    run_websocket: Run, observation: Observation, scene: Scene
) -> None:
    """Three trials on one RoboArena server, whose second session is hung up on for good after one answer."""
    doomed: list[str] = []

    def infer(request: dict[str, Any]) -> Any:
        session = request["session_id"]
        first = session not in seen
        seen.append(session)
        if first and len(set(seen)) == 2:
            doomed.append(session)
        elif session in doomed:
            raise SystemExit
        return {"actions": np.tile(np.float32([0.4, 0.1, 0.3, 3.1, 0.1, -0.2, 0.9]), (4, 1))}

    seen: list[str] = []
    server = RoboArenaServer(infer, n_external_cameras=1, action_space="cartesian_position")

    def handle(connection: ServerConnection) -> None:
        with suppress(SystemExit):
            server(connection)

    spec = f"roboarena://127.0.0.1:{run_websocket(handle)}?action_space=cartesian_position&control_hz=5&chunk=4"
    create = parse_spec(spec, default_parsers(Access(PATIENT))).create
    policies = [create() for _ in range(3)]
    scenes = [replace(scene, id=f"scene-{number}") for number in range(3)]
    outcomes = run_rollouts(StillWorld(), policies, scenes, [0, 1, 2], steps=12)
    for policy in policies:
        policy.close()
    assert [type(outcome) for outcome in outcomes] == [Rollout, FailedRollout, Rollout]
    broken = outcomes[1]
    assert isinstance(broken, FailedRollout)
    assert broken.step == 4
    assert "failed in scene scene-1 at step 4" in str(broken.error)
    assert "the server closed the connection" in str(broken.error)
    assert seen.count(doomed[0]) == 3, "its answer, the request that was hung up on, and the reconnection"
