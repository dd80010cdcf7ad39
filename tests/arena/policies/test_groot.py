"""GR00T's servers over ZeroMQ: what libzmq and numpy say, what a server wants to see, and what a hostile one does."""

from __future__ import annotations

import resource
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.contracts import ActionSpace, DreamarenaError, InvalidInput, Observation, Scene
from arena.policies import errors, groot_wire
from arena.policies.preflight import probe
from arena.policies.registry import parse_spec
from arena.policies.server import Deadlines
from arena.policies.wire import WireError
from tests.arena.policies.conftest import BOUND, served_policy
from tests.arena.policies.groot_server import DROID, GrootServer, pack, serving, unpack, wrapped

Run = Callable[..., int]
QUICK = Deadlines(first=1.5, step=1.0)


@pytest.fixture
def run_groot() -> Iterator[Callable[[GrootServer], int]]:
    """Start a server in a thread; returns its port."""
    with ExitStack() as stack:
        yield lambda server: stack.enter_context(serving(server))


def droid_actions(count: int = 16, gripper: float = 0.7) -> dict[str, Any]:
    arm = np.linspace(-1, 1, count * 7, dtype=np.float32).reshape(1, count, 7)
    return {
        "joint_position": arm,
        "gripper_position": np.full((1, count, 1), gripper, dtype=np.float32),
        "eef_9d": np.zeros((1, count, 9), dtype=np.float32),
    }


def spec_at(port: int, more: str = "") -> str:
    return f"groot://127.0.0.1:{port}?action_space=joint_position&chunk=8{more}"


def test_a_normal_server(run_groot: Run, observation: Observation, scene: Scene) -> None:
    server = GrootServer(lambda seen: [droid_actions(), {}])
    policy = served_policy(spec_at(run_groot(server)))
    policy.reset(scene, seed=0)
    chunk = policy.act(observation)
    policy.act(observation)
    policy.close()
    assert (chunk.space, chunk.control_hz, chunk.values.shape) == (ActionSpace.JOINT_POSITION, 15.0, (8, 8))
    np.testing.assert_allclose(chunk.values[:, :7], droid_actions()["joint_position"][0, :8], atol=1e-7)
    assert set(chunk.values[:, 7]) == {1.0}
    assert [request["endpoint"] for request in server.requests] == [
        "get_modality_config", "reset", "get_action", "get_action"
    ]  # fmt: skip
    seen = server.requests[2]["data"]["observation"]
    assert seen["video"]["exterior_image_1_left"].shape == (1, 1, 180, 320, 3)
    assert seen["video"]["wrist_image_left"].dtype == np.uint8
    assert {key: (value.shape, str(value.dtype)) for key, value in seen["state"].items()} == {
        "eef_9d": ((1, 1, 9), "float32"),
        "gripper_position": ((1, 1, 1), "float32"),
        "joint_position": ((1, 1, 7), "float32"),
    }
    assert seen["language"] == {"annotation.language.language_instruction": [["put the banana in the bowl"]]}


def test_the_end_effector_is_turned_as_in_the_example(run_groot: Run, observation: Observation, scene: Scene) -> None:
    """At no rotation the corrected matrix is the correction itself: rows (0, 0, -1) and (-1, 0, 0)."""
    server = GrootServer(lambda seen: [droid_actions(), {}])
    policy = served_policy(spec_at(run_groot(server)))
    policy.reset(scene, 0)
    policy.act(replace(observation, cartesian_position=np.array([0.4, 0.1, 0.3, 0, 0, 0])))
    policy.close()
    state = server.requests[2]["data"]["observation"]["state"]["eef_9d"][0, 0]
    np.testing.assert_allclose(state, [0.4, 0.1, 0.3, 0, 0, -1, -1, 0, 0], atol=1e-7)


