"""The openpi client against servers that are normal, broken, slow and hostile."""

from __future__ import annotations

import re
import resource
import socket
import struct
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha1
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from arena.contracts import ActionSpace, DreamarenaError, InvalidInput, Observation, Policy, Scene
from arena.policies import errors, wire
from arena.policies.address import Endpoint
from arena.policies.droid import DROID_ACHIEVED_VELOCITY, droid_request
from arena.policies.openpi import OpenPiForm
from arena.policies.registry import default_parsers, parse_spec
from arena.policies.server import Access, Deadlines, NetworkRoute, PolicyServer
from tests.arena.policies.conftest import BOUND, PATIENT, served_policy

Run = Callable[..., int]
QUICK = Deadlines(first=2.0, step=1.0)


def policy_at(
    port: int, deadlines: Deadlines = PATIENT, allow_private: bool = True, chunk: int = 8, more: str = ""
) -> Policy:
    spec = f"openpi://127.0.0.1:{port}?action_space=joint_velocity&control_hz=15&chunk={chunk}{more}"
    return served_policy(spec, deadlines, allow_private=allow_private)


def forward(request: dict[str, Any]) -> dict[str, Any]:
    return {"actions": np.full((15, 8), 0.5, dtype=np.float32), "server_timing": {"infer_ms": 1.0}}


def fails(policy: Policy, observation: Observation, kind: type[DreamarenaError]) -> str:
    """Act, expect the error, close; returns its message, which names policy and step on one line."""
    started = time.monotonic()
    with pytest.raises(kind) as caught:
        policy.act(observation)
    policy.close()
    message = str(caught.value)
    assert "127.0.0.1" in message
    assert "step" in message
    assert "\n" not in message
    assert time.monotonic() - started < BOUND
    return message


def test_golden_conversation_byte_for_byte(
    run_websocket: Run, transcripts: dict[str, Any], observation: Observation
) -> None:
    """The released server's frames, in its order; the client's frames must be those that were recorded."""
    frames, received = transcripts["openpi"], []

    def replay(connection: ServerConnection) -> None:
        for frame in frames:
            if frame["from"] == "client":
                received.append(connection.recv())
            elif "data" in frame:
                connection.send(frame["data"])
            else:
                connection.close(frame["close"])

    policy = policy_at(run_websocket(replay), chunk=15, more="&velocity_scale=1&image_size=8")
    # The golden images are no squares, which a spec cannot ask for.
    policy._form = OpenPiForm(policy.card, image_size=(4, 6))
    chunk = policy.act(observation)
    np.testing.assert_allclose(chunk.values[:, :7], np.linspace(-1, 1, 120).reshape(15, 8)[:, :7], atol=1e-6)
    assert chunk.values[:, 7].min() == 0.0
    boom = Observation(**{**observation.__dict__, "instruction": "boom"})
    message = fails(policy, boom, errors.PolicyServerError)
    assert message.endswith("the server answered with an error: ValueError: planted failure")
    assert "step 1" in message
    assert received == [frames[1]["data"], frames[3]["data"]]


def test_a_normal_server(run_openpi: Run, observation: Observation, scene: Scene) -> None:
    seen = []
    policy = policy_at(run_openpi(lambda request: seen.append(request) or forward(request)))
    policy.reset(scene, seed=0)
    chunk = policy.act(observation)
    policy.act(observation)
    policy.close()
    assert chunk.space is ActionSpace.JOINT_VELOCITY
    assert chunk.control_hz == 15
    assert chunk.values.shape == (8, 8)
    np.testing.assert_allclose(chunk.values[:, :7], 0.5 * DROID_ACHIEVED_VELOCITY)
    np.testing.assert_allclose(chunk.values[:, 7], 0.5)
    assert len(seen) == 2
    assert seen[0]["observation/exterior_image_1_left"][b"shape"] == [224, 224, 3]
    assert seen[0]["prompt"] == "put the banana in the bowl"


