"""The wire format of GR00T's policy servers: msgpack, each array as a file of numpy's in the map
`{"__ndarray_class__": True, "as_npy": bytes}`.

As hostile as any: see `arena.policies.wire`, whose caps hold here as well. Nothing is unpickled, and an array's type
and length are checked before numpy makes room for it.
"""

from __future__ import annotations

import io
import math
import re
import struct
from typing import Any

import msgpack
import numpy as np

from arena.policies.errors import ServerTraceback
from arena.policies.transport import one_line
from arena.policies.wire import MAX_DIMENSIONS, MAX_MESSAGE_BYTES, WireError, check_structure

MAX_HEADER = 1024
"""Bytes of an array's header: its type, order and shape as text."""
_ARRAY_KEYS = {"__ndarray_class__", "as_npy"}
_HEADER = re.compile(
    rb"\{'descr': '(?P<dtype>\|[biu]1|[<>=]?(?:b1|[iu][1248]|f[248]))', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:\d{1,12}(?:, \d{1,12})*,?)?)\),? ?\}\s*"
)
"""What numpy writes before an array of numbers. Its own reader evaluates the text, and some of it ends in errors."""


def encode(value: Any) -> bytes:
    """Pack maps, lists, text, numbers and arrays of numbers; raises `WireError` for anything else."""
    try:
        packed: bytes = msgpack.packb(value, default=_pack_array)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"cannot be sent to a policy server: {error}") from error
    return packed


def decode(message: bytes) -> Any:
    """Unpack one answer; arrays are read-only views of its bytes. Raises `WireError`, or the server's own error."""
    if len(message) > MAX_MESSAGE_BYTES:
        raise WireError(f"the message has {len(message)} bytes; at most {MAX_MESSAGE_BYTES} are read")
    try:
        check_structure(message)
        found = msgpack.unpackb(message, object_hook=_unpack_array, strict_map_key=True)
    except WireError:
        raise
    except (ValueError, TypeError, struct.error) as error:  # msgpack's own errors are ValueErrors
        raise WireError(f"the message is not valid msgpack: {error or type(error).__name__}") from error
    if isinstance(found, dict) and "error" in found:
        raise ServerTraceback(str(found["error"]))
    return found


def _pack_array(value: Any) -> dict[str, Any]:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        return {"__ndarray_class__": True, "as_npy": file.getvalue()}
    raise TypeError(f"a value of type {type(value).__name__}")


def _unpack_array(value: dict[Any, Any]) -> Any:
    if "__ndarray_class__" not in value:
        return value
    if set(value) != _ARRAY_KEYS or not isinstance(value["as_npy"], bytes):
        raise WireError("an array must have exactly the keys __ndarray_class__ and as_npy, the latter bytes")
    header, data = _parts(value["as_npy"])
    described = _HEADER.fullmatch(header)
    if described is None:
        raise WireError(f"an array's header is none of an array of numbers: {one_line(header.decode('latin1'), 120)}")
    dtype, shape = np.dtype(described["dtype"].decode()), tuple(map(int, re.findall(rb"\d+", described["shape"])))
    if len(shape) > MAX_DIMENSIONS or len(data) != math.prod(shape) * dtype.itemsize:
        raise WireError(
            f"an array of shape {str(shape)[:80]} and dtype {dtype.str} cannot be filled by {len(data)} bytes"
        )
    return np.ndarray(shape, dtype, buffer=data, order="F" if described["fortran"] == b"True" else "C")


def _parts(file: bytes) -> tuple[bytes, bytes]:
    """The header of a `.npy` file, which is text, and its data."""
    lengths = {b"\x93NUMPY\x01\x00": "<H", b"\x93NUMPY\x02\x00": "<I"}
    code = lengths.get(file[:8])
    if code is None or len(file) < 8 + struct.calcsize(code):
        raise WireError("an array is no file of numpy's of version 1.0 or 2.0")
    start = 8 + struct.calcsize(code)
    end = start + min(struct.unpack_from(code, file, 8)[0], MAX_HEADER)
    return file[start:end], file[end:]