def test_earlier_images_are_those_that_were_seen_then(run_groot: Run, observation: Observation, scene: Scene) -> None:
    """Images of a second ago: from the scene's history at 5 fps first, then from a second of acting (15 at 15 Hz)."""
    config = wrapped({**DROID, "video": {"modality_keys": ["wrist_image_left"], "delta_indices": [-15, 0]}})
    server = GrootServer(lambda seen: [droid_actions(), {}], config)
    shades = np.arange(0, 80, 10, dtype=np.uint8)  # eight frames, the last of which is now
    history = {name: np.ones((8, 4, 6, 3), np.uint8) * shades[:, None, None, None] for name in observation.cameras}
    policy = served_policy(spec_at(run_groot(server), "&image_size=8x12").replace("chunk=8", "chunk=15"))

    def showing(shade: int) -> Observation:
        return replace(observation, cameras={name: np.full((4, 6, 3), shade, np.uint8) for name in observation.cameras})

    policy.reset(replace(scene, observation=showing(70), history=history), 0)
    for shade in (70, 101, 102):
        policy.act(showing(shade))
    policy.close()
    sent = [request["data"]["observation"]["video"]["wrist_image_left"] for request in server.requests[2:]]
    assert sent[0].shape == (1, 2, 8, 12, 3)
    assert [image[0, :, 4, 6, 0].tolist() for image in sent] == [[20, 70], [70, 101], [101, 102]]


def test_names_of_views_can_be_said(run_groot: Run, observation: Observation, scene: Scene) -> None:
    config = {**DROID, "video": {"modality_keys": ["front", "hand"], "delta_indices": [0]}}
    server = GrootServer(lambda seen: [droid_actions(), {}], wrapped(config))
    port = run_groot(server)
    policy = served_policy(spec_at(port))
    with pytest.raises(errors.UnfitObservation, match=r"view 'front' .*cameras=VIEW:CAMERA"):
        policy.reset(scene, 0)
    policy.close()
    policy = served_policy(spec_at(port, "&cameras=front:exterior_1,hand:wrist&image_size=8x12"))
    policy.reset(scene, 0)
    policy.act(observation)
    policy.close()
    assert set(server.requests[-1]["data"]["observation"]["video"]) == {"front", "hand"}


