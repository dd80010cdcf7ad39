"""A worker's parent: it starts the worker again when that dies, and ends it when it takes too much memory.

What a worker held when it died is freed at once, with the reason noted, and a job that kills three of them is given
up. The parent holds no model and does no work, so that nothing a step does can take it along.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from arena.contracts import InvalidInput
from arena.store import AWAY, Store
from workers.execution import log, owner_id
from workers.jobs import Json

WATCH_SECONDS = 0.2
QUICK_SECONDS = 10.0
"""A worker that lived no longer than this could not even begin."""
QUICK_DEATHS = 5
"""So many of those in a row, and the parent gives up."""
PASSED_ON = (0, 2)
"""Exit codes of a worker that ended because it was told to, and of one that was told something impossible."""
GIB = 1 << 30
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Death:
    """How a worker ended. `owner` is what it called itself in the jobs' leases."""

    owner: str
    code: int
    reason: str


def supervise(command: Sequence[str], memory_gib: float, died: Callable[[Death], None]) -> int:
    """Keep `command` running until this process is told to end (SIGTERM or SIGINT, which the worker is told too).

    `memory_gib` is what a worker may have of its own in memory (0: all there is); `died` is called after each death.
    Returns the exit code of the last one.
    """
    if memory_gib < 0:
        raise InvalidInput(f"--memory-gib must be 0 (no limit) or more, not {memory_gib:g}")
    told = _Told()
    quick = 0
    while True:
        began = time.monotonic()
        worker = subprocess.Popen([*command, str(os.getpid())])
        told.pass_on_to(worker)
        death = _watched(worker, owner_id(worker.pid), memory_gib)
        if told.to_end or death.code in PASSED_ON:
            return death.code
        log.error("the worker %s; it is started again", death.reason)
        died(death)
        quick = quick + 1 if time.monotonic() - began < QUICK_SECONDS else 0
        if quick == QUICK_DEATHS:
            log.error("%d workers in a row died as soon as they were started", quick)
            return death.code if death.code > 0 else 128 - death.code
        time.sleep(min(0.5 * 2**quick, 10.0) if quick else 0.0)
        if told.to_end:
            return 0


def end_with(parent: int) -> None:
    """Have this process told to end when its `parent` dies, and end at once where that is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)


def freeing(store: Store) -> Callable[[Death], None]:
    """What to do about a death: end the worker's leases now, rather than wait until they run out."""

    def died(death: Death) -> None:
        error: Json = {"type": "WorkerLost", "message": f"its worker {death.reason}", "user": False}
        try:
            store.jobs.bury(death.owner, error)
        except AWAY as away:
            log.warning("cannot free what the worker held, its leases will run out: %s", away)

    return died


class _Told:
    """Whether this process was told to end; whoever tells it so tells the worker too."""

    def __init__(self) -> None:
        self.to_end = False
        self._worker: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heard)

    def pass_on_to(self, worker: subprocess.Popen[bytes]) -> None:
        self._worker = worker
        if self.to_end:
            worker.terminate()

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        self.to_end = True
        if self._worker is not None:
            with suppress(ProcessLookupError):
                self._worker.send_signal(signal.SIGTERM)


def _watched(worker: subprocess.Popen[bytes], owner: str, memory_gib: float) -> Death:
    """Wait for a worker's end, or end it."""
    while True:
        try:
            code = worker.wait(WATCH_SECONDS)
        except subprocess.TimeoutExpired:
            used = memory_of(worker.pid)
            if not memory_gib or used <= memory_gib * GIB:
                continue
            worker.kill()
            return Death(owner, worker.wait(), f"took {used / GIB:.2f} GiB of memory, of {memory_gib:g} that it may")
        return Death(owner, code, _reason(code))


def _reason(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was killed ({name}{', as the system does when memory runs out' if name == 'SIGKILL' else ''})"


def memory_of(pid: int) -> int:
    """What a process and its children have in memory that is not of files, in bytes; 0 where nobody can tell."""
    total, waiting = 0, [pid]
    while waiting:
        each = waiting.pop()
        with suppress(OSError):
            status = dict(
                line.split(":", 1) for line in Path(f"/proc/{each}/status").read_text().splitlines() if ":" in line
            )
            total += 1024 * int(status.get("RssAnon", "0 kB").split()[0])
            for children in Path(f"/proc/{each}/task").glob("*/children"):
                waiting += map(int, children.read_text().split())
    return total
