"""Clips with a declaration: real BridgeData ones, what is summed up from deltas, and declarations that are wrong."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import arena.episodes
from arena.contracts import InvalidInput
from arena.episodes.encode import write_video
from arena.episodes.ingest import ingest
from arena.geometry import euler_xyz_to_matrix
from tests.arena.episodes.making import moving_frames, states

BRIDGE = Path(arena.episodes.__file__).parent / "examples" / "bridge.toml"

RECORDED = """
format = "clips"
fps = 5
robot = "widowx"
instruction = "lift"
success = "done"
[files]
arrays = "{id}/numbers.npz"
[cameras]
wrist = "{id}/wrist.mp4"
[state]
kind = "recorded"
[state.cartesian_position]
source = "pose"
columns = [0, 1, 2, 3, 4, 5]
[state.gripper_position]
source = "pose"
columns = [6]
open = 0
closed = 1
"""


def _clips(root: Path, toml: str = RECORDED) -> Path:
    for id in ("a", "bad"):
        (root / id).mkdir(parents=True)
        np.savez(root / id / "numbers.npz", pose=states(6), done=np.array(True), delta=np.full((6, 6), 0.1))
        write_video(root / id / "wrist.mp4", moving_frames(6), 20.0)
    (root / "dreamarena.toml").write_text(toml)
    return root


def test_real_bridge_clips(shared: Path) -> None:
    report = ingest(shared / "data" / "bridge", BRIDGE)
    assert report.refused == ()
    assert [len(episode) for episode in report.episodes] == [40, 41, 32, 23, 31]
    for episode in report.episodes:
        assert (episode.fps, episode.robot, set(episode.cameras)) == (5.0, "widowx", {"exterior_1"})
        # A hand's breadth of travel in a few seconds, in metres: the scale is the right one.
        assert 0.05 < np.ptp(episode.cartesian_position[:, :3], axis=0).max() < 0.5
        assert set(np.unique(episode.gripper_position)) <= {0.0, 1.0}
        assert episode.action is not None
        np.testing.assert_allclose(episode.action.values[:-1, :6], episode.cartesian_position[1:])


def test_undeclared_clips_say_what_to_write(shared: Path) -> None:
    report = ingest(shared / "data" / "bridge")
    assert report.episodes == ()
    assert "UndeclaredLayout" in report.refused[0].reason
    assert "write dreamarena.toml beside them, or pass one with --layout" in report.refused[0].reason


def test_recorded_clips(tmp_path: Path) -> None:
    report = ingest(_clips(tmp_path / "clips"))
    assert report.refused == ()
    episode = report.episodes[0]
    assert (episode.id, episode.fps, episode.instruction, episode.success) == ("clips-a", 5.0, "lift", True)
    np.testing.assert_allclose(episode.state, states(6))


@pytest.mark.parametrize("rotation", ["base_frame", "euler_difference"])
def test_deltas_are_summed_up_from_the_declared_origin(tmp_path: Path, rotation: str) -> None:
    integrated = RECORDED.replace(
        'kind = "recorded"', f'kind = "integrated"\norigin = [1,2,3,0,0,3.1]\nrotation = "{rotation}"'
    )
    integrated = integrated.replace('[state.cartesian_position]\nsource = "pose"', '[state.delta]\nsource = "delta"')
    report = ingest(_clips(tmp_path / "clips", integrated + '[action]\nkind = "integrated"\n'))
    assert report.refused == ()
    episode = report.episodes[0]
    np.testing.assert_allclose(episode.cartesian_position[3, :3], [1.3, 2.3, 3.3])
    angles = episode.cartesian_position[:, 3:]
    if rotation == "euler_difference":
        np.testing.assert_allclose(angles[2], [0.2, 0.2, 3.3 - 2 * np.pi])
    else:
        turn = euler_xyz_to_matrix(np.full(3, 0.1))
        expected = turn @ turn @ euler_xyz_to_matrix(np.array([0, 0, 3.1]))
        np.testing.assert_allclose(euler_xyz_to_matrix(angles[2]), expected, atol=1e-12)
    assert episode.action is not None
    np.testing.assert_allclose(episode.action.values[:-1, :6], episode.cartesian_position[1:])


def _npz(root: Path) -> Path:
    return root / "bad" / "numbers.npz"


def _bomb(root: Path) -> None:
    """A header that promises terabytes."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": (10**12, 7), "fortran_order": False, "descr": "<f8"})
    with zipfile.ZipFile(_npz(root), "w") as archive:
        archive.writestr("pose.npy", stream.getvalue())


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no video": (lambda root: (root / "bad/wrist.mp4").unlink(), r"MissingCamera: .*wrist\.mp4"),
    "no npz": (lambda root: _npz(root).unlink(), r"BadAnnotation: .*numbers\.npz: No such file"),
    "pickle": (
        lambda root: np.savez(_npz(root), pose=np.array([{"a": 1}], dtype=object)),
        r"BadAnnotation: .* is not an npz of numbers: an array of object",
    ),
    "no zip": (lambda root: _npz(root).write_bytes(b"abc"), r"BadAnnotation: .* is not an npz of numbers"),
    "bomb": (_bomb, r"BadAnnotation: .*its header says \(1000000000000, 7\)"),
    "no array": (lambda root: np.savez(_npz(root), other=np.zeros(3)), r"BadAnnotation: .* has no 'pose'; it has"),
    "narrow": (lambda root: np.savez(_npz(root), pose=np.zeros((6, 3))), r"BadAnnotation: .*columns .* are declared"),
    "NaN": (lambda root: np.savez(_npz(root), pose=np.full((6, 7), np.nan)), r"InvalidStates: .*pose holds NaN"),
    "longer": (
        lambda root: np.savez(_npz(root), pose=states(7)),
        r"LengthMismatch: .*wrist\.mp4 has 6 frames, but the episode has 7 states",
    ),
    "closed is 100": (
        lambda root: np.savez(_npz(root), pose=states(6) * 100),
        r"InvalidStates: .*not in \[0, 1\] with 0 open and 1 closed",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_clip_is_named_and_the_other_is_read(tmp_path: Path, case: str) -> None:
    root = _clips(tmp_path / "clips")
    damage, reason = BAD[case]
    damage(root)
    report = ingest(root)
    assert [episode.id for episode in report.episodes] == ["clips-a"]
    (refusal,) = report.refused
    assert re.search(reason, refusal.reason), refusal.reason


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fps = 5", "fsp = 5", r"clips need their 'fps'|did you mean 'fps'"),
        ("open = 0", "opened = 0", r"state\.gripper_position\.open is missing"),
        ("closed = 1", "closed = 0", r"'open' and 'closed' that differ"),
        ("columns = [6]", "columns = [6, 7]", r"not a list of 1 numbers"),
        ("columns = [6]", "columns = [-1]", r"columns count from 0"),
        ('kind = "recorded"', 'kind = "guessed"', r"not one of recorded, integrated"),
        ('kind = "recorded"', 'kind = "recorded"\nunits = "mm"', r"state\.units is not a known key"),
        ("{id}/wrist.mp4", "wrist.mp4", r"relative path with one \{id\}"),
        ("{id}/wrist.mp4", "../{id}.mp4", r"relative path with one \{id\}"),
        ("format", "format =", r"is not TOML"),
        ("[files]", '[action]\nkind = "integrated"\n[files]', r"only be integrated where \[state\] is"),
    ],
)
def test_wrong_declarations_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    layout = tmp_path / "layout.toml"
    layout.write_text(RECORDED.replace(old, new, 1))
    with pytest.raises(InvalidInput, match=message):
        ingest(_clips(tmp_path / "clips"), layout)
