"""Runs a LeRobot checkpoint in a process of its own. Started by `arena.learned.lerobot`, as a script, by an interpreter
that has lerobot (with its own torch) and msgpack; so it imports nothing of dreamarena.

It speaks over a socket that it inherits: a letter (`b` for msgpack, `t` for a traceback), four bytes of length, and
that many bytes. Before it imports anything heavy it gives up what a checkpoint has no business with.
"""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import struct
import sys
import traceback
from typing import Any

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PR_SET_NO_NEW_PRIVS = 38
FILE_BYTES = 64 << 20
MEMORY_BYTES = 24 << 30
"""Of address space, where there is no GPU: CUDA reserves more than any machine has."""


def give_up() -> bool:
    """Cores, large files, more rights, and the network. Returns whether the last worked: containers may forbid it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    if not os.path.exists("/dev/nvidia0"):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    system = ctypes.CDLL(None, use_errno=True)
    system.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return 0 in (system.unshare(CLONE_NEWNET), system.unshare(CLONE_NEWUSER | CLONE_NEWNET))


class Checkpoint:
    """A policy with its pre- and postprocessor, as lerobot saves and loads them."""

    def __init__(self, folder: str) -> None:
        import torch
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors

        self.torch = torch
        device = "cuda" if torch.cuda.is_available() else "cpu"
        config = PreTrainedConfig.from_pretrained(folder)
        config.device = device
        self.policy = get_policy_class(config.type).from_pretrained(folder, config=config)
        self.policy.to(device)
        self.policy.eval()
        override = {"device_processor": {"device": device}}
        self.before, self.after = make_pre_post_processors(
            config, pretrained_path=folder, preprocessor_overrides=override, postprocessor_overrides=override
        )
        self.facts = {"type": str(config.type), "device": device}

    def act(self, images: dict[str, Any], state: Any, task: str) -> Any:
        """`(N, D)` float32 from images `(H, W, 3)` uint8, a state `(S,)` float32 and an instruction."""
        torch = self.torch
        seen: dict[str, Any] = {key: torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
                                for key, image in images.items()}  # fmt: skip
        seen |= {"observation.state": torch.from_numpy(state)[None], "task": [task]}
        with torch.inference_mode():
            chunk = self.policy.predict_action_chunk(self.before(seen))
            steps = [self.after(chunk[:, index]) for index in range(chunk.shape[1])]
        return torch.stack(steps, dim=1)[0].float().cpu().numpy()


def pack(value: Any) -> bytes:
    import msgpack
    import numpy as np

    def array(item: Any) -> Any:
        if isinstance(item, np.ndarray):
            return {b"__ndarray__": True, b"data": item.tobytes(), b"dtype": item.dtype.str, b"shape": item.shape}
        raise TypeError(type(item).__name__)

    packed: bytes = msgpack.packb(value, default=array)
    return packed


def unpack(message: bytes) -> Any:
    import msgpack
    import numpy as np

    def array(item: dict[Any, Any]) -> Any:
        if b"__ndarray__" not in item:
            return item
        return np.frombuffer(item[b"data"], np.dtype(item[b"dtype"])).reshape(item[b"shape"]).copy()

    return msgpack.unpackb(message, object_hook=array)


def send(connection: socket.socket, kind: bytes, payload: bytes) -> None:
    connection.sendall(kind + struct.pack(">I", len(payload)) + payload)


def receive(connection: socket.socket, size: int) -> bytes | None:
    """None where the other side has closed."""
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            return None
        received += part
    return received


def answer(checkpoint: Checkpoint, request: dict[str, Any]) -> dict[str, Any]:
    if request["endpoint"] == "reset":
        checkpoint.policy.reset()
        return {}
    return {"actions": checkpoint.act(request["images"], request["state"], request["task"])}


def serve(connection: socket.socket, folder: str, offline: bool) -> None:
    """The checkpoint's facts first, then an answer to each request, until the other side closes."""
    try:
        checkpoint = Checkpoint(folder)
        send(connection, b"b", pack({**checkpoint.facts, "network": not offline}))
    except Exception:
        send(connection, b"t", traceback.format_exc().encode())
        return
    while (header := receive(connection, 5)) is not None:
        message = receive(connection, struct.unpack(">I", header[1:])[0])
        if message is None:
            return
        try:
            send(connection, b"b", pack(answer(checkpoint, unpack(message))))
        except Exception:
            send(connection, b"t", traceback.format_exc().encode())


if __name__ == "__main__":
    alone = give_up()
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], alone)
