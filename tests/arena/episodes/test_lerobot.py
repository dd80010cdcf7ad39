"""LeRobot datasets: the writer's are genuine v3.0 and survive kills; both versions are read, nothing is guessed."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from av.video.codeccontext import VideoCodecContext

from arena.contracts import ActionSpace, FloatArray, InvalidInput
from arena.episodes import lerobot_writer
from arena.episodes.encode import write_video
from arena.episodes.errors import InvalidStates, LengthMismatch, MissingCamera
from arena.episodes.ingest import ingest
from arena.episodes.lerobot_stats import aggregate_stats, image_stats, vector_stats
from arena.episodes.lerobot_writer import LeRobotWriter
from arena.episodes.video import VideoFrames
from tests.arena.episodes.making import edit_json, moving_frames, states, truncated, write_json

CAMERAS = {"exterior_1": (64, 96), "wrist": (32, 48)}
LENGTHS = (6, 4, 5)


def _writer(root: Path, **changes: Any) -> LeRobotWriter:
    settings: dict[str, Any] = {"fps": 5.0, "cameras": CAMERAS, "robot": "sawyer"}
    return LeRobotWriter(root, **settings | {"action_space": ActionSpace.CARTESIAN_POSITION} | changes)


def _episode(number: int, **changes: Any) -> dict[str, Any]:
    length, numbers = LENGTHS[number], states(LENGTHS[number], number)
    return {
        "id": f"episode-{number}",
        "frames": {name: moving_frames(length, *size, seed=number) for name, size in CAMERAS.items()},
        "cartesian_position": numbers[:, :6],
        "gripper_position": numbers[:, 6:],
        "joint_position": np.full((length, 7), 0.1 * number),
        "action": states(length, number + 10),
        "instruction": f"do {number % 2}",
        "success": (True, None, False)[number],
        "task": "reach",
        "metadata": {"seed": number},
    } | changes


def _write(root: Path) -> None:
    writer = _writer(root)
    for number in range(3):
        if f"episode-{number}" not in writer.episode_ids:
            writer.add_episode(**_episode(number))
    writer.finish()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lerobot") / "set"
    _write(root)
    return root


@pytest.fixture
def dataset(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "set"))


def test_written_and_read_again(written: Path) -> None:
    report = ingest(written)
    assert report.refused == ()
    for number, episode in enumerate(report.episodes):
        given = _episode(number)
        assert (episode.id, episode.instruction, episode.task) == (given["id"], given["instruction"], "reach")
        assert (episode.success, episode.fps, episode.robot) == (given["success"], 5.0, "sawyer")
        assert episode.metadata == {"seed": number}
        np.testing.assert_allclose(episode.cartesian_position, given["cartesian_position"], atol=1e-6)
        np.testing.assert_allclose(episode.gripper_position, given["gripper_position"], atol=1e-6)
        assert episode.joint_position is not None
        assert episode.action is not None
        np.testing.assert_allclose(episode.action.values, given["action"], atol=1e-6)
        for name, frames in given["frames"].items():
            read = episode.cameras[name].read().astype(int)
            assert np.abs(read - frames).mean() < 0.5 * np.abs(read[1:] - frames[:-1]).mean()


def test_layout_is_what_lerobot_reads(written: Path) -> None:
    info = json.loads((written / "meta/info.json").read_text())
    assert (info["codebase_version"], info["total_episodes"], info["total_frames"]) == ("v3.0", 3, 15)
    assert (info["total_tasks"], info["splits"], info["fps"]) == (2, {"train": "0:3"}, 5)
    tasks = pd.read_parquet(written / "meta/tasks.parquet")
    assert tasks.loc["do 1"].task_index == 1
    episodes = pd.read_parquet(written / "meta/episodes")
    assert episodes["dataset_from_index"].tolist() == [0, 6, 10]
    assert episodes["dataset_to_index"].tolist() == [6, 10, 15]
    for number, row in episodes.iterrows():
        chunk, file = row["data/chunk_index"], row["data/file_index"]
        data = pd.read_parquet(written / info["data_path"].format(chunk_index=chunk, file_index=file))
        assert set(data.columns) == {name for name, entry in info["features"].items() if entry["dtype"] != "video"}
        assert data["index"].tolist() == list(range(row["dataset_from_index"], row["dataset_to_index"]))
        assert set(data["episode_index"]) == {number}
        np.testing.assert_allclose(data["timestamp"], np.arange(len(data)) / 5, atol=1e-6)
        assert row["videos/observation.images.wrist/to_timestamp"] == pytest.approx(len(data) / 5)
    schema = pq.read_schema(written / "data/chunk-000/file-000.parquet")
    assert schema.field("action").type == pa.list_(pa.float32(), 7)
    stats = json.loads((written / "meta/stats.json").read_text())
    assert np.shape(stats["observation.images.wrist"]["mean"]) == (3, 1, 1)
    everything = np.concatenate([_episode(number)["action"] for number in range(3)])
    np.testing.assert_allclose(stats["action"]["std"], everything.std(0), rtol=1e-5)
    np.testing.assert_allclose(stats["action"]["max"], everything.max(0), rtol=1e-5)


@pytest.mark.parametrize("failing", range(1, 17, 3))
def test_interrupted_at_any_write_and_resumed_gives_the_same(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    calls = 0

    def interrupted(function: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any, **kwargs: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise KeyboardInterrupt
            function(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(lerobot_writer, "atomic_write", interrupted(lerobot_writer.atomic_write))
        patch.setattr(lerobot_writer, "write_video", interrupted(lerobot_writer.write_video))
        with pytest.raises(KeyboardInterrupt):
            _write(tmp_path / "set")
    _write(tmp_path / "set")
    resumed, whole = _tree(tmp_path / "set"), _tree(written)
    assert set(resumed) == set(whole)
    for name, content in whole.items():
        if name.endswith(".mp4"):  # the encoder's bytes are not reproducible, its pictures are
            pictures = VideoFrames(tmp_path / "set" / name).read().astype(int)
            assert np.abs(pictures - VideoFrames(written / name).read()).mean() < 2.0
        else:
            assert resumed[name] == content, name


def _tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_killed_while_writing_loses_only_that_episode(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from arena.episodes import lerobot_writer as module\n"
        "from tests.arena.episodes import test_lerobot as test\n"
        "write = module.write_video\n"
        "def killed(path, *args, **kwargs):\n"
        "    if 'file-001' in str(path): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    write(path, *args, **kwargs)\n"
        "module.write_video = killed\n"
        "test._write(Path(sys.argv[1]))\n"
    )
    repository = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "set")], cwd=repository, check=False)
    assert done.returncode == -signal.SIGKILL
    assert _writer(tmp_path / "set").episode_ids == {"episode-0"}
    assert "never finished" in ingest(tmp_path / "set").refused[0].reason
    _write(tmp_path / "set")
    assert len(ingest(tmp_path / "set").episodes) == 3


def test_writer_refuses_what_it_cannot_keep(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "set")
    with pytest.raises(InvalidInput, match="without episodes"):
        writer.finish()
    writer.add_episode(**_episode(0))
    with pytest.raises(InvalidInput, match="there already"):
        writer.add_episode(**_episode(0))
    bad: list[tuple[type[InvalidInput], str, dict[str, Any]]] = [
        (MissingCamera, "cameras", {"frames": {}}),
        (LengthMismatch, "wrist", {"frames": {name: moving_frames(4) for name in CAMERAS}}),
        (InvalidStates, "NaN", {"action": np.full((4, 7), np.nan)}),
        (InvalidStates, "action", {"action": np.zeros((4, 8))}),
        (InvalidStates, "the others", {"joint_position": None}),
    ]
    for error, message, changes in bad:
        with pytest.raises(error, match=message):
            writer.add_episode(**_episode(1, **changes))
    with pytest.raises(InvalidInput, match="another robot"):
        _writer(tmp_path / "set", robot="panda")
    with pytest.raises(InvalidInput, match="already holds"):
        _writer(tmp_path / "set", resume=False)


def test_many_episodes_in_one_file(dataset: Path) -> None:
    before = ingest(dataset).episodes
    wrist = [episode.cameras["wrist"].read().astype(int) for episode in before]
    _merge_into_one_file(dataset)
    after = ingest(dataset)
    assert after.refused == ()
    assert len(list((dataset / "data").rglob("*.parquet"))) == 1
    for old, frames, new in zip(before, wrist, after.episodes, strict=True):
        np.testing.assert_array_equal(old.cartesian_position, new.cartesian_position)
        assert np.abs(frames - new.cameras["wrist"].read()).mean() < 4.0


def _merge_into_one_file(root: Path) -> None:
    """Re-encode and rewrite a dataset as `lerobot` itself lays it out: all episodes in the first file of each kind."""
    rows = pd.read_parquet(root / "meta/episodes")
    episodes = ingest(root).episodes
    for name in CAMERAS:
        folder = root / f"videos/observation.images.{name}"
        frames = np.concatenate([episode.cameras[name].read() for episode in episodes])
        shutil.rmtree(folder)
        write_video(folder / "chunk-000/file-000.mp4", frames, 5.0)
        for edge in ("from", "to"):
            rows[f"videos/observation.images.{name}/{edge}_timestamp"] = rows[f"dataset_{edge}_index"] / 5.0
        rows[f"videos/observation.images.{name}/file_index"] = 0
    data = pa.concat_tables(pq.read_table(path) for path in sorted((root / "data").rglob("*.parquet")))
    rows["data/file_index"] = rows["meta/episodes/file_index"] = 0
    for folder, table in (("data", data), ("meta/episodes", pa.Table.from_pandas(rows, preserve_index=False))):
        shutil.rmtree(root / folder)
        (root / folder / "chunk-000").mkdir(parents=True)
        pq.write_table(table, root / folder / "chunk-000/file-000.parquet")


def _droid_v21(root: Path, count: int = 5) -> Path:
    """A v2.1 dataset with DROID's names, one file an episode."""
    features: dict[str, Any] = {
        f"observation.images.{name}": {"dtype": "video", "shape": [64, 96, 3]}
        for name in ("exterior_1_left", "wrist_left")
    }
    widths = {"observation.state.cartesian_position": 6, "observation.state.gripper_position": 1}
    widths |= {"action.cartesian_position": 6, "action.gripper_position": 1, "is_episode_successful": 1}
    features |= {name: {"dtype": "float32", "shape": [width]} for name, width in widths.items()}
    rows = []
    for index in range(2):
        numbers = states(count, index)
        columns: dict[str, Any] = {
            name: list(numbers[:, :6]) if width == 6 else numbers[:, 6] for name, width in widths.items()
        }
        columns["is_episode_successful"] = [index == 0] * count
        columns |= {"episode_index": [index] * count, "frame_index": range(count)}
        path = root / f"data/chunk-000/episode_{index:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)
        for name in ("exterior_1_left", "wrist_left"):
            video = root / f"videos/chunk-000/observation.images.{name}/episode_{index:06d}.mp4"
            write_video(video, moving_frames(count, seed=index), 15.0)
        rows.append({"episode_index": index, "tasks": ["lift"], "length": count})
    (root / "meta").mkdir()
    (root / "meta/episodes.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    write_json(
        root / "meta/info.json",
        {
            "codebase_version": "v2.1",
            "robot_type": "Franka",
            "fps": 15,
            "chunks_size": 1000,
            "total_episodes": 2,
            "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
            "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
            "features": features,
        },
    )
    return root


