"""RoboArena's servers: its frames byte for byte, what a server declares, sessions, and several trials at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from websockets.sync.server import ServerConnection

from arena.contracts import ActionSpace, InvalidInput, Observation, Scene
from arena.policies import errors, wire
from arena.policies.registry import parse_spec
from arena.policies.roboarena import RoboArenaForm, read_config
from tests.arena.policies.conftest import RoboArenaServer, served_policy

Run = Callable[..., int]
ACTIONS = np.tile(np.linspace(0.1, 0.8, 8, dtype=np.float32), (10, 1))


def spec_at(port: int, more: str = "") -> str:
    return f"roboarena://127.0.0.1:{port}?action_space=joint_velocity&chunk=10{more}"


@pytest.fixture
def seen(observation: Observation) -> Observation:
    first = observation.cameras["exterior_1"]
    return replace(observation, cameras={"exterior_1": first, "exterior_2": 255 - first, "wrist": first[::-1]})


def recorded_observation(frames: list[dict[str, Any]]) -> Observation:
    """What the golden requests were made from."""
    sent = wire.decode(frames[1]["data"])
    return Observation(
        cameras={
            "exterior_1": sent["observation/exterior_image_0_left"],
            "exterior_2": sent["observation/exterior_image_1_left"],
            "wrist": sent["observation/wrist_image_left"],
        },
        cartesian_position=sent["observation/cartesian_position"],
        gripper_position=sent["observation/gripper_position"],
        instruction=sent["prompt"],
        joint_position=sent["observation/joint_position"],
    )


def scene_of(observation: Observation, name: str = "scene-1") -> Scene:
    history = {camera: image[None] for camera, image in observation.cameras.items()}
    return Scene(name, observation, history, observation.state[None], observation.instruction, fps=5.0)


def test_golden_conversation_byte_for_byte(run_websocket: Run, transcripts: dict[str, Any]) -> None:
    frames, received = transcripts["roboarena"], []
    seen = recorded_observation(frames)

    def replay(connection: ServerConnection) -> None:
        for frame in frames:
            if frame["from"] == "client":
                received.append(connection.recv())
            elif "data" in frame:
                connection.send(frame["data"])
            else:
                connection.close(frame["close"])

    policy = served_policy(spec_at(run_websocket(replay), "&velocity_scale=1"))
    policy._form = RoboArenaForm(policy.card, new_session=lambda: "session-1")  # type: ignore[attr-defined]
    policy.reset(scene_of(seen), seed=0)
    chunk = policy.act(seen)
    answered = np.linspace(-1, 1, 80).reshape(10, 8)
    np.testing.assert_allclose(chunk.values[:, :7], answered[:, :7], atol=1e-6)
    np.testing.assert_array_equal(chunk.values[:, 7], (answered[:, 7] > 0.5).astype(float))
    assert chunk.space is ActionSpace.JOINT_VELOCITY
    assert chunk.control_hz == 15
    with pytest.raises(errors.PolicyServerError, match=r"step 1: .*ValueError: planted failure$"):
        policy.act(replace(seen, instruction="boom"))
    policy.close()
    assert received == [frames[index]["data"] for index in (1, 3, 5)]


def test_a_server_that_misses_its_endpoint_is_quoted(
    run_websocket: Run, transcripts: dict[str, Any], seen: Observation
) -> None:
    """What the released server says where a client of openpi calls it."""
    frames = transcripts["roboarena_missing_endpoint"]

    def replay(connection: ServerConnection) -> None:
        connection.send(frames[0]["data"])
        connection.recv()
        connection.send(frames[2]["data"])
        connection.close(1011)

    spec = f"openpi://127.0.0.1:{run_websocket(replay)}?action_space=joint_velocity&control_hz=15&chunk=8"
    policy = served_policy(spec)
    with pytest.raises(errors.PolicyServerError, match="KeyError: 'endpoint'"):
        policy.act(seen)
    policy.close()


def test_what_a_server_declares_is_what_it_is_sent(run_websocket: Run, seen: Observation) -> None:
    config = {
        "image_resolution": [8, 8],
        "needs_wrist_camera": False,
        "n_external_cameras": 1,
        "needs_session_id": False,
    }
    server = RoboArenaServer(lambda request: {"actions": ACTIONS}, **config)
    policy = served_policy(spec_at(run_websocket(server), "&camera=exterior_2"))
    policy.reset(scene_of(seen), 0)
    policy.act(seen)
    policy.close()
    [sent] = server.requests
    assert [key for key in sent if "image" in key or "session" in key] == ["observation/exterior_image_0_left"]
    image = sent["observation/exterior_image_0_left"]
    assert (image.shape, image.dtype) == ((8, 8, 3), np.uint8)
    # Stretched, without black bars, from the second camera.
    assert abs(image.mean() - seen.cameras["exterior_2"].mean()) < 3


def test_images_are_sent_as_they_are_where_no_resolution_is_declared(run_websocket: Run, seen: Observation) -> None:
    server = RoboArenaServer(lambda request: {"actions": ACTIONS}, image_resolution=None)
    policy = served_policy(spec_at(run_websocket(server), "&first_camera=1"))
    policy.reset(scene_of(seen), 0)
    policy.act(seen)
    policy.close()
    np.testing.assert_array_equal(server.requests[0]["observation/exterior_image_1_left"], seen.cameras["exterior_1"])
    assert "observation/exterior_image_2_left" in server.requests[0]


@pytest.mark.parametrize(
    "answer",
    [{"actions": ACTIONS}, ACTIONS, {"actions": np.vstack([ACTIONS, ACTIONS])}],
    ids=["map", "bare array", "more than declared"],
)
def test_all_actions_are_carried_out(run_websocket: Run, seen: Observation, answer: Any) -> None:
    policy = served_policy(spec_at(run_websocket(RoboArenaServer(lambda request: answer))))
    policy.reset(scene_of(seen), 0)
    expected = len(answer["actions"] if isinstance(answer, dict) else answer)
    chunk = policy.act(seen)
    policy.close()
    assert len(chunk) == expected
    assert set(chunk.values[:, 7]) == {1.0}, "a gripper of 0.8 is closed"


def test_a_single_action_is_a_chunk_of_one(run_websocket: Run, seen: Observation) -> None:
    port = run_websocket(RoboArenaServer(lambda request: {"actions": ACTIONS[0]}))
    policy = served_policy(spec_at(port).replace("chunk=10", "chunk=1"))
    policy.reset(scene_of(seen), 0)
    assert policy.act(seen).values.shape == (1, 8)
    policy.close()


def test_trials_at_once_have_sessions_of_their_own(run_websocket: Run, seen: Observation) -> None:
    """A server with a memory per session, which counts: trials that were mixed up would count each other's steps."""
    counts: dict[str, int] = {}

    def count(request: dict[str, Any]) -> Any:
        session = request["session_id"]
        counts[session] = counts.get(session, 0) + 1
        return {"actions": np.full((10, 8), 0.1 * counts[session], dtype=np.float32)}

    server = RoboArenaServer(count)
    factory = parse_spec(spec_at(run_websocket(server), "&velocity_scale=1"))
    policies = [factory.create() for _ in range(4)]
    for number, policy in enumerate(policies):
        policy.reset(scene_of(seen, f"scene-{number}"), number)
    for step in range(1, 4):
        for policy in policies:
            np.testing.assert_allclose(policy.act(seen).values[:, 0], 0.1 * step, atol=1e-6)
    policies[0].reset(scene_of(seen), 0)
    np.testing.assert_allclose(policies[0].act(seen).values[:, 0], 0.1, atol=1e-6)
    for policy in policies:
        policy.close()
    assert len(counts) == len(server.resets) == 5
    assert {reset["session_id"] for reset in server.resets} == set(counts)