def test_several_trials_at_once_on_one_server(run_groot: Run, observation: Observation, scene: Scene) -> None:
    def act(seen: Any) -> Any:
        mark = float(seen["state"]["gripper_position"][0, 0, 0])
        return [{**droid_actions(), "joint_position": np.full((1, 16, 7), mark, dtype=np.float32)}, {}]

    factory = parse_spec(spec_at(run_groot(GrootServer(act))))
    policies = [factory.create() for _ in range(4)]
    for policy in policies:
        policy.reset(scene, 0)
    for _ in range(2):
        for mark, policy in enumerate(policies):
            chunk = policy.act(replace(observation, gripper_position=np.array([0.25 * mark])))
            np.testing.assert_allclose(chunk.values[:, :7], 0.25 * mark)
    for policy in policies:
        policy.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ([{"gripper_position": np.zeros((1, 16, 1))}, {}], "'joint_position' must be an array of numbers .*gripper"),
        ([{**droid_actions(), "joint_position": np.full((1, 16, 7), np.nan)}, {}], "NaN"),
        ([{**droid_actions(), "joint_position": np.zeros((2, 16, 7))}, {}], r"shape \(2, 16, 7\) where \(1, N, 7\)"),
        ([{**droid_actions(), "joint_position": np.zeros((1, 16, 9))}, {}], r"\(1, 16, 9\)"),
        ([droid_actions(5), {}], "5 actions of the arm and 5 of the gripper where chunk=8"),
        ([{**droid_actions(), "gripper_position": np.zeros((1, 9, 1))}, {}], "16 actions of the arm and 9"),
        ([{**droid_actions(), "joint_position": np.array([[[object()] * 7] * 16])}, {}], r"\|O"),
        ("text", "answered a str where a map of actions was due"),
        ([], "answered a list"),
    ],
)
def test_bad_actions_are_named(run_groot: Run, observation: Observation, scene: Scene, answer: Any, says: str) -> None:
    policy = served_policy(spec_at(run_groot(GrootServer(lambda seen: answer)), "&image_size=8x12"))
    policy.reset(scene, 0)
    with pytest.raises(errors.InvalidAction, match=says) as caught:
        policy.act(observation)
    policy.close()
    assert "step 0" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_servers_own_error_and_life_after_it(run_groot: Run, observation: Observation, scene: Scene) -> None:
    calls: list[int] = []

    def act(seen: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("planted\nfailure")
        return [droid_actions(), {}]

    policy = served_policy(spec_at(run_groot(GrootServer(act)), "&image_size=8x12"))
    policy.reset(scene, 0)
    with pytest.raises(errors.PolicyServerError, match=r"step 0: the server answered with an error: failure$"):
        policy.act(observation)
    assert policy.act(observation).values.shape == (8, 8)
    policy.close()


def test_a_socket_that_timed_out_is_made_anew(run_groot: Run, observation: Observation, scene: Scene) -> None:
    """The late answer to the first request must not be taken for that to the second."""
    calls: list[int] = []

    def act(seen: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            time.sleep(1.5)
        return [{**droid_actions(), "joint_position": np.full((1, 16, 7), len(calls) / 10, dtype=np.float32)}, {}]

    policy = served_policy(spec_at(run_groot(GrootServer(act)), "&image_size=8x12"), Deadlines(first=20, step=0.5))
    policy.reset(scene, 0)
    with pytest.raises(errors.PolicyTimeout, match=r"step 0: no answer within 0\.5 s"):
        policy.act(observation)
    np.testing.assert_allclose(policy.act(observation).values[:, 0], 0.2)
    policy.close()


def test_a_key_travels_in_the_requests(run_groot: Run, observation: Observation, scene: Scene) -> None:
    port = run_groot(GrootServer(lambda seen: [droid_actions(), {}], token="secret-key"))
    policy = served_policy(spec_at(port, "&image_size=8x12"), api_key="secret-key")
    policy.reset(scene, 0)
    policy.act(observation)
    policy.close()
    with pytest.raises(errors.PolicyServerError, match="Unauthorized"):
        served_policy(spec_at(port)).reset(scene, 0)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("text", "modality config is a str"),
        ({}, "does not list the modality_keys of video"),
        (wrapped({**DROID, "state": {**DROID["state"], "delta_indices": [-1, 0]}}), "states of instants"),
        (wrapped({**DROID, "state": {"modality_keys": ["arm"], "delta_indices": [0]}}), "state 'arm' is none of joint"),
        (wrapped({**DROID, "video": {**DROID["video"], "delta_indices": [0, 5]}}), "none is later than 0"),
        (wrapped({**DROID, "action": {"modality_keys": ["arm"], "delta_indices": [0]}}), r"joint_position.*arm"),
        (wrapped({**DROID, "video": "{"}), "modality config of video is no JSON"),
    ],
)
def test_what_is_not_known_is_said_at_the_reset(run_groot: Run, scene: Scene, config: Any, says: str) -> None:
    policy = served_policy(spec_at(run_groot(GrootServer(lambda seen: None, config))))
    with pytest.raises(errors.UnfitObservation, match=says):
        policy.reset(scene, 0)
    policy.close()


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x03REP"


def open_zmtp(connection: socket.socket, ready: bytes = READY) -> None:
    """A REP socket's half of the handshake, on a bare socket; then read the first request."""
    connection.sendall(GREETING + bytes([4, len(ready)]) + ready)
    received = b""
    while len(received) < 64 + 30:
        received += connection.recv(4096)


def until_closed(connection: socket.socket) -> None:
    """A socket closed while the client's bytes lie unread is reset, and what the client had not read yet is lost."""
    with suppress(OSError):
        while connection.recv(4096):
            pass


def endless_parts(connection: socket.socket) -> None:
    open_zmtp(connection)
    connection.sendall(b"\x01\x00")
    part = b"\x03" + struct.pack(">Q", 2**20) + bytes(2**20)
    while True:
        connection.sendall(part)


def a_gigabyte(connection: socket.socket) -> None:
    open_zmtp(connection)
    connection.sendall(b"\x01\x00\x02" + struct.pack(">Q", 2**30))
    while True:
        connection.sendall(bytes(2**20))


def many_maps(connection: socket.socket) -> None:
    open_zmtp(connection)
    bomb = b"\xdd" + struct.pack(">I", 2**23) + b"\x80" * 2**23
    connection.sendall(b"\x01\x00\x02" + struct.pack(">Q", len(bomb)) + bomb)
    until_closed(connection)


def no_delimiter(connection: socket.socket) -> None:
    open_zmtp(connection)
    connection.sendall(b"\x00\x02hi")
    until_closed(connection)


