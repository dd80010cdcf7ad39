"""How many values a parquet file says that it holds, read from its footer by ourselves.

pyarrow's own way to them, `row_group(i).column(j)`, ended the process where a footer's statistics did not fit one
another: `terminate called after throwing an instance of 'parquet::ParquetException'`, which nobody catches (found by
`make fuzz` with pyarrow 26.0.1). Reading the table later is guarded, and only raises.

The footer is a struct of Thrift's compact protocol: `FileMetaData.row_groups[].columns[].meta_data.num_values`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

MAGIC = b"PAR1"
MAX_FOOTER = 256 << 20
MAX_DEPTH = 32
ROW_GROUPS, COLUMNS, META_DATA, NUM_VALUES = 4, 1, 3, 5
"""The fields' numbers in parquet's definition."""
STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(14)
_FIXED = {BYTE: 1, DOUBLE: 8, UUID: 16}


def count_values(path: Path) -> int:
    """Of all columns and row groups; raises `ValueError` where the footer is none, `OSError`."""
    footer = _Reader(_footer(path)).struct(0)
    total = 0
    for group in _structs(footer, ROW_GROUPS):
        for column in _structs(group, COLUMNS):
            described = column.get(META_DATA)
            count = described.get(NUM_VALUES) if isinstance(described, dict) else None
            if not isinstance(count, int) or count < 0:
                raise ValueError("a column does not say how many values it has")
            total += count
    return total


def _footer(path: Path) -> bytes:
    with path.open("rb") as stream:
        end = stream.seek(0, 2)
        stream.seek(max(0, end - 8))
        tail = stream.read(8)
        if len(tail) < 8 or tail[4:] != MAGIC:
            raise ValueError("it does not end as a parquet file does")
        (length,) = struct.unpack("<I", tail[:4])
        if length > min(MAX_FOOTER, end - 8):
            raise ValueError(f"its footer would have {length} bytes")
        stream.seek(end - 8 - length)
        return stream.read(length)


def _structs(of: dict[int, Any], number: int) -> list[dict[int, Any]]:
    found = of.get(number)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError(f"field {number} of its footer is no list of structs")
    return found


class _Reader:
    """Structs as maps by their fields' numbers. Raises `ValueError` for what ends early or is too deep."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > MAX_DEPTH:
            raise ValueError("its footer is nested too deeply")
        found: dict[int, Any] = {}
        number = 0
        while (header := self._byte()) & 0x0F:
            number = number + (header >> 4) if header >> 4 else self._whole()
            found[number] = self._value(header & 0x0F, depth)
        return found

    def _value(self, kind: int, depth: int, in_list: bool = False) -> Any:
        if kind in (TRUE, FALSE):
            # A field's truth is in its header; in a list each takes a byte.
            return self._byte() == TRUE if in_list else kind == TRUE
        if kind in _FIXED:
            return self._bytes(_FIXED[kind])
        if kind in (I16, I32, I64):
            return self._whole()
        if kind == BINARY:
            return self._bytes(self._varint())
        if kind in (LIST, SET):
            header = self._byte()
            size = header >> 4 if header >> 4 < 15 else self._varint()
            return [self._value(header & 0x0F, depth + 1, in_list=True) for _ in range(size)]
        if kind == MAP:
            return self._map(depth)
        if kind == STRUCT:
            return self.struct(depth + 1)
        raise ValueError(f"its footer has a value of the unknown kind {kind}")

    def _map(self, depth: int) -> None:
        """Read past; parquet's footer has none."""
        size = self._varint()
        kinds = self._byte() if size else 0
        for _ in range(size):
            self._value(kinds >> 4, depth + 1, in_list=True)
            self._value(kinds & 0x0F, depth + 1, in_list=True)

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) < count:
            raise ValueError("its footer ends early")
        self._at += count
        return part

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
        raise ValueError("its footer has a number of more than 64 bits")

    def _whole(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