def test_a_reset_that_fails_ends_the_trial(run_websocket: Run, seen: Observation) -> None:
    server = RoboArenaServer(lambda request: {"actions": ACTIONS})
    server.resets = None  # type: ignore[assignment]
    policy = served_policy(spec_at(run_websocket(server)))
    with pytest.raises(errors.PolicyServerError, match=r"the reset: .*AttributeError"):
        policy.reset(scene_of(seen), 0)
    policy.close()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"action_space": "joint_position"}, "server declares joint_position, and .* action_space=joint_velocity"),
        ({"needs_stereo_camera": True}, "needs stereo images"),
        ({"n_external_cameras": 3}, "n_external_cameras must be 0, 1 or 2, not 3"),
        ({"n_external_cameras": True}, "n_external_cameras must be 0, 1 or 2"),
        ({"image_resolution": [4]}, r"image_resolution must be \(H, W\)"),
        ({"image_resolution": [99999, 6]}, "of at most 2048"),
        ({"action_space": "cartesian"}, "action_space 'cartesian' is none of joint_velocity"),
        ({"needs_wrist_camera": "yes"}, "needs_wrist_camera must be true or false, not yes"),
    ],
)
def test_what_does_not_fit_is_said_at_the_reset(
    run_websocket: Run, seen: Observation, config: dict[str, Any], says: str
) -> None:
    policy = served_policy(spec_at(run_websocket(RoboArenaServer(lambda request: {}, **config))))
    with pytest.raises(errors.UnfitObservation, match=says) as caught:
        policy.reset(scene_of(seen), 0)
    policy.close()
    assert "\n" not in str(caught.value)


