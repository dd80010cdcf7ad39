"""Parquet files of LeRobot v3.0 that are written bit by bit and followed by another when they are large."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from arena.episodes import lerobot_layout as layout

MEGABYTE = 1 << 20


class RollingParquet:
    """Tables of one schema to `root / template`, a new file once one has `limit_mb`. A context manager.

    Rows are gathered to groups of at least `group_rows`: many tiny row groups would make the footer the larger part.
    """

    def __init__(self, root: Path, template: str, limit_mb: float, group_rows: int) -> None:
        self._root, self._template, self._limit, self._group = root, template, limit_mb * MEGABYTE, group_rows
        self._number = 0
        self._waiting: list[pa.Table] = []
        self._open: tuple[Any, BinaryIO] | None = None
        self._size = 0

    def __enter__(self) -> RollingParquet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._close()

    @property
    def place(self) -> tuple[int, int]:
        """Chunk and file index of what is written next."""
        return divmod(self._number, layout.CHUNK_SIZE)

    def write(self, table: pa.Table) -> None:
        self._waiting.append(table)
        if sum(len(each) for each in self._waiting) >= self._group:
            self._flush()
            if self._size >= self._limit:
                self._close()
                self._number += 1

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting = []
        writer, stream = self._opened(table.schema)
        writer.write_table(table)
        self._size = stream.tell()

    def _opened(self, schema: pa.Schema) -> tuple[Any, BinaryIO]:
        if self._open is None:
            chunk, file = self.place
            path = self._root / self._template.format(chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            # Python's own file, because its errors have a number (a full disk) where Arrow's may have a text only.
            stream = path.open("wb")
            self._open = pq.ParquetWriter(stream, schema, compression="snappy"), stream
        return self._open

    def _close(self) -> None:
        if self._open is not None:
            writer, stream = self._open
            self._open = None
            try:
                writer.close()
            finally:
                stream.close()