def wrong_socket(connection: socket.socket) -> None:
    open_zmtp(connection, READY[:-3] + b"PUB")


def encrypted(connection: socket.socket) -> None:
    connection.sendall(GREETING.replace(b"NULL\0", b"CURVE"))
    connection.recv(4096)
    connection.recv(4096)


def no_zeromq(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
    connection.recv(4096)


@pytest.mark.parametrize(
    ("server", "kind", "says"),
    [
        (endless_parts, errors.PolicyConnectionError, "in several parts"),
        (a_gigabyte, errors.PolicyConnectionError, "more than 16777216 bytes"),
        (many_maps, errors.InvalidAction, "more than 10000 values"),
        (no_delimiter, errors.PolicyConnectionError, "does not begin with an empty part"),
        (wrong_socket, errors.PolicyConnectionError, "not one that answers"),
        (encrypted, errors.PolicyConnectionError, "wants CURVE security"),
        (no_zeromq, errors.PolicyConnectionError, "does not speak ZeroMQ"),
    ],
)
def test_hostile_servers(run_socket: Run, scene: Scene, server: Any, kind: type[DreamarenaError], says: str) -> None:
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    policy = served_policy(spec_at(run_socket(server)))
    with pytest.raises(kind, match=says):
        policy.reset(scene, 0)
    policy.close()
    assert time.monotonic() - started < BOUND
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def drip(connection: socket.socket) -> None:
    open_zmtp(connection)
    for byte in b"\x01\x00\x02" + struct.pack(">Q", 3000) + bytes(3000):
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def pings(connection: socket.socket) -> None:
    open_zmtp(connection)
    with suppress(OSError):
        while True:
            connection.sendall(b"\x04\x07\x04PING\x00\x00")
            time.sleep(0.05)


def silence(connection: socket.socket) -> None:
    connection.recv(1)
    time.sleep(60)


@pytest.mark.parametrize("server", [drip, pings, silence])
def test_slow_servers_meet_the_deadline(run_socket: Run, scene: Scene, server: Any) -> None:
    started = time.monotonic()
    with pytest.raises(errors.PolicyTimeout, match="no answer within"):
        served_policy(spec_at(run_socket(server)), QUICK).reset(scene, 0)
    assert time.monotonic() - started < BOUND / 2


def test_a_server_that_closes_mid_message_is_called_once_more(run_socket: Run, scene: Scene) -> None:
    calls: list[int] = []

    def close_early(connection: socket.socket) -> None:
        open_zmtp(connection)
        calls.append(1)
        connection.sendall(b"\x01\x00\x02" + struct.pack(">Q", 3000) + bytes(100))

    with pytest.raises(errors.PolicyConnectionError, match="the server closed the connection"):
        served_policy(spec_at(run_socket(close_early))).reset(scene, 0)
    assert len(calls) == 2


def test_nobody_there_and_private_addresses(run_socket: Run, scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(errors.PolicyConnectionError, match="nobody answers"):
        served_policy(spec_at(port)).reset(scene, 0)
    visits: list[int] = []
    port = run_socket(lambda connection: visits.append(1))
    with pytest.raises(errors.PolicyConnectionError, match="not on the public internet"):
        served_policy(spec_at(port), allow_private=False).reset(scene, 0)
    assert not visits


def test_specs() -> None:
    card = parse_spec("groot://host?action_space=joint_position&chunk=8").card
    assert (card.control_hz, card.cameras, card.resolution) == (15.0, ("exterior_1", "wrist"), (180, 320))
    for bad, says in [
        ("groot://host", "must declare action_space, chunk, for instance groot://HOST:PORT"),
        ("groot://host/path?action_space=joint_position&chunk=8", "has no path"),
        ("groot://host?action_space=joint_position&chunk=8&image_size=180", "image_size must be a number"),
        ("groot://host?action_space=joint_position&chunk=8&cameras=front", "VIEW:CAMERA"),
    ]:
        with pytest.raises(InvalidInput, match=says):
            parse_spec(bad)


@pytest.mark.parametrize("dtype", ["u1", "?", "<i8", "<f2", ">f4", "<f8"])
def test_arrays_round_trip_with_numpys_own_files(dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    for given_array in (array, np.asfortranarray(array), array[:0], array[0, 0, 0:1]):
        sent = unpack(groot_wire.encode({"a": given_array}))["a"]
        read = groot_wire.decode(pack({"a": given_array}))["a"]
        for found in (sent, read):
            np.testing.assert_array_equal(found, given_array)
            assert found.dtype == given_array.dtype


def npy(header: str, data: bytes = b"") -> dict[str, Any]:
    text = header.encode() + b"\n"
    return {"__ndarray_class__": True, "as_npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data}


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"cos\nsystem\n"), r"none of .*'\|O'"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000,), }"), "cannot be filled by 0 bytes"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999999,), }"), "header is none of"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }"), "header is none of"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", bytes(7)), "cannot be filled by 7 bytes"),
        (
            npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, 1, 1, 1), }", b"1"),
            "cannot be filled",
        ),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1" * 900), "header is none of"),
        (npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (0,), }"), "header is none of"),
        (npy("{'descr': '<c16', 'fortran_order': False, 'shape': (0,), }"), "header is none of"),
        (npy("__import__('os').system('true')"), "header is none of"),
        (npy("(" * 900), "header is none of"),
        (npy(" " * 5000), "header is none of"),
        ({"__ndarray_class__": True, "as_npy": b""}, "no file of numpy's"),
        ({"__ndarray_class__": True, "as_npy": "text"}, "the latter bytes"),
        ({"__ndarray_class__": True}, "must have exactly the keys"),
    ],
)
def test_hostile_arrays_are_named(array: dict[str, Any], says: str) -> None:
    with pytest.raises(WireError, match=says) as caught:
        groot_wire.decode(msgpack.packb([array]))
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_named(message: bytes) -> None:
    for wrapped_message in (message, msgpack.packb({"__ndarray_class__": True, "as_npy": message})):
        refused = None
        try:
            found = groot_wire.decode(wrapped_message)
        except (WireError, errors.ServerTraceback) as error:
            refused = str(error)
        if refused is not None:
            assert refused
            assert "\n" not in refused
            continue
        # What is read is what msgpack says it is, or an array that those bytes fill.
        if isinstance(found, np.ndarray):
            assert found.dtype.kind in "biuf"
            assert found.nbytes <= len(message)
        else:
            assert repr(found) == repr(msgpack.unpackb(wrapped_message, strict_map_key=True))