def test_speaks_with_the_released_client_library_on_the_other_side(observation: Observation) -> None:
    oracle = pytest.importorskip("openpi_client.msgpack_numpy", reason="openpi-client is not installed")
    request = oracle.unpackb(wire.encode(droid_request(observation, "exterior_1", (224, 224))))
    assert request["observation/wrist_image_left"].shape == (224, 224, 3)
    assert request["observation/joint_position"].dtype == np.float32


@pytest.mark.parametrize(
    ("actions", "says"),
    [
        (np.array([[object()] * 8]), "dtype '|O'"),
        (np.full((15, 8), np.nan, dtype=np.float32), "nan in action 0, number 0"),
        (np.full((15, 8), -np.inf), "-inf in action 0"),
        (np.zeros((15, 7)), r"shape (15, 7); joint_velocity needs (N, 8)"),
        (np.zeros((15, 32)), "shape (15, 32)"),
        (np.zeros(8), "shape (8,)"),
        (np.zeros((0, 8)), "shape (0, 8)"),
        (np.zeros((5000, 8)), "shape (5000, 8)"),
        (np.zeros((5, 8)), "5 actions where chunk=8"),
        (np.zeros((15, 8), dtype=bool), "array of numbers"),
        ([[0.0] * 8] * 15, "array of numbers, not list"),
        (None, "array of numbers, not NoneType"),
    ],
)
def test_bad_actions_are_named_and_the_client_lives_on(
    run_openpi: Run, observation: Observation, actions: Any, says: str
) -> None:
    answers = iter([{"actions": actions}, forward({})])
    policy = policy_at(run_openpi(lambda request: next(answers)))
    message = fails(policy, observation, errors.InvalidAction)
    assert says in message
    assert "step 0" in message
    assert policy.act(observation).values.shape == (8, 8)
    policy.close()


@pytest.mark.parametrize("answer", [b"\xc1", b"", b"\x93\x01\x02\x03", b"\xc0", b"\xdd\xff\xff\xff\xff", b"\x80"])
def test_bad_messages_are_named(run_openpi: Run, observation: Observation, answer: bytes) -> None:
    assert "step 0" in fails(policy_at(run_openpi(lambda request: answer)), observation, errors.InvalidAction)


@pytest.mark.parametrize("metadata", [[1, 2], "text", 3])
def test_metadata_must_be_a_map(run_openpi: Run, observation: Observation, metadata: Any) -> None:
    message = fails(policy_at(run_openpi(forward, metadata)), observation, errors.InvalidAction)
    assert "metadata" in message


def test_terminal_escapes_of_a_server_are_not_printed(run_openpi: Run, observation: Observation) -> None:
    text = "Traceback\nValueError: \x1b[2J\x07bad\r\n\n"
    message = fails(policy_at(run_openpi(lambda request: text)), observation, errors.PolicyServerError)
    assert message.endswith("ValueError: [2J bad")


def test_a_stall_on_the_first_call_and_later(run_openpi: Run, observation: Observation) -> None:
    release, calls = threading.Event(), []

    def infer(request: dict[str, Any]) -> Any:
        calls.append(1)
        if len(calls) == 2:
            release.wait(120)
        return forward(request)

    policy = policy_at(run_openpi(infer), Deadlines(first=30.0, step=0.5))
    policy.act(observation)
    with pytest.raises(errors.PolicyTimeout, match=r"step 1: no answer within 0\.5 s"):
        policy.act(observation)
    assert policy.act(observation).values.shape == (8, 8)
    release.set()
    policy.close()


def test_a_slow_first_call_outlives_the_short_deadline(run_openpi: Run, observation: Observation) -> None:
    def infer(request: dict[str, Any]) -> Any:
        time.sleep(0.6)
        return forward(request)

    policy = policy_at(run_openpi(infer), Deadlines(first=30.0, step=0.2))
    policy.act(observation)
    with pytest.raises(errors.PolicyTimeout):
        policy.act(observation)
    policy.close()


def test_reconnects_once_and_no_more(run_websocket: Run, run_openpi: Run, observation: Observation) -> None:
    connections = []

    def hang_up(connection: ServerConnection) -> None:
        connections.append(1)
        with suppress(ConnectionClosed):
            connection.send(b"\x80")
            connection.recv()
            if len(connections) == 2:
                connection.send(wire.encode(forward({})))
                connection.recv()

    policy = policy_at(run_websocket(hang_up))
    assert policy.act(observation).values.shape == (8, 8)
    assert len(connections) == 2
    with pytest.raises(errors.PolicyConnectionError, match=r"step 1: the server closed the connection"):
        policy.act(observation)
    assert len(connections) == 3
    policy.close()


