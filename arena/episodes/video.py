"""Video files as lazily decoded frames, with everything hostile about them refused before it is decoded.

The container format is forced from the suffix, so that a playlist script named `.mp4` cannot open other
files. Dimensions and packets are read from the container first; frames are found by their presentation
time, never by an average rate; and a reading decodes frame by frame into the array that it returns.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from arena.contracts import Frames, InvalidInput
from arena.episodes.encode import write_video
from arena.episodes.errors import EmptyVideo, LengthMismatch, TruncatedVideo, UnreadableVideo, VideoTooLarge
from arena.episodes.mp4 import declared_size

__all__ = [
    "CONTAINERS",
    "DEFAULT_LIMITS",
    "ArrayFrames",
    "VideoFrames",
    "VideoIndex",
    "VideoInfo",
    "VideoLimits",
    "check_range",
    "probe",
    "read_index",
    "write_video",
]

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mp4", ".mkv": "matroska", ".webm": "matroska"}
"""The only suffixes that are opened, and the demuxer forced for each."""


@dataclass(frozen=True)
class VideoLimits:
    """The largest video that is opened: 4K frames, 20 gigapixels an episode, 2 GiB a reading."""

    max_side: int = 4096
    max_frame_pixels: int = 4096 * 2304
    max_pixels: int = 20_000_000_000
    max_packets: int = 10_000_000
    max_read_bytes: int = 2 << 30


DEFAULT_LIMITS = VideoLimits()


@dataclass(frozen=True)
class VideoInfo:
    """What a video's header and packets say. `fps` is 0 where there is a single frame; see `regular`."""

    frames: int
    height: int
    width: int
    fps: float
    regular: bool
    """Whether every frame is shown for about as long as every other (within half a frame)."""


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """Where each frame is: `pts` `(T,)` in units of `time_base`, sorted, and which of them are key frames."""

    info: VideoInfo
    time_base: Fraction
    pts: NDArray[np.int64]
    keyframe: NDArray[np.bool_]

    @property
    def seconds(self) -> NDArray[np.float64]:
        """`(T,)` presentation time of each frame in seconds."""
        return np.asarray(self.pts * float(self.time_base), dtype=np.float64)


def probe(path: Path, limits: VideoLimits = DEFAULT_LIMITS) -> VideoInfo:
    """Size, frame count and rate of a video, from its header and packets; no frame is decoded.

    Raises `UnreadableVideo`, `EmptyVideo`, `TruncatedVideo` or `VideoTooLarge`.
    """
    return read_index(path, limits).info


def read_index(path: Path, limits: VideoLimits = DEFAULT_LIMITS) -> VideoIndex:
    """Like `probe`, with the presentation times. Remembered until the file changes: many episodes may share a file."""
    try:
        status = path.stat()
    except OSError as error:
        raise UnreadableVideo(f"{path}: {error.strerror}") from None
    if not path.is_file():
        raise UnreadableVideo(f"{path} is not a file")
    return _cached_index(path, status.st_mtime_ns, status.st_size, limits)


@functools.lru_cache(maxsize=1024)
def _cached_index(path: Path, mtime_ns: int, size: int, limits: VideoLimits) -> VideoIndex:
    with _opened(path, limits) as (container, stream):
        height, width = stream.codec_context.height, stream.codec_context.width
        pts, keyframe = _demux(path, container, stream, limits)
        promised, time_base = stream.frames, Fraction(stream.time_base or 1)
    if len(pts) == 0:
        raise EmptyVideo(f"{path} has no frames")
    # Matroska does not say how many frames there should be: the caller compares with the episode's length.
    if len(pts) < promised:
        raise TruncatedVideo(f"{path} is truncated: it has {len(pts)} of the {promised} frames in its header")
    order = np.argsort(pts, kind="stable")
    pts, keyframe = pts[order], keyframe[order]
    fps, regular = _rate(pts, time_base)
    return VideoIndex(VideoInfo(len(pts), height, width, fps, regular), time_base, pts, keyframe)


@contextmanager
def _opened(path: Path, limits: VideoLimits) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its one video stream, dimensions checked. FFmpeg's errors become `UnreadableVideo`."""
    container_format = CONTAINERS.get(path.suffix.lower())
    if container_format is None:
        raise UnreadableVideo(f"{path} has none of the suffixes that are opened: {', '.join(sorted(CONTAINERS))}")
    options = {"max_pixels": str(limits.max_frame_pixels), "protocol_whitelist": "file"}
    try:
        with av.open(f"file:{path}", "r", format=container_format, options=options) as container:
            if not container.streams.video:
                raise EmptyVideo(f"{path} has no video stream")
            stream = container.streams.video[0]
            _check_size(path, stream, limits)
            # The bitstream may claim another size than the container did; the decoder enforces the cap too.
            stream.codec_context.options = {"max_pixels": str(limits.max_frame_pixels)}
            stream.codec_context.thread_count = 1
            yield container, stream
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        detail = error.strerror if isinstance(error, av.error.FFmpegError) else error
        raise UnreadableVideo(f"{path} is not a readable {container_format} video: {detail}") from None


