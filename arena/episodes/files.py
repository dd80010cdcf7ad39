"""Small files from outside: JSON, TOML and parquet that may not be what their names promise."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arena.episodes.errors import BadAnnotation

MAX_BYTES = 256 << 20
"""Larger annotations are refused before they are parsed."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises `BadAnnotation` where the file is absent, too large, or something else."""
    return _object(path, _parse_json(path, _text(path)))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file, blank lines left out."""
    return [_object(path, _parse_json(path, line)) for line in _text(path).splitlines() if line.strip()]


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML document. Raises `BadAnnotation` where it is none."""
    try:
        return tomllib.loads(_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadAnnotation(f"{path} is not TOML: {error}") from None


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A parquet table, or those of its `columns`. Raises `BadAnnotation` where it is none or lacks a column."""
    try:
        # Memory-mapped and read whole: `columns` keeps images that are stored inside out of memory.
        table = pq.ParquetFile(path, memory_map=True)
        if columns is not None and (missing := sorted(set(columns) - set(table.schema_arrow.names))):
            raise BadAnnotation(f"{path} has no column {missing[0]!r}; it has {sorted(table.schema_arrow.names)}")
        return table.read(columns)
    except (OSError, pa.ArrowException) as error:
        raise BadAnnotation(f"{path} is not a readable parquet file: {_first_line(error)}") from None


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadAnnotation(f"{path} is larger than {MAX_BYTES >> 20} MiB")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadAnnotation(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadAnnotation(f"{path} is not UTF-8 text") from None


def _parse_json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadAnnotation(f"{path} is not JSON: {_first_line(error)}") from None


def _object(path: Path, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadAnnotation(f"{path} holds a {type(value).__name__}, not an object")
    return value


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
