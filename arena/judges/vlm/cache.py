"""Replies kept by the hash of the question, so that no question is paid for twice."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Protocol

from arena.episodes.atomic import atomic_write
from arena.judges.vlm.endpoint import MAX_REPLY_BYTES, Reply
from arena.judges.vlm.strict_json import NotStrictJson, loads


class ReplyCache(Protocol):
    """Keys are hex sha256."""

    def get(self, key: str) -> Reply | None: ...

    def put(self, key: str, reply: Reply) -> None: ...


class FolderCache:
    """A file for each reply. One that cannot be read is asked for again: it is a copy, not a result."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> Reply | None:
        path = self._path(key)
        return parse(path.read_text(errors="replace")) if path.is_file() else None

    def put(self, key: str, reply: Reply) -> None:
        atomic_write(self._path(key), dump(reply).encode())

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"


def dump(reply: Reply) -> str:
    return json.dumps(asdict(reply), indent=1)


def parse(text: str) -> Reply | None:
    """What `dump` wrote; None for anything else."""
    try:
        values = loads(text, limit=2 * MAX_REPLY_BYTES)
    except NotStrictJson:
        return None
    wanted = {field.name: int if field.name.endswith("_tokens") else str for field in fields(Reply)}
    if not isinstance(values, dict) or values.keys() != wanted.keys():
        return None
    for name, kind in wanted.items():
        if type(values[name]) is not kind and not (kind is int and values[name] is None):
            return None
    return Reply(**values)
