"""Videos: read exactly, lazily and in bounds; damaged and hostile ones refused by name."""

from __future__ import annotations

import pickle
import resource
from pathlib import Path

import av
import numpy as np
import pytest

from arena.contracts import FrameSource, InvalidInput
from arena.episodes.errors import EmptyVideo, LengthMismatch, TruncatedVideo, UnreadableVideo, VideoTooLarge
from arena.episodes.video import ArrayFrames, VideoFrames, VideoLimits, probe, write_video
from tests.arena.episodes.making import encode, huge_video, moving_frames, patched_sample_entry, truncated


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    write_video(path, moving_frames(40), 5.0)
    return path


def test_what_is_written_is_read(video: Path) -> None:
    frames = VideoFrames(video, expected=40)
    info = probe(video)
    assert (info.frames, info.height, info.width, info.fps, info.regular) == (40, 64, 96, 5.0, True)
    assert frames.shape == (40, 64, 96, 3)
    assert isinstance(frames, FrameSource)
    error = np.abs(frames.read().astype(int) - moving_frames(40)).mean()
    assert error < 3.0  # neighbouring frames of the pattern differ by more than 6


@pytest.mark.parametrize("options", [{"bf": "0", "g": "10"}, {"bf": "3", "g": "250"}, {"bf": "3", "g": "12"}])
def test_any_slice_equals_the_slice_of_everything(tmp_path: Path, options: dict[str, str]) -> None:
    path = encode(tmp_path / "b.mp4", moving_frames(37), "libx264", "yuv420p", **options)
    frames = VideoFrames(path)
    everything = frames.read()
    for start in range(0, 37, 5):
        np.testing.assert_array_equal(frames.read(start, min(start + 3, 37)), everything[start : start + 3])
    assert frames.read(7, 7).shape == (0, 64, 96, 3)
    with pytest.raises(InvalidInput, match="which has 37"):
        frames.read(30, 38)


def test_start_count_and_times_select_an_episode_of_a_long_file(video: Path) -> None:
    everything = VideoFrames(video).read()
    np.testing.assert_array_equal(VideoFrames(video, start=10, count=5).read(1, 3), everything[11:13])
    between = VideoFrames.between(video, 2.0, 4.0, 10)
    np.testing.assert_array_equal(between.read(), everything[10:20])
    with pytest.raises(LengthMismatch, match=r"10 frames between 2.000 s and 4.000 s, but the episode has 11"):
        VideoFrames.between(video, 2.0, 4.0, 11)
    with pytest.raises(TruncatedVideo, match="has 40 frames"):
        VideoFrames(video, start=38, count=5)


def test_resizing_when_read(video: Path) -> None:
    small = VideoFrames(video).resized(32, 48)
    assert small.shape == (40, 32, 48, 3)
    pooled = moving_frames(40).reshape(40, 32, 2, 48, 2, 3).mean((2, 4))
    assert np.abs(small.read(3, 6) - pooled[3:6]).mean() < 3.0


def test_survives_pickling_because_nothing_is_open(video: Path) -> None:
    frames = pickle.loads(pickle.dumps(VideoFrames(video, start=2)))
    np.testing.assert_array_equal(frames.read(0, 1), VideoFrames(video).read(2, 3))


def test_presentation_times_decide_the_rate_not_the_header(tmp_path: Path) -> None:
    path = tmp_path / "gap.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for index, frame in enumerate(moving_frames(6)):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = index if index < 3 else index + 20
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    info = probe(path)
    assert info.frames == 6
    assert not info.regular


def test_truncated_at_either_end(video: Path, tmp_path: Path) -> None:
    # Our own writer puts the index first, so the packets are what is missing; others put it last.
    with pytest.raises(TruncatedVideo, match=r"a\.mp4 is truncated: its frame \d+ of 40 is not whole"):
        probe(truncated(video))
    late = truncated(encode(tmp_path / "late.mp4", moving_frames(10), "libx264", "yuv420p"))
    with pytest.raises(UnreadableVideo, match=r"late\.mp4 is not a readable mp4 video"):
        probe(late)


