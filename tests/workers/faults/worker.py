"""A worker as `dreamarena worker` runs it, on steps that leave traces: `python -m tests.workers.faults.worker`."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from arena.store import Store
from tests.workers.faults import supervised_command
from workers.app import Timing, serve
from workers.artifacts import Artifacts, reference
from workers.content import content_address
from workers.jobs import Context, Inputs, Json, Step
from workers.registry import Workshop
from workers.settings import Settings, load_settings
from workers.supervisor import end_with, freeing, supervise

TICK_SECONDS = 0.02
HOG_STEP, HOG_END = 16 << 20, 1 << 30


class Work(Inputs):
    x: int
    seconds: float = 0.1


class Nothing(Inputs):
    x: int = 0


def trace(context: Context, what: str, x: int) -> None:
    """A line that is there whatever happens to this process next."""
    with (context.settings.home / "trace").open("a") as stream:
        stream.write(f"{what} {x} {os.getpid()}\n")


def slow(seconds: float) -> float:
    """How long this worker takes for what others do in `seconds`."""
    return seconds * float(os.environ.get("FAULT_SLOW", "1"))


def work(inputs: Work, context: Context) -> Json:
    """Takes `seconds`, and makes an artifact of two files, one of them at the beginning and one at the end."""
    trace(context, "begin", inputs.x)
    ref = reference("work", content_address({"x": inputs.x}))

    def write(folder: Path) -> None:
        (folder / "first").write_text("begun")
        ticks = max(1, round(slow(inputs.seconds) / TICK_SECONDS))
        for tick in range(ticks):
            context.progress(tick, ticks, "working")
            time.sleep(TICK_SECONDS)
        (folder / "square").write_text(str(inputs.x**2))

    context.artifacts.put(ref, write)
    trace(context, "end", inputs.x)
    return {"square": inputs.x**2, "artifact": ref}


def silent(inputs: Work, context: Context) -> Json:
    """As `work`, but that it never says how far it is."""
    trace(context, "begin", inputs.x)
    time.sleep(slow(inputs.seconds))
    trace(context, "end", inputs.x)
    return {"square": inputs.x**2}


def poison(inputs: Nothing, context: Context) -> Json:
    trace(context, "begin", inputs.x)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def hog(inputs: Nothing, context: Context) -> Json:
    """Takes ever more memory, and all of it in pages that were written to."""
    trace(context, "begin", inputs.x)
    taken: list[bytearray] = []
    while len(taken) * HOG_STEP < HOG_END:
        taken.append(bytearray(b"x" * HOG_STEP))
        time.sleep(0.02)
    return {"taken": len(taken) * HOG_STEP}


STEPS: dict[str, Step[Any]] = {
    "work": Step("work", Work, work),
    "silent": Step("silent", Work, silent),
    "poison": Step("poison", Nothing, poison),
    "hog": Step("hog", Nothing, hog),
}


def context_of(settings: Settings) -> Context:
    artifacts = Artifacts(settings.artifacts_location, settings.cache)
    return Context(settings, Store(settings.store_url), artifacts, lambda *_: None, Workshop())


def main() -> int:
    """`FAULT_HOST` is the machine that it believes to be on, `FAULT_CLOCK` by how many seconds its clock is ahead."""
    timing = Timing(**json.loads(os.environ["FAULT_TIMING"]))
    if host := os.environ.get("FAULT_HOST"):
        socket.gethostname = lambda: host  # type: ignore[assignment]
    if ahead := float(os.environ.get("FAULT_CLOCK", "0")):
        true_time = time.time
        time.time = lambda: true_time() + ahead  # type: ignore[assignment]
    settings = load_settings()
    if sys.argv[1:2] == ["--supervised"]:
        return supervise(supervised_command(), float(sys.argv[2]), freeing(Store(settings.store_url)))
    if sys.argv[1:2] == ["--parent"]:
        end_with(int(sys.argv[2]))
    return serve(settings, STEPS, context_of(settings), "WARNING", timing)


if __name__ == "__main__":
    sys.exit(main())