def test_nobody_there(observation: Observation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "nobody answers" in fails(policy_at(port), observation, errors.PolicyConnectionError)


def accept_websocket(connection: socket.socket) -> None:
    """The server's half of the opening handshake on a bare socket."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(4096)
    key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def drip(connection: socket.socket, data: bytes) -> None:
    for byte in data + bytes(3000):
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def drip_handshake(connection: socket.socket) -> None:
    drip(connection, b"HTTP/1.1 101 Switching Protocols\r\n" + b"X-Padding: yes\r\n" * 100)


def drip_metadata(connection: socket.socket) -> None:
    accept_websocket(connection)
    drip(connection, b"\x82\x7e\xff\xff")


def drip_answer(connection: socket.socket) -> None:
    accept_websocket(connection)
    connection.sendall(b"\x82\x01\x80")
    drip(connection, b"\x82\x7e\xff\xff")


def drip_fragments(connection: socket.socket) -> None:
    accept_websocket(connection)
    connection.sendall(b"\x82\x01\x80" + b"\x02\x01\x80")
    while True:
        connection.sendall(b"\x00\x01\x80")
        time.sleep(0.1)


def never_read(connection: socket.socket) -> None:
    accept_websocket(connection)
    connection.sendall(b"\x82\x01\x80")
    threading.Event().wait(300)


@pytest.mark.parametrize("server", [drip_handshake, drip_metadata, drip_answer, drip_fragments, never_read])
def test_dripping_servers_meet_the_deadline(run_socket: Run, observation: Observation, server: Any) -> None:
    said = fails(policy_at(run_socket(server), QUICK), observation, errors.PolicyTimeout)
    assert re.search(r"\d s\b", said), "it says how long it waited"


def test_a_server_that_stops_reading_meets_the_deadline(run_socket: Run) -> None:
    """Sending blocks once the kernel's buffers are full; only hanging up ends that."""
    port = run_socket(never_read)
    access = Access(QUICK)
    server = PolicyServer("big", NetworkRoute(Endpoint(False, "127.0.0.1", port), access), access)
    started = time.monotonic()
    with pytest.raises(errors.PolicyTimeout):
        server.ask({"blob": bytes(20 * 2**20)}, "step 0")
    assert time.monotonic() - started < BOUND


@pytest.mark.parametrize(
    "beginning",
    [b"\x82\x7e\xff\xff" + bytes(100), b"\x82", b"\x02\x01\x80", b"\x02\x01\x80\x00\x7e\x00\x09" + bytes(3)],
    ids=["in its bytes", "in its length", "between fragments", "in a fragment"],
)
def test_a_server_that_closes_mid_message_is_called_once_more(
    run_socket: Run, observation: Observation, beginning: bytes
) -> None:
    """The rest never comes, so that half an answer is never taken for one; the second time it is the server's fault."""
    calls: list[int] = []

    def close_early(connection: socket.socket) -> None:
        accept_websocket(connection)
        connection.sendall(b"\x82\x01\x80")
        connection.recv(2**20)
        calls.append(1)
        connection.sendall(beginning)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(2**20):
            pass

    message = fails(policy_at(run_socket(close_early)), observation, errors.PolicyConnectionError)
    assert "step 0: the server closed the connection" in message
    assert len(calls) == 2


def announce_a_gigabyte(connection: socket.socket) -> None:
    accept_websocket(connection)
    connection.sendall(b"\x82\x7f" + struct.pack(">Q", 2**30))
    while True:
        connection.sendall(bytes(2**20))


def send_endless_fragments(connection: socket.socket) -> None:
    accept_websocket(connection)
    connection.sendall(b"\x82\x01\x80\x02\x00")
    while True:
        connection.sendall(b"\x00\x7f" + struct.pack(">Q", 2**20) + bytes(2**20))


@pytest.mark.parametrize("server", [announce_a_gigabyte, send_endless_fragments])
def test_a_huge_message_is_cut_at_the_cap(run_socket: Run, observation: Observation, server: Any) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = fails(policy_at(run_socket(server)), observation, errors.PolicyConnectionError)
    assert "more than 16777216 bytes" in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_redirects_are_not_followed(run_socket: Run, observation: Observation) -> None:
    visits: list[int] = []

    def target(connection: socket.socket) -> None:
        visits.append(1)

    target_port = run_socket(target)

    def redirect(connection: socket.socket) -> None:
        connection.recv(4096)
        location = f"Location: ws://127.0.0.1:{target_port}/\r\n".encode()
        connection.sendall(b"HTTP/1.1 302 Found\r\n" + location + b"Content-Length: 0\r\n\r\n")

    message = fails(policy_at(run_socket(redirect)), observation, errors.PolicyConnectionError)
    assert "redirects (302), which is not followed" in message
    assert not visits


def test_something_else_than_a_websocket(run_socket: Run, observation: Observation) -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"220 smtp.example ESMTP\r\n" * 10)

    message = fails(policy_at(run_socket(greet)), observation, errors.PolicyConnectionError)
    assert "does not speak websocket" in message


