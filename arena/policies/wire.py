"""The wire format of openpi and RoboArena policy servers: msgpack with numpy arrays inside.

An array travels as the map `{b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [15, 8]}`,
a numpy scalar as `{b"__npgeneric__": True, b"data": number, b"dtype": "<f4"}` (the convention of
openpi-client's `msgpack_numpy`).

A server is hostile until checked. `decode` therefore counts every value of a message before msgpack builds
any of them (20 MB of empty maps would otherwise cost more than 1 GB), and an array's type and length are
checked before numpy sees its bytes.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from arena.contracts import InvalidInput

MAX_MESSAGE_BYTES = 16 * 2**20
"""Of one message. A chunk of 1,000 actions in float64 is 64 kB, so this leaves ample room."""
MAX_VALUES = 10_000
"""Numbers, strings, maps and arrays in one message, each map's keys included. An openpi answer has about 20."""
MAX_DEPTH = 16
MAX_DIMENSIONS = 8

_ARRAY_KEYS = {b"__ndarray__", b"data", b"dtype", b"shape"}
_SCALAR_KEYS = {b"__npgeneric__", b"data", b"dtype"}
_DTYPE = re.compile(r"(\|[biu]1|[<>=]?(b1|[iu][1248]|f[248]))")
"""Booleans, integers and floats. Objects (`|O`, which unpickle), voids, text, dates and records have no place here."""


class WireError(InvalidInput):
    """A message is not what a policy server may send."""


def encode(value: Any) -> bytes:
    """Pack maps, lists, text, numbers and numpy arrays of kinds b, i, u, f.

    Raises `WireError` for anything else, an object array among them.
    """
    try:
        packed: bytes = msgpack.packb(value, default=_pack_numpy)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"cannot be sent to a policy server: {error}") from error
    return packed


def decode(message: bytes) -> Any:
    """Unpack one message from a policy server; arrays are read-only views of its bytes.

    Raises `WireError` where the message is larger than `MAX_MESSAGE_BYTES`, holds more than `MAX_VALUES`
    values or nests deeper than `MAX_DEPTH`, is cut short, or has an array whose type is not b, i, u or f or
    whose bytes do not fill its shape exactly. Whether numbers are finite is for the reader of the actions.
    """
    if len(message) > MAX_MESSAGE_BYTES:
        raise WireError(f"the message has {len(message)} bytes; at most {MAX_MESSAGE_BYTES} are read")
    try:
        check_structure(message)
        return msgpack.unpackb(message, object_hook=_unpack_numpy, strict_map_key=True)
    except WireError:
        raise
    except (ValueError, TypeError, struct.error) as error:  # msgpack's own errors are ValueErrors
        raise WireError(f"the message is not valid msgpack: {error or type(error).__name__}") from error


def _pack_numpy(value: Any) -> dict[bytes, Any]:
    if isinstance(value, np.ndarray):
        _check_kind(value.dtype)
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic):
        _check_kind(value.dtype)
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"a value of type {type(value).__name__}")


def _check_kind(dtype: np.dtype[Any]) -> None:
    if not _DTYPE.fullmatch(dtype.str):
        raise WireError(f"an array of dtype {dtype.str} may not travel; only booleans, integers and floats may")


def _unpack_numpy(fields: dict[Any, Any]) -> Any:
    if b"__ndarray__" in fields:
        return _array(fields)
    if b"__npgeneric__" in fields:
        return _scalar(fields)
    return fields


def _array(fields: dict[Any, Any]) -> NDArray[Any]:
    if set(fields) != _ARRAY_KEYS or fields[b"__ndarray__"] is not True:
        raise WireError("an array must have exactly the keys __ndarray__, data, dtype and shape")
    dtype, shape, data = _dtype(fields[b"dtype"]), fields[b"shape"], fields[b"data"]
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(_is_length(n) for n in shape):
        raise WireError(f"an array's shape must be at most {MAX_DIMENSIONS} lengths, not {str(shape)[:80]}")
    if not isinstance(data, bytes) or len(data) != math.prod(shape) * dtype.itemsize:
        found = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
        raise WireError(f"an array of shape {tuple(shape)} and dtype {dtype.str} cannot be filled by {found}")
    return np.ndarray(shape, dtype, buffer=data)


def _scalar(fields: dict[Any, Any]) -> Any:
    if set(fields) != _SCALAR_KEYS or not isinstance(fields[b"data"], (bool, int, float)):
        raise WireError("a numpy scalar must have exactly the keys __npgeneric__, data and dtype, and hold a number")
    try:
        return _dtype(fields[b"dtype"]).type(fields[b"data"])
    except OverflowError as error:
        raise WireError(f"a numpy scalar does not fit its dtype: {error}") from error


def _dtype(name: Any) -> np.dtype[Any]:
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise WireError(f"an array of dtype {str(name)[:40]!r} is refused; only booleans, integers and floats are read")
    return np.dtype(name)


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_MESSAGE_BYTES


def check_structure(message: bytes) -> None:
    """Walk over a msgpack message without building anything; raise `WireError` at the first cap that it breaks."""
    position, values, open_containers = 0, 0, [1]
    while open_containers:
        if open_containers[-1] == 0:
            open_containers.pop()
            continue
        open_containers[-1] -= 1
        size, children = _extent(message, position)
        position += size
        values += 1
        if position > len(message):
            raise WireError("the message is cut short")
        if values + children > MAX_VALUES:
            raise WireError(f"the message holds more than {MAX_VALUES} values")
        if children:
            open_containers.append(children)
        if len(open_containers) > MAX_DEPTH + 1:
            raise WireError(f"the message nests deeper than {MAX_DEPTH} levels")
    if position != len(message):
        raise WireError(f"the message has {len(message) - position} bytes after its end")


_FIXED = {0xC0: 1, 0xC2: 1, 0xC3: 1, 0xCA: 5, 0xCB: 9}  # nil, booleans, floats
_FIXED |= {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}  # integers
_BYTES = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}  # bytes and text, with their length
_CONTAINERS = {0xDC: (">H", 1), 0xDD: (">I", 1), 0xDE: (">H", 2), 0xDF: (">I", 2)}  # arrays and maps, with their count


def _extent(message: bytes, position: int) -> tuple[int, int]:
    """Of the value at `position`: its bytes without what it contains, and how many values it contains."""
    if position >= len(message):
        raise WireError("the message is cut short")
    tag = message[position]
    if tag <= 0x7F or tag >= 0xE0:  # small integers
        return 1, 0
    if tag <= 0x8F:  # a small map
        return 1, 2 * (tag & 0x0F)
    if tag <= 0x9F:  # a small array
        return 1, tag & 0x0F
    if tag <= 0xBF:  # a short text
        return 1 + (tag & 0x1F), 0
    if tag in _FIXED:
        return _FIXED[tag], 0
    if tag in _BYTES:
        length = struct.calcsize(_BYTES[tag])
        return 1 + length + struct.unpack_from(_BYTES[tag], message, position + 1)[0], 0
    if tag in _CONTAINERS:
        code, each = _CONTAINERS[tag]
        return 1 + struct.calcsize(code), each * struct.unpack_from(code, message, position + 1)[0]
    raise WireError(f"the message has a value of msgpack type 0x{tag:02x}, which policy servers do not use")
