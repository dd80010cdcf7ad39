"""The Ctrl-World/DROID layout: the real recordings, and every way in which one can be bad."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arena.contracts import ActionSpace
from arena.episodes.encode import write_video
from arena.episodes.ingest import ingest
from tests.arena.episodes.making import droid_root, edit_json, huge_video, moving_frames, states, truncated


def test_real_recordings(shared: Path) -> None:
    report = ingest(shared / "data" / "droid")
    assert len(report.episodes) == 12
    # This one's videos really have a frame more than it has states.
    assert [Path(refusal.path).name for refusal in report.refused] == ["0006.json"]
    assert "LengthMismatch" in report.refused[0].reason
    assert "42 frames, but the episode has 41 states" in report.refused[0].reason
    rates = {episode.id: episode.fps for episode in report.episodes}
    assert {fps for id, fps in rates.items() if id.startswith("droid_subset")} == {5.0}
    assert {fps for id, fps in rates.items() if id.startswith("droid_new_setup")} == {4.0}
    for episode in report.episodes:
        assert set(episode.cameras) == {"exterior_1", "exterior_2", "wrist"}
        assert {frames.shape for frames in episode.cameras.values()} == {(len(episode), 192, 320, 3)}
        assert episode.joint_position is not None
        assert episode.joint_position.shape == (len(episode), 7)
        assert (episode.action is not None) == episode.id.startswith("droid_subset")


def test_real_actions_are_nearer_to_the_next_frame_than_the_pose_now(shared: Path) -> None:
    for episode in ingest(shared / "data" / "droid" / "droid_subset").episodes:
        assert episode.action is not None
        assert episode.action.space is ActionSpace.CARTESIAN_POSITION
        commanded, pose = episode.action.values[:-1, :3], episode.cartesian_position[:, :3]
        missed = np.linalg.norm(commanded - pose[1:], axis=1).mean()
        moved = np.linalg.norm(commanded - pose[:-1], axis=1).mean()
        assert missed < moved


def test_action_is_the_last_command_before_the_next_frame(tmp_path: Path) -> None:
    (episode,) = ingest(droid_root(tmp_path / "mini")).episodes
    command = states(16, 100)
    assert episode.action is not None
    np.testing.assert_allclose(episode.action.values, command[[2, 5, 8, 11, 14, 15]])
    assert (episode.id, episode.instruction, episode.success, episode.fps) == ("mini-train-0", "task 0", True, 5.0)


def _nan_states(root: Path) -> None:
    path = root / "annotation/train/bad.json"
    values = json.loads(path.read_text())["states"]
    values[3][1] = float("nan")
    edit_json(path, states=values)


def _edit(**changes: object) -> Callable[[Path], None]:
    return lambda root: edit_json(root / "annotation/train/bad.json", **changes)


def _video(root: Path) -> Path:
    return root / "videos/train/bad/1.mp4"


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated mp4": (lambda root: truncated(_video(root), 0.7), r"TruncatedVideo: .*bad/1\.mp4 is truncated"),
    "zero-byte mp4": (lambda root: _video(root).write_bytes(b""), r"UnreadableVideo: .*bad/1\.mp4"),
    "ffconcat": (
        lambda root: _video(root).write_text("ffconcat version 1.0\nfile 0.mp4\n"),
        r"UnreadableVideo: .*bad/1\.mp4 is not a readable mp4",
    ),
    "20,000x20,000": (lambda root: huge_video(_video(root)), r"VideoTooLarge: .*bad/1\.mp4 is 20000x20000"),
    "missing video": (lambda root: _video(root).unlink(), r"MissingCamera: .*bad/1\.mp4 \(camera exterior_2\)"),
    "longer video": (
        lambda root: write_video(_video(root), moving_frames(7), 5.0),
        r"LengthMismatch: .*bad/1\.mp4 has 7 frames, but the episode has 6 states",
    ),
    "another rate": (
        lambda root: write_video(_video(root), moving_frames(6), 10.0),
        r"LengthMismatch: .*different rates",
    ),
    "two videos": (_edit(videos=[{"video_path": "a.mp4"}] * 2), r"MissingCamera: .* lists 2 videos, not 3"),
    "path out": (
        _edit(videos=[{"video_path": "../../../etc/passwd.mp4"}] * 3),
        r"BadAnnotation: .* leads out of",
    ),
    "NaN states": (_nan_states, r"InvalidStates: .*bad\.json: states holds NaN or infinite numbers, first in row 3"),
    "ragged states": (_edit(states=[[0.0] * 7, [0.0] * 6]), r"InvalidStates: .*bad\.json: states is not a table"),
    "no states": (_edit(states=None), r"BadAnnotation: .*bad\.json has no 'states'"),
    "gripper in mm": (
        _edit(states=[[0.0] * 6 + [80.0]] * 6, **{"observation.state.cartesian_position": None}),
        r"InvalidStates: .*in \[80, 80\], not in \[0, 1\]",
    ),
    "short joints": (_edit(joints=[[0.0] * 8] * 5), r"LengthMismatch: .*joint_position has 5 rows"),
    "success of 2": (_edit(success=2), r"BadAnnotation: .*'success' is 2, not 0 or 1"),
    "other stride": (
        _edit(**{"observation.state.cartesian_position": [[0.0] * 6] * 11}),
        r"LengthMismatch: .*not every 3\. row",
    ),
    "not JSON": (
        lambda root: (root / "annotation/train/bad.json").write_text("{'states': "),
        r"BadAnnotation: .*bad\.json is not JSON",
    ),
    "a list": (lambda root: (root / "annotation/train/bad.json").write_text("[]"), r"holds a list, not an object"),
    "deep JSON": (lambda root: (root / "annotation/train/bad.json").write_text("[" * 100_000), r"is not JSON"),
    "not text": (lambda root: (root / "annotation/train/bad.json").write_bytes(b"\xff\xfe\x00"), r"is not UTF-8 text"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_episode_is_named_and_the_others_are_read(tmp_path: Path, case: str) -> None:
    root = droid_root(tmp_path / "mini", ("bad", "good"))
    damage, reason = BAD[case]
    damage(root)
    report = ingest(root)
    assert [episode.id for episode in report.episodes] == ["mini-train-good"]
    (refusal,) = report.refused
    assert refusal.path.endswith("bad.json")
    assert "\n" not in refusal.reason
    assert re.search(reason, refusal.reason), refusal.reason


def test_a_rate_that_does_not_divide_the_recording_is_not_guessed(tmp_path: Path) -> None:
    report = ingest(droid_root(tmp_path / "mini", fps=4.0))
    assert "do not divide the 15 Hz" in report.refused[0].reason