def test_private_addresses_are_refused_without_a_connection(run_socket: Run, observation: Observation) -> None:
    visits: list[int] = []
    port = run_socket(lambda connection: visits.append(1))
    message = fails(policy_at(port, allow_private=False), observation, errors.PolicyConnectionError)
    assert "not on the public internet" in message
    assert not visits


def test_a_name_is_resolved_once(run_websocket: Run, observation: Observation, monkeypatch: Any) -> None:
    """DNS rebinding: the second answer of the resolver is never asked for, a reconnection included."""
    asked = []
    monkeypatch.setattr("arena.policies.address.is_public", lambda address: True)
    real = socket.getaddrinfo

    def rebinding(host: str, *rest: Any, **more: Any) -> Any:
        if host == "rebind.example":
            asked.append(host)
            return real("127.0.0.1" if len(asked) == 1 else "127.0.0.2", *rest, **more)
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    hosts = []

    def once(connection: ServerConnection) -> None:
        hosts.append((connection.local_address[0], connection.request.headers["Host"]))
        connection.send(b"\x80")
        with suppress(ConnectionClosed):
            connection.recv()
            connection.send(wire.encode(forward({})))

    port = run_websocket(once)
    spec = f"openpi://rebind.example:{port}?action_space=joint_velocity&control_hz=15&chunk=8"
    policy = served_policy(spec, allow_private=False)
    policy.act(observation)
    policy.act(observation)
    policy.close()
    assert asked == ["rebind.example"]
    assert hosts == [("127.0.0.1", f"rebind.example:{port}")] * 2


def test_what_the_world_does_not_show_is_named(run_openpi: Run, observation: Observation) -> None:
    policy = policy_at(run_openpi(forward))
    blind = Observation(**{**observation.__dict__, "cameras": {"wrist": observation.cameras["wrist"]}})
    with pytest.raises(errors.UnfitObservation, match="no camera 'exterior_1', only wrist"):
        policy.act(blind)
    with pytest.raises(InvalidInput, match="joint_position"):
        policy.act(Observation(**{**observation.__dict__, "joint_position": None}))
    policy.close()


def test_an_api_key_travels_in_the_header_only(run_websocket: Run, observation: Observation) -> None:
    headers = []

    def handle(connection: ServerConnection) -> None:
        headers.append(connection.request.headers.get("Authorization"))
        connection.send(b"\x80")
        with suppress(ConnectionClosed):
            connection.recv()
            connection.send(wire.encode(forward({})))
            connection.recv()

    port = run_websocket(handle)
    spec = f"ws://127.0.0.1:{port}?action_space=joint_velocity&control_hz=15&chunk=8"
    factory = parse_spec(spec, default_parsers(Access(PATIENT, api_key="secret-key")))
    policy = factory.create()
    policy.act(observation)
    policy.close()
    assert headers == ["Api-Key secret-key"]
    assert "secret-key" not in repr(factory)
