"""Content addresses: what a job's key and an artifact's name are made of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from arena.contracts import InvalidInput


def content_address(value: object) -> str:
    """Hex sha256 of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(*paths: Path) -> str:
    """A hash of the names, sizes and times of change of the files at `paths`, without reading them.

    It goes into the inputs of a job that reads `paths`, so that changed data is a different job. Raises
    `InvalidInput` for a path that does not exist.
    """
    return content_address([_facts(path) for path in paths])


def _facts(path: Path) -> list[tuple[str, int, int]]:
    if not path.exists():
        raise InvalidInput(f"{path} does not exist")
    root = path.resolve()
    files = sorted(item for item in root.rglob("*") if item.is_file()) if root.is_dir() else [root]
    return [(item.relative_to(root).as_posix(), item.stat().st_size, item.stat().st_mtime_ns) for item in files]
