"""Policy servers in a thread: one that follows openpi's protocol, and bare sockets that misbehave."""

from __future__ import annotations

import json
import socket
import threading
import traceback
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from arena.contracts import Observation, Policy, Scene
from arena.policies.registry import default_parsers, parse_spec
from arena.policies.server import Access, Deadlines

Infer = Callable[[dict[str, Any]], Any]

BOUND = 60.0
"""Seconds by which a misbehaving server must have been given up, even on a busy machine."""
PATIENT = Deadlines(first=BOUND, step=BOUND)
"""Where something else than the deadline must end the call."""


def served_policy(spec: str, deadlines: Deadlines = PATIENT, **access: Any) -> Policy:
    """The policy that a spec names, with a breaker of its own."""
    return parse_spec(spec, default_parsers(Access(deadlines, **access))).create()


def pack(value: Any) -> bytes:
    """What openpi's server does to pack, written apart from `arena.policies.wire`; object arrays pass as well."""

    def default(item: Any) -> Any:
        if isinstance(item, np.ndarray):
            return {b"__ndarray__": True, b"data": item.tobytes(), b"dtype": item.dtype.str, b"shape": item.shape}
        raise TypeError(type(item))

    return msgpack.packb(value, default=default)


def openpi_handler(infer: Infer, metadata: Any) -> Callable[[ServerConnection], None]:
    """As openpi's `WebsocketPolicyServer`: metadata first, a traceback as text and a close with 1011 on errors."""

    def handle(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            connection.send(pack(metadata))
            while True:
                request = msgpack.unpackb(connection.recv())
                try:
                    answer = infer(request)
                except Exception:
                    connection.send(traceback.format_exc())
                    connection.close(1011, "Internal server error. Traceback included in previous frame.")
                    return
                connection.send(answer if isinstance(answer, (bytes, str)) else pack(answer))

    return handle


@pytest.fixture
def run_websocket() -> Iterator[Callable[[Callable[[ServerConnection], None]], int]]:
    """Start a websocket server with a handler of one's own; returns its port."""
    with ExitStack() as stack:

        def start(handle: Callable[[ServerConnection], None]) -> int:
            server = serve(handle, "127.0.0.1", 0, compression=None, max_size=None, ping_interval=None)
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            stack.callback(thread.join, 5)
            stack.callback(server.shutdown)
            return int(server.socket.getsockname()[1])

        yield start


@pytest.fixture
def run_openpi(run_websocket: Callable[..., int]) -> Callable[..., int]:
    """Start an openpi server around an inference function; returns its port."""

    def start(infer: Infer, metadata: Any = None) -> int:
        return run_websocket(openpi_handler(infer, {"server": "test"} if metadata is None else metadata))

    return start


class RoboArenaServer:
    """As RoboArena's `WebsocketPolicyServer`: a config first, `endpoint` in each request, a text for each reset."""

    def __init__(self, infer: Infer, **config: Any) -> None:
        self.infer, self.resets, self.requests = infer, [], []
        self.config = {
            "image_resolution": [4, 6], "needs_wrist_camera": True, "n_external_cameras": 2,
            "needs_stereo_camera": False, "needs_session_id": True, "action_space": "joint_velocity", **config,
        }  # fmt: skip

    def __call__(self, connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            connection.send(pack(self.config))
            while True:
                request = msgpack.unpackb(connection.recv(), object_hook=unpack_array)
                try:
                    endpoint = request.pop("endpoint")
                    (self.resets if endpoint == "reset" else self.requests).append(request)
                    connection.send("reset successful" if endpoint == "reset" else pack(self.infer(request)))
                except Exception:
                    connection.send(traceback.format_exc())
                    connection.close(1011, "Internal server error. Traceback included in previous frame.")
                    return


def unpack_array(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" not in value:
        return value
    return np.ndarray(value[b"shape"], value[b"dtype"], buffer=value[b"data"])


@pytest.fixture
def run_socket() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """Start a bare TCP server whose handler gets each connection; returns its port."""
    with ExitStack() as stack:

        def start(handle: Callable[[socket.socket], None]) -> int:
            listener = socket.create_server(("127.0.0.1", 0))
            stack.callback(listener.close)

            def accept() -> None:
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:  # the listener was closed: the test is over
                        return
                    threading.Thread(target=_quietly, args=(handle, connection), daemon=True).start()

            threading.Thread(target=accept, daemon=True).start()
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return int(listener.getsockname()[1])

        yield start


def _quietly(handle: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with suppress(OSError), connection:  # the client hangs up on a misbehaving server, which is what is tested
        handle(connection)


@pytest.fixture(scope="session")
def transcripts(shared: Path) -> dict[str, list[dict[str, Any]]]:
    """The golden frames, `data` decoded to bytes where they are binary."""
    recorded = json.loads((shared / "golden" / "policy_wire_transcripts.json").read_text())
    for frames in recorded.values():
        for frame in frames:
            if frame.get("type") == "binary":
                frame["data"] = b64decode(frame["data"])
    return recorded


@pytest.fixture
def observation() -> Observation:
    """The observation of the golden transcripts: images of 4 x 6."""
    first = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    return Observation(
        cameras={"exterior_1": first, "wrist": first[::-1]},
        cartesian_position=np.array([0.4, 0.1, 0.3, 3.1, 0.1, -0.2]),
        gripper_position=np.array([0.5]),
        instruction="put the banana in the bowl",
        joint_position=np.linspace(0, 0.6, 7),
    )


@pytest.fixture
def scene(observation: Observation) -> Scene:
    return Scene(
        id="scene-1",
        observation=observation,
        history={name: image[None] for name, image in observation.cameras.items()},
        history_state=observation.state[None],
        instruction=observation.instruction,
        fps=5.0,
    )