def test_v21_with_droid_names(tmp_path: Path) -> None:
    report = ingest(_droid_v21(tmp_path / "old"))
    assert report.refused == ()
    first, second = report.episodes
    assert (first.id, first.fps, first.instruction, first.robot) == ("old-000000", 15.0, "lift", "Franka")
    assert (first.success, second.success) == (True, False)
    assert set(first.cameras) == {"exterior_1", "wrist"}
    assert first.action is not None
    assert first.action.values.shape == (5, 7)
    assert first.source.format == "lerobot-v2.1"


class _Kinematics:
    def forward(self, joint_position: FloatArray) -> FloatArray:
        return joint_position[:, :6] * 2.0


def _png(frame: np.ndarray[Any, Any]) -> bytes:
    codec = av.CodecContext.create("png", "w")
    assert isinstance(codec, VideoCodecContext)
    codec.height, codec.width, codec.pix_fmt, codec.framerate = frame.shape[0], frame.shape[1], "rgb24", 1  # type: ignore[assignment]
    return bytes(codec.encode(av.VideoFrame.from_ndarray(frame, format="rgb24"))[0])


def test_openpi_names_need_kinematics_and_hold_images(tmp_path: Path) -> None:
    root, frames = tmp_path / "openpi", moving_frames(4)
    write_json(
        root / "meta/info.json",
        {
            "codebase_version": "v2.1",
            "fps": 15,
            "total_episodes": 1,
            "data_path": "data/{episode_index}.parquet",
            "features": {
                "exterior_image_1_left": {"dtype": "image", "shape": [64, 96, 3]},
                "joint_position": {"dtype": "float32", "shape": [7]},
                "gripper_position": {"dtype": "float32", "shape": [1]},
                "actions": {"dtype": "float32", "shape": [8]},
            },
        },
    )
    (root / "meta/episodes.jsonl").write_text('{"episode_index": 0, "tasks": ["lift"], "length": 4}\n')
    (root / "data").mkdir()
    pq.write_table(
        pa.table(
            {
                "exterior_image_1_left": [{"bytes": _png(frame), "path": ""} for frame in frames],
                "joint_position": [[0.5] * 7] * 4,
                "gripper_position": [0.0] * 4,
                "actions": [[0.0] * 8] * 4,
                "episode_index": [0] * 4,
                "frame_index": range(4),
            }
        ),
        root / "data/0.parquet",
    )
    assert "UndeclaredLayout" in ingest(root).refused[0].reason
    (episode,) = ingest(root, kinematics=_Kinematics()).episodes
    np.testing.assert_allclose(episode.cartesian_position, np.ones((4, 6)))
    assert episode.action is None  # velocities or positions: nothing says which
    np.testing.assert_array_equal(episode.cameras["exterior_1"].read(1, 3), frames[1:3])


