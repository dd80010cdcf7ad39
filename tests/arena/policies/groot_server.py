"""A server of GR00T's kind on libzmq, for tests: the other side of our own ZeroMQ."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import numpy as np
import zmq

DROID = {
    "video": {"modality_keys": ["exterior_image_1_left", "wrist_image_left"], "delta_indices": [0]},
    "state": {"modality_keys": ["eef_9d", "gripper_position", "joint_position"], "delta_indices": [0]},
    "action": {"modality_keys": ["eef_9d", "gripper_position", "joint_position"], "delta_indices": list(range(16))},
    "language": {"modality_keys": ["annotation.language.language_instruction"], "delta_indices": [0]},
}


def pack(value: Any) -> bytes:
    """As GR00T's `MsgSerializer`, written apart from `arena.policies.groot_wire`; object arrays pass as well."""

    def default(item: Any) -> Any:
        file = io.BytesIO()
        np.save(file, item, allow_pickle=True)
        return {"__ndarray_class__": True, "as_npy": file.getvalue()}

    return msgpack.packb(value, default=default)


def unpack(message: bytes) -> Any:
    def hook(value: dict[str, Any]) -> Any:
        return np.load(io.BytesIO(value["as_npy"]), allow_pickle=False) if "__ndarray_class__" in value else value

    return msgpack.unpackb(message, object_hook=hook)


def wrapped(config: dict[str, Any]) -> dict[str, Any]:
    return {name: {"__ModalityConfig_class__": True, "as_json": part} for name, part in config.items()}


class GrootServer:
    """As GR00T's `PolicyServer`, on libzmq: a loop around a REP socket, with errors as a map."""

    def __init__(self, act: Callable[[Any], Any], config: Any = None, token: str | None = None) -> None:
        self.act, self.token, self.requests = act, token, []
        self.config = wrapped(DROID) if config is None else config

    def answer(self, request: dict[str, Any]) -> Any:
        self.requests.append(request)
        if self.token is not None and request.get("api_token") != self.token:
            return {"error": "Unauthorized: Invalid API token"}
        if request["endpoint"] == "get_modality_config":
            return self.config
        if request["endpoint"] == "reset":
            return {}
        return self.act(request["data"]["observation"])

    def loop(self, stopped: threading.Event, started: Callable[[int], None]) -> None:
        with zmq.Context() as context, context.socket(zmq.REP) as answering:
            started(answering.bind_to_random_port("tcp://127.0.0.1"))
            while not stopped.is_set():
                if not answering.poll(50):
                    continue
                try:
                    answering.send(pack(self.answer(unpack(answering.recv()))))
                except Exception as error:
                    answering.send(pack({"error": str(error)}))
            answering.setsockopt(zmq.LINGER, 0)


@contextmanager
def serving(server: GrootServer) -> Iterator[int]:
    """Serve in a thread; yields the port."""
    ports: list[int] = []
    stopped, up = threading.Event(), threading.Event()

    def started(port: int) -> None:
        ports.append(port)
        up.set()

    thread = threading.Thread(target=server.loop, args=(stopped, started), daemon=True)
    thread.start()
    try:
        assert up.wait(10)
        yield ports[0]
    finally:
        stopped.set()
        thread.join(10)
