"""Films end to end in one mp4, without encoding again."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
from av.video.stream import VideoStream

from arena.contracts import InvalidInput
from arena.episodes.encode import rate_of
from arena.episodes.errors import TruncatedVideo
from arena.episodes.video import read_index


def concatenate(films: Sequence[tuple[Path, int]], out: Path, fps: float) -> None:
    """Write films `(path, frames)`, all of one encoder's settings and without B-frames, one after another to `out`.

    Frame `k` of the whole is shown at exactly `k / fps`. Raises `InvalidInput` where a film's header differs from the
    first's (its frames could not be decoded), and `TruncatedVideo` where frames are missing afterwards.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    header: bytes | None = None
    shown = 0
    with av.open(str(out), "w", options={"movflags": "+faststart"}) as target:
        stream: VideoStream | None = None
        for path, frames in films:
            with av.open(str(path)) as source:
                own = source.streams.video[0]
                if stream is None:
                    stream, header = target.add_stream_from_template(own), own.codec_context.extradata
                elif own.codec_context.extradata != header:
                    raise InvalidInput(f"{path} was encoded otherwise than {films[0][0]}: they cannot share a file")
                ticks = Fraction(1) / (rate_of(fps) * (own.time_base or Fraction(1)))
                for packet in source.demux(own):
                    if packet.pts is None or packet.dts is None:  # the end of the stream
                        continue
                    packet.pts = packet.dts = packet.pts + round(shown * ticks)
                    packet.stream = stream
                    target.mux(packet)
            shown += frames
    if (written := read_index(out).info.frames) != shown:
        raise TruncatedVideo(f"{out} holds {written} of {shown} frames")


def grouped(sizes: Sequence[int], limit: float) -> list[range]:
    """Which films share a file: neighbours, as long as the file stays below `limit` bytes; a larger film is alone."""
    groups: list[range] = []
    start, total = 0, 0
    for index, size in enumerate(sizes):
        if index > start and total + size > limit:
            groups.append(range(start, index))
            start, total = index, 0
        total += size
    return [*groups, range(start, len(sizes))] if sizes else []