def test_truncated_matroska_is_found_by_the_expected_count(tmp_path: Path) -> None:
    path = truncated(encode(tmp_path / "c.mkv", moving_frames(60), "libx264", "yuv420p"))
    with pytest.raises(LengthMismatch, match=r"c\.mkv has \d+ frames, but the episode has 60 states"):
        VideoFrames(path, expected=60)


def test_zero_frames(tmp_path: Path) -> None:
    path = tmp_path / "zero.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        container.start_encoding()
    with pytest.raises((EmptyVideo, UnreadableVideo), match=r"zero\.mp4"):
        probe(path)
    with pytest.raises(EmptyVideo, match="no frames to write"):
        write_video(tmp_path / "none.mp4", moving_frames(0), 5.0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("script.mp4", b"ffconcat version 1.0\nfile a.mp4\n"),
        ("script.mkv", b"ffconcat version 1.0\nfile a.mp4\n"),
        ("playlist.mp4", b"#EXTM3U\n#EXTINF:1,\na.mp4\n"),
        ("empty.mp4", b""),
        ("noise.mp4", b"not a video" * 100),
    ],
)
def test_scripts_and_noise_open_nothing(video: Path, name: str, content: bytes) -> None:
    path = video.with_name(name)
    path.write_bytes(content)
    with pytest.raises(UnreadableVideo, match=name):
        probe(path)


def test_other_suffixes_and_protocols_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "list.ffconcat").write_text("ffconcat version 1.0\n")
    with pytest.raises(UnreadableVideo, match=r"suffixes that are opened: \.m4v, \.mkv"):
        probe(tmp_path / "list.ffconcat")
    with pytest.raises(UnreadableVideo, match="No such file"):
        probe(Path("http://127.0.0.1:9/a.mp4"))


def test_twenty_thousand_a_side_is_refused_before_decoding(tmp_path: Path) -> None:
    path = huge_video(tmp_path / "huge.mp4")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(VideoTooLarge, match=r"huge\.mp4 is 20000x20000; at most 4096 a side"):
        probe(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB; one frame is 1.2 GB


def test_a_bitstream_larger_than_its_header_says_is_not_decoded(video: Path) -> None:
    limits = VideoLimits(max_side=80, max_frame_pixels=80 * 60)
    video.write_bytes(patched_sample_entry(video.read_bytes(), b"avc1", 48, 32))
    with pytest.raises(InvalidInput, match=r"a\.mp4"):
        VideoFrames(video, limits=limits).read(0, 1)


def test_limits_on_an_episode_and_on_a_reading(video: Path) -> None:
    with pytest.raises(VideoTooLarge, match="40 frames of 96x64"):
        VideoFrames(video, limits=VideoLimits(max_pixels=64 * 96 * 39))
    frames = VideoFrames(video, limits=VideoLimits(max_read_bytes=64 * 96 * 3 * 10))
    assert len(frames.read(0, 10)) == 10
    with pytest.raises(VideoTooLarge, match="read fewer at once"):
        frames.read(0, 11)
    with pytest.raises(VideoTooLarge, match="more than 39 frames"):
        probe(video, VideoLimits(max_packets=39))


def test_writing_checks_its_frames_and_leaves_nothing_behind(tmp_path: Path) -> None:
    def frames() -> object:
        yield from moving_frames(3)
        yield moving_frames(1, 32, 32)[0]

    with pytest.raises(InvalidInput, match=r"a frame is \(32, 32, 3\)"):
        write_video(tmp_path / "mixed.mp4", frames(), 5.0)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="even sides, not 95x64"):
        write_video(tmp_path / "odd.mp4", moving_frames(2, 64, 95), 5.0)
    assert list(tmp_path.iterdir()) == []


def test_array_frames() -> None:
    frames = ArrayFrames(moving_frames(5))
    assert frames.shape == (5, 64, 96, 3)
    np.testing.assert_array_equal(frames.read(2, 4), moving_frames(5)[2:4])
    with pytest.raises(InvalidInput, match="uint8"):
        ArrayFrames(np.zeros((5, 4, 4, 3), dtype=np.float32))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="which has 5"):
        frames.read(0, 6)