def test_a_camera_that_the_world_lacks_is_named(run_websocket: Run, seen: Observation) -> None:
    cameras = {name: image for name, image in seen.cameras.items() if name != "exterior_2"}
    policy = served_policy(spec_at(run_websocket(RoboArenaServer(lambda request: {"actions": ACTIONS}))))
    with pytest.raises(errors.UnfitObservation, match="no camera 'exterior_2', only exterior_1, wrist"):
        policy.reset(scene_of(replace(seen, cameras=cameras)), 0)
    policy.close()


def test_fewer_actions_than_declared_are_an_error(run_websocket: Run, seen: Observation) -> None:
    policy = served_policy(spec_at(run_websocket(RoboArenaServer(lambda request: {"actions": ACTIONS[:5]}))))
    policy.reset(scene_of(seen), 0)
    with pytest.raises(errors.InvalidAction, match="answered 5 actions where chunk=10 was declared"):
        policy.act(seen)
    policy.close()


def test_an_openpi_server_is_told_from_a_roboarena_server() -> None:
    with pytest.raises(InvalidInput, match=r"metadata \(reset_pose\) is not that of a RoboArena server; is it openpi"):
        read_config({"reset_pose": [0.0]})
    assert read_config({"action_space": "joint_velocity"}).image_resolution == (224, 224)


def test_specs() -> None:
    card = parse_spec("roboarena://host?action_space=joint_position&chunk=8").card
    assert (card.control_hz, card.chunk_length, card.cameras, card.resolution) == (15.0, 8, (), None)
    same = parse_spec("roboarena://host:8000?chunk=8&action_space=joint_position&control_hz=15&name=x").card
    assert same.sha256 == card.sha256
    others = ["roboarena+wss://host", "roboarena://host:8001", "openpi://host"]
    specs = [f"{other}?action_space=joint_position&control_hz=15&chunk=8" for other in others]
    hashes = {hashlib.sha256(b"").hexdigest(), card.sha256, *(parse_spec(spec).card.sha256 for spec in specs)}
    assert len(hashes) == 5
    with pytest.raises(InvalidInput, match="must declare action_space, chunk, for instance roboarena://HOST:PORT"):
        parse_spec("roboarena://host:8000")
    with pytest.raises(InvalidInput, match="first_camera must be a number from 0 to 1"):
        parse_spec("roboarena://host?action_space=joint_position&chunk=8&first_camera=2")
