"""Small files from outside: JSON, TOML and parquet that may not be what their names promise."""

from __future__ import annotations

import io
import json
import math
import tomllib
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from arena.contracts import FloatArray
from arena.episodes.errors import BadAnnotation
from arena.episodes.parquet_footer import count_values

MAX_BYTES = 256 << 20
"""Larger annotations are refused before they are parsed."""

MAX_VALUES = 500_000_000
"""Parquet files of more numbers than this are refused before they are read."""


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
        _check_values(path)
        # Memory-mapped and read whole: `columns` keeps images that are stored inside out of memory.
        table = pq.ParquetFile(path, memory_map=True)
        if columns is not None and (missing := sorted(set(columns) - set(table.schema_arrow.names))):
            raise BadAnnotation(f"{path} has no column {missing[0]!r}; it has {sorted(table.schema_arrow.names)}")
        return table.read(columns)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise BadAnnotation(f"{path} is not a readable parquet file: {_first_line(error)}") from None


def _check_values(path: Path) -> None:
    """A few bytes of run-length encoding can stand for billions of values: they are counted before they are made."""
    try:
        values = count_values(path)
    except ValueError as error:
        raise BadAnnotation(f"{path} is not a readable parquet file: {error}") from None
    if values > MAX_VALUES:
        raise BadAnnotation(f"{path} has {values} values; at most {MAX_VALUES} are read")


def column(path: Path, table: pa.Table, name: str) -> NDArray[Any]:
    """A parquet column of numbers as `(T,)`, or of lists of one length as `(T, D)`.

    Raises `BadAnnotation` for a column that is not there, that has nulls, or that holds anything else.
    """
    if name not in table.column_names:
        raise BadAnnotation(f"{path} has no column {name!r}; it has {sorted(table.column_names)}")
    values = pa.concat_arrays(table[name].chunks) if table[name].num_chunks else pa.array([], pa.float64())
    if values.null_count:
        raise BadAnnotation(f"{path}: column {name} has {values.null_count} empty cells")
    try:
        if pa.types.is_nested(values.type):
            flat = values.flatten()
            return np.asarray(flat.to_numpy(zero_copy_only=False).reshape(len(values), -1), dtype=np.float64)
        return np.asarray(values.to_numpy(zero_copy_only=False))
    except (ValueError, TypeError, AttributeError, pa.ArrowException):
        raise BadAnnotation(f"{path}: column {name} ({values.type}) is no table of numbers") from None


def read_npz(path: Path) -> dict[str, FloatArray]:
    """The numeric arrays of an npz, as float64 by name. Nothing is unpickled or inflated beyond `MAX_BYTES`.

    Raises `BadAnnotation` for no npz, one that is too large, or arrays of anything but numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > MAX_BYTES:
                raise BadAnnotation(f"{path} is larger than {MAX_BYTES >> 20} MiB when inflated")
            return {member.filename.removesuffix(".npy"): _parse_npy(archive.read(member)) for member in members}
    except OSError as error:
        raise BadAnnotation(f"{path}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadAnnotation(f"{path} is not an npz of numbers: {_first_line(error)}") from None


def _parse_npy(data: bytes) -> FloatArray:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    if dtype.kind not in "biuf":
        raise ValueError(f"an array of {dtype}")
    # The header may promise more than is there: only what is there is allocated.
    if len(data) - stream.tell() != dtype.itemsize * math.prod(shape):
        raise ValueError(f"its header says {shape} {dtype}, its {len(data) - stream.tell()} bytes do not")
    array = np.frombuffer(data, dtype=dtype, offset=stream.tell()).reshape(shape, order="F" if fortran else "C")
    return array.astype(np.float64)


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
