"""Frames that a LeRobot dataset stores as PNG or JPEG inside its parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from arena.contracts import Frames
from arena.episodes.errors import BadAnnotation, TruncatedVideo, UnreadableVideo, VideoTooLarge
from arena.episodes.files import read_parquet
from arena.episodes.video import DEFAULT_LIMITS, VideoLimits, check_range

_DECODERS = {b"\x89PNG": "png", b"\xff\xd8\xff": "mjpeg"}
"""The decoder for each kind of image, by how it begins. No other is opened."""


class ParquetImages:
    """A `FrameSource` of `count` images, from row `first` of a parquet file's column on.

    The first is decoded for its size. Raises `TruncatedVideo` where there are fewer rows, `UnreadableVideo` for
    an image that is no PNG or JPEG or that is of another size than the first, and `VideoTooLarge`.
    """

    def __init__(self, path: Path, column: str, first: int, count: int, limits: VideoLimits = DEFAULT_LIMITS) -> None:
        self._path, self._column, self._first, self._limits = path, column, first, limits
        sample = self._decode(self._cells(0, 1)[0])
        self._shape = (count, sample.shape[0], sample.shape[1], 3)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(T, H, W, 3)`."""
        return self._shape

    def read(self, start: int = 0, stop: int | None = None) -> Frames:
        """Frames `start` to `stop` (exclusive), `(stop - start, H, W, 3)` uint8 RGB."""
        begin, end = check_range(start, stop, self._shape[0], str(self._path))
        output = np.empty((end - begin, *self._shape[1:]), dtype=np.uint8)
        if output.nbytes > self._limits.max_read_bytes:
            raise VideoTooLarge(f"{self._path}: {end - begin} images are too many to read at once")
        for row, cell in enumerate(self._cells(begin, end)):
            image = self._decode(cell)
            if image.shape != self._shape[1:]:
                raise UnreadableVideo(f"{self._path}: {self._column} has images of several sizes")
            output[row] = image
        return output

    def _cells(self, begin: int, end: int) -> list[Any]:
        table = read_parquet(self._path, [self._column])
        cells: list[Any] = table[self._column].slice(self._first + begin, end - begin).to_pylist()
        if len(cells) != end - begin:
            raise TruncatedVideo(f"{self._path}: {self._column} has {len(cells)} of {end - begin} images")
        return cells

    def _decode(self, cell: Any) -> Frames:
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(data, bytes):
            raise BadAnnotation(f"{self._path}: {self._column} does not hold its images' bytes")
        name = next((decoder for magic, decoder in _DECODERS.items() if data.startswith(magic)), None)
        if name is None:
            raise UnreadableVideo(f"{self._path}: {self._column} holds something that is neither PNG nor JPEG")
        codec = av.CodecContext.create(name, "r")
        codec.options = {"max_pixels": str(self._limits.max_frame_pixels)}
        try:
            frames = codec.decode(av.Packet(data)) if isinstance(codec, VideoCodecContext) else []
        except av.error.FFmpegError as error:
            raise UnreadableVideo(
                f"{self._path}: an image of {self._column} cannot be decoded: {error.strerror}"
            ) from None
        if len(frames) != 1:
            raise UnreadableVideo(f"{self._path}: an image of {self._column} is empty")
        return np.asarray(frames[0].to_ndarray(format="rgb24"), dtype=np.uint8)