def test_a_probe_says_how_to_submit_it(run_groot: Run) -> None:
    """A policy that steps from where the robot is; its server says which arm it moves."""

    def act(seen: Any) -> Any:
        looks = sum(float(video[0, -1, 40:80].mean()) for video in seen["video"].values())
        looks += len(seen["language"]["annotation.language.language_instruction"][0][0])
        rates = 0.3 * np.sin(looks * np.arange(1, 8))
        arm = seen["state"]["joint_position"][0, 0] + np.arange(1, 17)[:, None] / 15 * rates
        gripper = np.tile(seen["state"]["gripper_position"][0], (16, 1))
        return [{"joint_position": arm[None].astype(np.float32), "gripper_position": gripper[None]}, {}]

    url = f"groot://127.0.0.1:{run_groot(GrootServer(act))}"
    report = probe(url, calls=3)
    assert report.ok, report.problems
    assert report.mistakes == ()
    assert (report.kind, report.action_space, report.action_shape) == ("groot", "joint_position", (16, 8))
    assert report.cameras == ("exterior_1", "wrist")
    assert report.submit_as == f"{url}?action_space=joint_position&chunk=16"
    assert parse_spec(report.submit_as).card.chunk_length == 16


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """As N1.5 names it: keys say of what modality they are, but for the language's."""
    return wrapped(
        {
            name: part
            if name == "language"
            else {**part, "modality_keys": [f"{name}.{k}" for k in part["modality_keys"]]}
            for name, part in config.items()
        }
    )


class OlderServer(GrootServer):
    """N1.5's: a flat map of observations in, a flat map of actions out, and no `reset`."""

    def answer(self, request: dict[str, Any]) -> Any:
        if request["endpoint"] not in ("ping", "kill", "get_modality_config", "get_action"):
            raise ValueError(f"Unknown endpoint: {request['endpoint']}")
        if request["endpoint"] == "get_modality_config":
            return self.config
        self.requests.append(request)
        return {f"action.{name}": values for name, values in self.act(request["data"]).items()}


