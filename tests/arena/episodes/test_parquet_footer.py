"""What a parquet file's footer says, read by ourselves, against pyarrow; and footers that are none."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arena.episodes.errors import BadAnnotation
from arena.episodes.files import read_parquet
from arena.episodes.parquet_footer import count_values


def packed(rows: int = 20, groups: int = 3) -> bytes:
    table = pa.table(
        {
            "number": np.arange(rows),
            "text": [f"row {row}" if row % 3 else None for row in range(rows)],
            "list": pa.array([[1.0] * (row % 4) for row in range(rows)], pa.list_(pa.float32())),
            "fixed": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(7 * rows, np.float32)), 7),
            "flag": [row % 2 == 0 for row in range(rows)],
            "nested": [{"a": row, "b": [str(row)]} for row in range(rows)],
        }
    )
    stream = io.BytesIO()
    pq.write_table(table, stream, row_group_size=-(-rows // groups), write_page_index=True)
    return stream.getvalue()


GOOD = packed()


@pytest.mark.parametrize(("rows", "groups"), [(1, 1), (20, 3), (500, 40)])
def test_it_counts_what_pyarrow_counts(tmp_path: Path, rows: int, groups: int) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(packed(rows, groups))
    metadata = pq.ParquetFile(path).metadata
    row_groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    columns = [group.column(index) for group in row_groups for index in range(metadata.num_columns)]
    assert count_values(path) == sum(column.num_values for column in columns)
    assert read_parquet(path).num_rows == rows


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "does not end"),
        (b"PAR1" + b"\xff\xff\xff\xff" + b"PAR1", "would have 4294967295 bytes"),
        (b"\x1c" * 100 + b"\x64\0\0\0PAR1", "nested too deeply"),
        (b"\x19" * 4 + b"\x04\0\0\0PAR1", "ends early"),
        (b"\x15" + b"\xff" * 12 + b"\x0d\0\0\0PAR1", "more than 64 bits"),
        (b"\x1e\0" + b"\x02\0\0\0PAR1", "unknown kind 14"),
        (b"\0" + b"\x01\0\0\0PAR1", "no list of structs"),
    ],
)
def test_what_is_no_footer_is_said(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=says):
        count_values(path)
    with pytest.raises(BadAnnotation, match="not a readable parquet"):
        read_parquet(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, len(GOOD) // 2), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_changed_footer_is_read_or_refused_and_nothing_dies(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for from_end, flip in changes:
        data[len(data) - 1 - from_end] ^= flip
    path = tmp_path / "table.parquet"
    path.write_bytes(data)
    refused = ""
    try:
        assert read_parquet(path).num_columns >= 0
    except BadAnnotation as error:
        refused = str(error)
    assert "\n" not in refused
