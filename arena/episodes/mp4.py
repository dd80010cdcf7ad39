"""The frame size that an mp4's header declares, for videos too large for FFmpeg to say anything about."""

from __future__ import annotations

import struct
from pathlib import Path

_MAX_HEADER = 64 << 20
_SIZE_AFTER_STSD = 44
"""From the four letters `stsd` to the first sample entry's 16-bit width and height (ISO/IEC 14496-12)."""


def declared_size(path: Path) -> tuple[int, int]:
    """(width, height) in the video track's sample description, or (0, 0) where the file has none."""
    header = _box(path, b"moov")
    video = header.find(b"vide")  # the media handler's type; its sample description follows it
    entry = header.find(b"stsd", video)
    if video < 0 or entry < 0 or len(header) < entry + _SIZE_AFTER_STSD + 4:
        return 0, 0
    width, height = struct.unpack_from(">HH", header, entry + _SIZE_AFTER_STSD)
    return int(width), int(height)


def _box(path: Path, wanted: bytes) -> bytes:
    """The content of the first top-level box of a kind, or nothing."""
    with path.open("rb") as stream:
        while len(head := stream.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            used = 8
            if size == 1:  # the size follows in 64 bits
                size, used = int.from_bytes(stream.read(8), "big"), 16
            if kind == wanted:
                return stream.read(min(max(size - used, 0), _MAX_HEADER))
            if size < used:
                break
            stream.seek(size - used, 1)
    return b""