def test_the_older_layout_is_spoken_where_the_server_speaks_it(
    run_groot: Run, observation: Observation, scene: Scene
) -> None:
    server = OlderServer(lambda seen: droid_actions(), flat(DROID))
    policy = served_policy(spec_at(run_groot(server)))
    policy.reset(scene, 0)
    chunk = policy.act(observation)
    policy.close()
    np.testing.assert_allclose(chunk.values[:, :7], droid_actions()["joint_position"][0, :8], atol=1e-7)
    [request] = server.requests
    shapes = {name: getattr(value, "shape", value) for name, value in request["data"].items()}
    assert shapes == {
        "video.exterior_image_1_left": (1, 1, 180, 320, 3), "video.wrist_image_left": (1, 1, 180, 320, 3),
        "state.eef_9d": (1, 1, 9), "state.gripper_position": (1, 1, 1), "state.joint_position": (1, 1, 7),
        "annotation.language.language_instruction": ["put the banana in the bowl"],
    }  # fmt: skip


def marked(seen: Any) -> dict[str, Any]:
    """An arm that goes where the gripper's number says, for each of a batch."""
    states = seen.get("state", seen)
    marks = states.get("gripper_position", states.get("state.gripper_position"))[:, 0, 0]
    arm = np.tile(marks[:, None, None], (1, 16, 7)).astype(np.float32)
    return {"joint_position": arm, "gripper_position": np.zeros((len(marks), 16, 1), np.float32)}


def asked_about(observation: Observation, count: int) -> list[Observation]:
    return [replace(observation, gripper_position=np.array([index / 16])) for index in range(count)]


@pytest.mark.parametrize("older", [False, True])
def test_trials_that_act_at_once_are_asked_about_at_once(
    run_groot: Run, observation: Observation, scene: Scene, older: bool
) -> None:
    server = OlderServer(marked, flat(DROID)) if older else GrootServer(lambda seen: [marked(seen), {}])
    factory = parse_spec(spec_at(run_groot(server)))
    policies: list[Any] = [factory.create() for _ in range(11)]
    for policy in policies:
        policy.reset(scene, 0)
    group = policies[0].group
    assert all(policy.group is group for policy in policies)
    seen = asked_about(observation, len(policies))
    before = len(server.requests)
    group.foresee(list(zip(policies, seen, strict=True)))
    assert len(server.requests) - before == 2, "eight, and then the other three"
    for index, (policy, each) in enumerate(zip(policies, seen, strict=True)):
        np.testing.assert_allclose(policy.act(each).values[:, :7], index / 16)
    assert len(server.requests) - before == 2
    # An answer is for the observation that it was asked about, and for one time.
    other = replace(observation, gripper_position=np.array([0.9]))
    group.foresee(list(zip(policies[:2], seen[:2], strict=True)))
    np.testing.assert_allclose(policies[0].act(other).values[:, :7], 0.9, atol=1e-6)
    policies[1].act(seen[1])
    asked = len(server.requests)
    policies[1].act(seen[1])
    assert len(server.requests) == asked + 1
    for policy in policies:
        policy.close()


def test_a_server_that_answers_for_one_only_is_asked_about_each(
    run_groot: Run, observation: Observation, scene: Scene
) -> None:
    def act(seen: Any) -> Any:
        found = marked(seen)
        if len(found["joint_position"]) > 1:
            raise ValueError("batch size must be 1")
        return [found, {}]

    server = GrootServer(act)
    factory = parse_spec(spec_at(run_groot(server)))
    policies: list[Any] = [factory.create() for _ in range(3)]
    for policy in policies:
        policy.reset(scene, 0)
    seen = asked_about(observation, 3)
    for _ in range(2):
        policies[0].group.foresee(list(zip(policies, seen, strict=True)))
        for index, (policy, each) in enumerate(zip(policies, seen, strict=True)):
            np.testing.assert_allclose(policy.act(each).values[:, :7], index / 16)
    assert [request["endpoint"] for request in server.requests].count("get_action") == 1 + 6
    for policy in policies:
        policy.close()
