"""Logs that say which job they are about: as text for people, or a JSON object a line for programs."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO

_about: ContextVar[tuple[str, str] | None] = ContextVar("dreamarena_job", default=None)


@contextmanager
def about(key: str, kind: str) -> Iterator[None]:
    """Whatever is logged within is about the job `key`; in other threads, if they copy the context."""
    token = _about.set((key, kind))
    try:
        yield
    finally:
        _about.reset(token)


def configure(as_json: bool, level: int = logging.WARNING, stream: IO[str] | None = None) -> None:
    """Send what is logged to `stream`, by default stderr."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(_note)
    handler.setFormatter(JsonLines() if as_json else Lines())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _note(record: logging.LogRecord) -> bool:
    found = _about.get()
    record.job, record.kind = found if found is not None else (None, None)
    return True


class Lines(logging.Formatter):
    """`WARNING workers.execution [rollout 1a2b3c4d5e6f]: message`."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s%(about)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        job, kind = getattr(record, "job", None), getattr(record, "kind", None)
        record.about = f" [{kind} {job[:12]}]" if job else ""
        return super().format(record)


class JsonLines(logging.Formatter):
    """One object a line: `time` (seconds since the epoch), `level`, `logger`, `message`, `host`, `pid`, and where there
    are any, `job`, `kind` and `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": round(record.created, 3),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        for name in ("job", "kind"):
            if (value := getattr(record, name, None)) is not None:
                line[name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
