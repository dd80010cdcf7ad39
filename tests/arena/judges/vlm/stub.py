"""An endpoint that answers as a test has written down, and keeps what it was asked; and rollouts to show it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from arena.contracts import ActionChunk, ActionSpace, Provenance, Rollout

FPS = 10.0


@dataclass(frozen=True)
class Raw:
    """A reply as it is: a status, headers, and a body that comes in pieces with pauses in s between them."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: int = 1
    pause: float = 0.0


def completion(content: str | None, finish_reason: str = "stop", refusal: str | None = None, usage: bool = True) -> Raw:
    """A chat completion as OpenAI writes it."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    body: dict[str, Any] = {
        "id": "x", "object": "chat.completion", "created": 0, "model": "stub-1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
    }  # fmt: skip
    if usage:
        body["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return Raw(body=json.dumps(body).encode())


def scores(progress: Sequence[float], success: float, reason: str = "because") -> str:
    return json.dumps({"reason": reason, "progress": list(progress), "success": success})


@dataclass
class Stub:
    """Answers with `script` in turn, the last of it for ever; or with what `answer` makes of a request."""

    url: str
    script: list[Raw | str] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], Raw | str] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def next(self, body: dict[str, Any]) -> Raw:
        self.asked.append(body)
        if self.answer is not None:
            found = self.answer(body)
        else:
            found = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return completion(found) if isinstance(found, str) else found


@contextmanager
def serve() -> Iterator[Stub]:
    """A stub on a free port of this machine, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            stub.headers.append({name.lower(): value for name, value in self.headers.items()})
            reply = stub.next(body)
            self.send_response(reply.status)
            for name, value in {"content-type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            size = -(-len(reply.body) // reply.pieces) or 1
            try:
                for start in range(0, len(reply.body), size):
                    if reply.pause and stub.released.wait(reply.pause):
                        return
                    self.wfile.write(reply.body[start : start + size])
                    self.wfile.flush()
            except OSError:
                pass

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub = Stub(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.released.set()
        server.shutdown()
        server.server_close()


def rollout(
    id: str = "r0", length: int = 9, words: str = "lift the cup", success: bool | None = None, shade: int = 0
) -> Rollout:
    """A bar that goes to the right in two cameras; `shade` tells one rollout's pixels from another's."""
    frames = np.full((length, 16, 24, 3), 20 + shade, np.uint8)
    for index in range(length):
        frames[index, :, index : index + 4] = 220
    state = np.zeros((length, 7))
    return Rollout(
        id=id, policy="p", world="w", scene_id="s", task="cup", instruction=words, seed=0, fps=FPS,
        frames={"exterior_1": frames, "wrist": frames[:, ::2, ::2].copy()}, state=state,
        action=ActionChunk(state[1:], ActionSpace.CARTESIAN_POSITION, FPS), step_seconds=(),
        provenance=Provenance("", "", "", "", ""), success=success,
    )  # fmt: skip