def test_undeclared_columns_are_refused_until_they_are_declared(dataset: Path) -> None:
    _rename_features(dataset, {"observation.state.cartesian_position": "pose"})
    (refusal,) = ingest(dataset).refused
    assert re.search(
        r"UndeclaredLayout: .*nothing says which features .*dreamarena\.toml or pass --layout", refusal.reason
    )
    layout = dataset.parent / "layout.toml"
    layout.write_text(
        'format = "lerobot"\nrobot = "widowx"\n[cameras]\nwrist = "observation.images.wrist"\n'
        '[state]\nkind = "recorded"\n'
        '[state.cartesian_position]\nsource = "pose"\ncolumns = [0, 1, 2, 3, 4, 5]\n'
        "scale = [0.001, 0.001, 0.001, 1, 1, 1]\n"
        '[state.gripper_position]\nsource = "observation.state"\ncolumns = [6]\nopen = 1.0\nclosed = 0.0\n'
    )
    first = ingest(dataset, layout).episodes[0]
    np.testing.assert_allclose(
        first.cartesian_position[:, :3], 0.001 * _episode(0)["cartesian_position"][:, :3], atol=1e-6
    )
    np.testing.assert_allclose(first.gripper_position, 1 - _episode(0)["gripper_position"], atol=1e-6)
    assert (first.robot, set(first.cameras)) == ("widowx", {"wrist"})