def _check_size(path: Path, stream: VideoStream, limits: VideoLimits) -> None:
    if stream.codec_context is None:
        raise UnreadableVideo(f"{path} uses a codec that this FFmpeg cannot decode")
    # FFmpeg itself gives up beyond 268 megapixels and then says 0x0; the header still names the size.
    width, height = stream.codec_context.width, stream.codec_context.height
    if width == 0 or height == 0:
        width, height = declared_size(path)
    if max(height, width) > limits.max_side or height * width > limits.max_frame_pixels:
        raise VideoTooLarge(
            f"{path} is {width}x{height}; at most {limits.max_side} a side "
            f"and {limits.max_frame_pixels / 1e6:.1f} megapixels are decoded"
        )
    if height < 1 or width < 1:
        raise UnreadableVideo(f"{path} does not say how large its frames are, or they are too large for FFmpeg")


def _demux(
    path: Path, container: InputContainer, stream: VideoStream, limits: VideoLimits
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Presentation time and key-frame flag of every packet that will be shown, in the order of the file."""
    pts: list[int] = []
    keyframe: list[bool] = []
    for packet in container.demux(stream):
        if packet.size == 0 or packet.is_discard:
            continue
        if packet.pts is None:
            raise UnreadableVideo(f"{path} has frames without a presentation time")
        if packet.is_corrupt:
            raise TruncatedVideo(
                f"{path} is truncated: its frame {len(pts)} of {stream.frames or 'unknown'} is not whole"
            )
        pts.append(packet.pts)
        keyframe.append(packet.is_keyframe)
        if len(pts) > limits.max_packets:
            raise VideoTooLarge(f"{path} has more than {limits.max_packets} frames")
    return np.array(pts, dtype=np.int64), np.array(keyframe, dtype=np.bool_)


def _rate(pts: NDArray[np.int64], time_base: Fraction) -> tuple[float, bool]:
    if len(pts) < 2 or pts[-1] == pts[0]:
        return 0.0, len(pts) == 1
    steps = np.diff(pts)
    mean = float(pts[-1] - pts[0]) / (len(pts) - 1)
    regular = bool(np.abs(steps - mean).max() <= 0.5 * mean)
    return float(1 / (mean * time_base)), regular


class ArrayFrames:
    """Frames that are already in memory, as a `FrameSource`. Raises `InvalidInput` unless `(T, H, W, 3)` uint8."""

    def __init__(self, array: Frames) -> None:
        if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8:
            raise InvalidInput(f"frames must be (T, H, W, 3) uint8, not {array.shape} {array.dtype}")
        self._array = array

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(T, H, W, 3)`."""
        return self._array.shape[0], self._array.shape[1], self._array.shape[2], 3

    def read(self, start: int = 0, stop: int | None = None) -> Frames:
        """Frames `start` to `stop` (exclusive), `(stop - start, H, W, 3)` uint8."""
        first, last = check_range(start, stop, len(self._array), "an array")
        return self._array[first:last]


class VideoFrames:
    """Frames of a video file, decoded when read: a `FrameSource`.

    `start` and `count` select frames in presentation order (all by default); `size` is the (H, W) that frames
    are resized to when read (bicubic, with a wider kernel when shrinking). `expected` is the number of frames that the
    episode has. Picklable: it holds no open file.

    Raises `UnreadableVideo`, `EmptyVideo`, `TruncatedVideo`, `VideoTooLarge`, and `LengthMismatch` where the
    number of frames is not `expected`.
    """

    def __init__(
        self,
        path: Path,
        *,
        start: int = 0,
        count: int | None = None,
        expected: int | None = None,
        size: tuple[int, int] | None = None,
        limits: VideoLimits = DEFAULT_LIMITS,
    ) -> None:
        info = read_index(path, limits).info
        self.path, self.start, self._limits = path, start, limits
        self._count = info.frames - start if count is None else count
        if start < 0 or self._count < 1 or start + self._count > info.frames:
            raise TruncatedVideo(
                f"{path} has {info.frames} frames, but frames {start} to {start + self._count - 1} are asked for"
            )
        if expected is not None and self._count != expected:
            raise LengthMismatch(f"{path} has {self._count} frames, but the episode has {expected} states")
        if self._count * info.height * info.width > limits.max_pixels:
            raise VideoTooLarge(
                f"{path}: {self._count} frames of {info.width}x{info.height} are more than "
                f"{limits.max_pixels / 1e9:g} gigapixels"
            )
        self._shape = (self._count, *(size or (info.height, info.width)), 3)

    @classmethod
    def between(
        cls,
        path: Path,
        from_timestamp: float,
        to_timestamp: float,
        count: int,
        *,
        size: tuple[int, int] | None = None,
        limits: VideoLimits = DEFAULT_LIMITS,
    ) -> VideoFrames:
        """The `count` frames shown from `from_timestamp` until before `to_timestamp` (seconds), as in LeRobot v3.0.

        Raises `LengthMismatch` where another number of frames is shown in between.
        """
        seconds = read_index(path, limits).seconds
        half_a_frame = 0.5 * (to_timestamp - from_timestamp) / max(count, 1)
        start, stop = np.searchsorted(seconds, [from_timestamp - half_a_frame, to_timestamp - half_a_frame])
        if stop - start != count:
            raise LengthMismatch(
                f"{path} has {stop - start} frames between {from_timestamp:.3f} s and {to_timestamp:.3f} s, "
                f"but the episode has {count} states"
            )
        return cls(path, start=int(start), count=count, size=size, limits=limits)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(T, H, W, 3)` after resizing."""
        return self._shape

    @property
    def info(self) -> VideoInfo:
        """What the file says of itself, before slicing and resizing."""
        return read_index(self.path, self._limits).info

    def resized(self, height: int, width: int) -> VideoFrames:
        """The same frames, resized when read."""
        return VideoFrames(self.path, start=self.start, count=self._count, size=(height, width), limits=self._limits)

    def read(self, start: int = 0, stop: int | None = None) -> Frames:
        """Frames `start` to `stop` (exclusive), `(stop - start, H, W, 3)` uint8 RGB.

        Raises `TruncatedVideo` where not all can be decoded, `VideoTooLarge` for more than the limit at once.
        """
        first, last = check_range(start, stop, self._count, str(self.path))
        _, height, width, _ = self._shape
        if (last - first) * height * width * 3 > self._limits.max_read_bytes:
            raise VideoTooLarge(
                f"{self.path}: {last - first} frames of {width}x{height} are more than "
                f"{self._limits.max_read_bytes >> 20} MiB; read fewer at once, or resize them"
            )
        output = np.empty((last - first, height, width, 3), dtype=np.uint8)
        if len(output) and self._decode(self.start + first, output) < len(output):
            # Some key frames are not where a seek finds them; decoding from the beginning always works.
            decoded = self._decode(self.start + first, output, seek=False)
            if decoded < len(output):
                raise TruncatedVideo(f"{self.path}: only {decoded} of frames {first} to {last - 1} can be decoded")
        return output

    def _decode(self, first: int, output: Frames, *, seek: bool = True) -> int:
        """Fill `output` with the frames from index `first` on, and return how many were found."""
        index = read_index(self.path, self._limits)
        wanted = {int(pts): row for row, pts in enumerate(index.pts[first : first + len(output)])}
        last_pts, found = max(wanted), 0
        with _opened(self.path, self._limits) as (container, stream):
            keyframes = np.flatnonzero(index.keyframe[: first + 1])
            if seek and len(keyframes) and keyframes[-1] > 0:
                container.seek(int(index.pts[keyframes[-1]]), stream=stream)
            for frame in container.decode(stream):
                row = wanted.pop(frame.pts if frame.pts is not None else -1, None)
                if row is not None:
                    output[row] = self._to_rgb(frame, index.info)
                    found += 1
                if not wanted or (frame.pts is not None and frame.pts > last_pts):
                    break
        return found

    def _to_rgb(self, frame: VideoFrame, info: VideoInfo) -> Frames:
        if (frame.height, frame.width) != (info.height, info.width):
            raise UnreadableVideo(
                f"{self.path} changes its frame size from {info.width}x{info.height} to {frame.width}x{frame.height}"
            )
        _, height, width, _ = self._shape
        rgb = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC").to_ndarray()
        return np.asarray(rgb, dtype=np.uint8)


def check_range(start: int, stop: int | None, length: int, what: str) -> tuple[int, int]:
    """`start` and `stop` of a reading from `length` frames of `what`; raises `InvalidInput` where they are outside."""
    last = length if stop is None else stop
    if not 0 <= start <= last <= length:
        raise InvalidInput(f"frames {start} to {last} of {what} are asked for, which has {length}")
    return start, last