def _rename_features(root: Path, names: Mapping[str, str]) -> None:
    info = json.loads((root / "meta/info.json").read_text())
    info["features"] = {names.get(name, name): feature for name, feature in info["features"].items()}
    write_json(root / "meta/info.json", info)
    for path in (root / "data").rglob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.rename_columns([names.get(name, name) for name in table.column_names]), path)


def _first(root: Path, kind: str) -> Path:
    return root / {"data": "data/chunk-000/file-000.parquet"}.get(
        kind, "videos/observation.images.wrist/chunk-000/file-000.mp4"
    )


BAD: dict[str, tuple[Callable[[Path], object], str, int]] = {
    "truncated video": (lambda root: truncated(_first(root, "video"), 0.7), r"TruncatedVideo: .*file-000\.mp4", 2),
    "missing video": (lambda root: _first(root, "video").unlink(), r"MissingCamera: .*file-000\.mp4", 2),
    "broken parquet": (lambda root: truncated(_first(root, "data")), r"BadAnnotation: .*file-000\.parquet is not", 2),
    "another rate": (lambda root: edit_json(root / "meta/info.json", fps=10), r"LengthMismatch: .*plays at 5", 0),
    "unknown version": (
        lambda root: edit_json(root / "meta/info.json", codebase_version="v9"),
        r"is 'v9', not v3\.0 or v2\.1",
        0,
    ),
    "template out": (
        lambda root: edit_json(root / "meta/info.json", data_path="../{chunk_index}/{file_index}"),
        r"leads out",
        0,
    ),
    "odd template": (lambda root: edit_json(root / "meta/info.json", data_path="{x.__class__}"), r"it must use", 0),
    "promises more": (
        lambda root: edit_json(root / "meta/info.json", total_episodes=5),
        r"promises 5 episodes, but 3",
        3,
    ),
    "info not JSON": (
        lambda root: (root / "meta/info.json").write_text("{"),
        r"BadAnnotation: .*info\.json is not JSON",
        0,
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_datasets_are_named(dataset: Path, case: str) -> None:
    damage, reason, good = BAD[case]
    damage(dataset)
    try:
        report = ingest(dataset)
    except InvalidInput as error:
        pytest.fail(f"everything was refused: {error}")
    assert len(report.episodes) == good
    assert report.refused
    assert re.search(reason, report.refused[0].reason), report.refused[0].reason


def test_rows_and_cells_that_are_missing(dataset: Path) -> None:
    path = _first(dataset, "data")
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 5), path)
    assert "has 5 rows, but its metadata says 6" in ingest(dataset).refused[0].reason
    index = table.column_names.index("observation.state.gripper_position")
    pq.write_table(table.set_column(index, table.column_names[index], pa.array([None] * 6, pa.float32())), path)
    assert "has 6 empty cells" in ingest(dataset).refused[0].reason


def test_statistics_of_parts_are_those_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(size=(30, 4))
    whole = vector_stats(values)
    parts = aggregate_stats([vector_stats(values[:7]), vector_stats(values[7:])])
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(parts[name], whole[name])


def test_image_statistics_are_those_of_the_pixels() -> None:
    frames = moving_frames(20)
    stats, pixels = image_stats(frames), frames.reshape(-1, 3) / 255.0
    np.testing.assert_allclose(stats["mean"].ravel(), pixels.mean(0), atol=1e-9)
    np.testing.assert_allclose(stats["std"].ravel(), pixels.std(0), atol=1e-9)
    np.testing.assert_allclose(stats["q50"].ravel(), np.quantile(pixels, 0.5, axis=0), atol=1 / 255)
