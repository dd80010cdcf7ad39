"""Exports are what the published layouts say, survive kills and full disks, and are read back as what was written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from arena.contracts import ActionChunk, ActionSpace, Episode, FloatArray, InvalidInput
from arena.episodes.atomic import read_manifest
from arena.episodes.lerobot import find_lerobot
from arena.episodes.video import read_index
from arena.synthesis.export import ExportSpec, Trajectory, export_dataset
from arena.synthesis.export.films import grouped
from arena.synthesis.export.trajectory import Slice
from tests.arena.synthesis.making import CAMERAS, droid, origin, trajectory

LENGTHS = (12, 7, 9, 12, 5)
OPENPI_NAMES = {
    "exterior_image_1_left", "exterior_image_2_left", "wrist_image_left", "joint_position", "gripper_position",
    "actions",
}  # fmt: skip
OWN_COLUMNS = {"timestamp", "frame_index", "episode_index", "index", "task_index"}


class Straight:
    """Kinematics that tell joints apart: the pose is the first six joints."""

    def forward(self, joint_position: FloatArray) -> FloatArray:
        return joint_position[:, :6]


def some() -> Iterator[Trajectory]:
    return (trajectory(seed, frames) for seed, frames in enumerate(LENGTHS))


def read_back(root: Path) -> list[Episode]:
    return [pending.load() for pending in find_lerobot(root, None, Straight())]


def info_of(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "meta/info.json").read_text())
    return found


@pytest.mark.parametrize("limits", [{"data": 100, "video": 200}, {"data": 0.001, "video": 0.01}])
def test_v30_is_read_back_as_it_was(tmp_path: Path, limits: dict[str, float]) -> None:
    # The second limits are so small that files follow one another.
    report = export_dataset(tmp_path / "out", some(), ExportSpec(limits_mb=limits))
    assert (report.episodes, report.synthetic, report.frames, report.resumed) == (5, 5, sum(LENGTHS), 0)
    films = list((tmp_path / "out/videos").rglob("*.mp4"))
    assert (len(films) > 2) == (limits["video"] < 1)
    for found, wanted in zip(read_back(tmp_path / "out"), some(), strict=True):
        assert (found.id, found.instruction, found.task, found.success) == (
            wanted.id, wanted.instruction, wanted.task, True,
        )  # fmt: skip
        assert found.action is not None
        assert found.action.space is ActionSpace.CARTESIAN_POSITION
        np.testing.assert_allclose(found.state, wanted.state, atol=1e-6)
        np.testing.assert_allclose(found.action.values, wanted.action.values, atol=1e-6)
        for camera, source in wanted.cameras.items():
            off = np.abs(found.cameras[camera].read().astype(int) - source.read())
            # Two pixels a frame are 20 levels or more somewhere: a frame's neighbour would not pass.
            assert off.mean() < 3
        assert found.metadata["noise"] == wanted.origin.details["noise"]
        assert found.metadata["rollout_id"] == wanted.origin.rollout_id


def test_v30_has_the_files_and_columns_of_lerobot(tmp_path: Path) -> None:
    root = export_dataset(tmp_path / "out", some(), ExportSpec()).path
    info = info_of(root)
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (5, sum(LENGTHS), 2)
    frames = pq.read_table(root / "data/chunk-000/file-000.parquet")
    assert set(frames.column_names) == {
        name for name, feature in info["features"].items() if feature["dtype"] != "video"
    }
    assert frames["index"].to_pylist() == list(range(sum(LENGTHS)))
    rows = pd.read_parquet(root / "meta/episodes/chunk-000/file-000.parquet")
    assert rows["dataset_from_index"].tolist() == [0, *np.cumsum(LENGTHS)[:-1]]
    key = "videos/observation.images.wrist"
    assert rows[f"{key}/from_timestamp"].tolist() == pytest.approx([0, *np.cumsum(LENGTHS)[:-1] / 10])
    assert set(rows[f"{key}/file_index"]) == {0}
    assert rows[["synthetic", "seed", "judge_success_probability"]].to_numpy().tolist()[2] == [True, 2, 0.52]
    tasks = pd.read_parquet(root / "meta/tasks.parquet")
    assert tasks.loc["close the drawer", "task_index"] == 1
    stats = json.loads((root / "meta/stats.json").read_text())
    assert set(stats) == set(info["features"])
    everything = np.concatenate([each.action.values for each in some()])
    np.testing.assert_allclose(stats["action"]["std"], everything.std(0), rtol=1e-4, atol=1e-6)


def test_concatenated_films_show_every_frame_on_time(tmp_path: Path) -> None:
    root = export_dataset(tmp_path / "out", some(), ExportSpec()).path
    seconds = read_index(root / "videos/observation.images.wrist/chunk-000/file-000.mp4").seconds
    np.testing.assert_allclose(seconds, np.arange(sum(LENGTHS)) / 10, atol=1e-6)


def test_openpi_is_read_back_with_its_exact_names(tmp_path: Path) -> None:
    made = [droid(seed) for seed in range(3)]
    spec = ExportSpec("openpi-v2.1", "pi05_droid_finetune", velocity_scale=0.5)
    root = export_dataset(tmp_path / "out", made, spec).path
    info = info_of(root)
    assert info["codebase_version"] == "v2.1"
    assert set(info["features"]) == OPENPI_NAMES | OWN_COLUMNS
    stored = pd.read_parquet(root / "data/chunk-000/episode_000001.parquet")
    np.testing.assert_allclose(np.stack(stored["actions"])[:, :7] * 0.5, made[1].action.values[:, :7], atol=1e-6)
    for found, wanted in zip(read_back(root), made, strict=True):
        assert found.action is not None
        assert found.action.space is ActionSpace.JOINT_VELOCITY
        np.testing.assert_allclose(found.action.values, wanted.action.values, atol=1e-6)
        np.testing.assert_allclose(found.joint_position, wanted.joint_position, atol=1e-6)
        assert set(found.cameras) == {"exterior_1", "exterior_2", "wrist"}
        assert np.abs(found.cameras["wrist"].read().astype(int) - wanted.cameras["wrist"].read()).mean() < 3
    lines = [json.loads(line) for line in (root / "meta/episodes_stats.jsonl").read_text().splitlines()]
    assert [line["episode_index"] for line in lines] == [0, 1, 2]
    assert set(lines[0]["stats"]) == set(info["features"])


def test_a_camera_that_is_missing_is_black_only_where_that_was_asked_for(tmp_path: Path) -> None:
    lacking = [droid(0, named=("exterior_1", "wrist"))]
    with pytest.raises(InvalidInput, match="needs the camera 'exterior_2'"):
        export_dataset(tmp_path / "out", lacking, ExportSpec("openpi-v2.1"))
    root = export_dataset(tmp_path / "black", lacking, ExportSpec("openpi-v2.1", blank_cameras=True)).path
    assert read_back(root)[0].cameras["exterior_2"].read().max() < 20


@pytest.mark.parametrize(
    ("spec", "made", "message"),
    [
        ({"format": "lerobot-v3"}, trajectory(0), "did you mean 'lerobot-v3.0'"),
        ({"target": "pi05"}, trajectory(0), "there is no target 'pi05'"),
        ({"target": "pi05_droid_finetune"}, trajectory(0), "reads openpi-v2.1"),
        ({"format": "openpi-v2.1"}, trajectory(0), "holds joint_velocity or joint_position actions"),
        ({"format": "openpi-v2.1"}, droid(0, joint_position=None), None),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, spec: dict[str, Any], made: Trajectory, message: str | None
) -> None:
    with pytest.raises(InvalidInput, match=message or "needs joint positions") as error:
        export_dataset(tmp_path / "out", [made], ExportSpec(**spec))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_another_action_space_than_the_target_expects_is_refused() -> None:
    spec = ExportSpec("openpi-v2.1", "pi05_droid_finetune")
    with pytest.raises(InvalidInput, match="expects joint_velocity actions, but these are joint_position"):
        spec.check_space(ActionSpace.JOINT_POSITION)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (trajectory(1, fps=5.0), "has fps 5.0, but those before it 10.0"),
        (trajectory(1, named=("wrist",)), "has cameras"),
        (trajectory(0), "two trajectories have the id"),
    ],
)
def test_one_dataset_is_of_one_kind(tmp_path: Path, second: Trajectory, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        export_dataset(tmp_path / "out", [trajectory(0), second], ExportSpec())
    with pytest.raises(InvalidInput, match="no trajectory"):
        export_dataset(tmp_path / "none", [], ExportSpec())


def test_numbers_of_other_lengths_are_refused() -> None:
    with pytest.raises(InvalidInput, match="12 states, but 9 exterior_1"):
        trajectory(0, cameras=trajectory(0, 9).cameras)
    with pytest.raises(InvalidInput, match="12 states, but 3 actions"):
        trajectory(0, action=ActionChunk(np.zeros((3, 7)), ActionSpace.CARTESIAN_POSITION, 10.0))


class _Unreadable:
    """Frames that must not be decoded again."""

    shape = (12, 64, 96, 3)

    def read(self, start: int = 0, stop: int | None = None) -> Any:
        raise AssertionError("decoded again")


def test_an_interrupted_export_goes_on_and_encodes_nothing_twice(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def broken() -> Iterator[Trajectory]:
        yield from [trajectory(0), trajectory(1)]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_dataset(out, broken(), ExportSpec(workers=1))
    assert not out.exists()
    unread = trajectory(0, cameras={name: _Unreadable() for name in CAMERAS})
    report = export_dataset(out, [unread, trajectory(1), trajectory(2)], ExportSpec(workers=1))
    assert report.resumed >= 1
    assert [len(episode) for episode in read_back(out)] == [12, 12, 12]
    read_manifest(out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_was_exported_before_is_not_done_again_and_anything_else_is_left_alone(tmp_path: Path) -> None:
    export_dataset(tmp_path / "out", some(), ExportSpec())
    assert export_dataset(tmp_path / "out", some(), ExportSpec()).resumed == 5
    with pytest.raises(InvalidInput, match="already exists"):
        export_dataset(tmp_path / "out", [trajectory(9)], ExportSpec())


def test_other_trajectories_than_before_the_interruption_are_not_mixed_up(tmp_path: Path) -> None:
    def broken(first: int) -> Iterator[Trajectory]:
        yield from [trajectory(first), trajectory(first + 1), trajectory(first + 2)]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_dataset(tmp_path / "out", broken(0), ExportSpec(workers=1))
    export_dataset(tmp_path / "out", [trajectory(7)], ExportSpec())
    assert [episode.id for episode in read_back(tmp_path / "out")] == ["rollout-7"]


@pytest.mark.parametrize("room", [3000, 60_000])
def test_a_full_disk_is_one_line_and_leaves_nothing_visible(tmp_path: Path, room: int) -> None:
    # Files may not grow beyond `room` bytes, which fails like a full disk, first within an mp4, then in the whole.
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from arena.synthesis.export import ExportSpec, export_dataset\n"
        "from tests.arena.synthesis.making import trajectory\n"
        "from arena.contracts import InvalidInput\n"
        f"made = [trajectory(seed, 60) for seed in range(6)]\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, resource.RLIM_INFINITY))\n"
        "try: export_dataset(Path(sys.argv[1]), made, ExportSpec())\n"
        "except InvalidInput as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("there is no room left for"), run.stdout
    assert run.stdout.count("\n") == 1
    assert not (tmp_path / "out").exists()
    report = export_dataset(tmp_path / "out", [trajectory(seed, 60) for seed in range(6)], ExportSpec())
    assert report.resumed == int(run.stdout.split(": ")[1].split()[0])
    assert [len(episode) for episode in read_back(tmp_path / "out")] == [60] * 6


def test_two_processes_do_not_write_one_dataset(tmp_path: Path) -> None:
    def meanwhile() -> Iterator[Trajectory]:
        yield trajectory(0)
        with pytest.raises(InvalidInput, match="another process is writing"):
            export_dataset(tmp_path / "out", some(), ExportSpec())

    assert export_dataset(tmp_path / "out", meanwhile(), ExportSpec()).episodes == 1


def test_the_card_says_what_it_is_and_what_not_to_do(tmp_path: Path) -> None:
    recorded = trajectory(1, origin=origin(1, synthetic=False, world="", judge="", policy=""))
    root = export_dataset(tmp_path / "out", [trajectory(0), recorded], ExportSpec()).path
    card = (root / "README.md").read_text()
    assert "**1 are synthetic**, 1 were recorded" in card
    assert "cartesian_position" in card
    assert "must not be used for" in card
    assert "dream (aaaaaaaaaaaa), 1 episodes" in card
    rows = pd.read_parquet(root / "meta/episodes/chunk-000/file-000.parquet")
    assert rows["synthetic"].tolist() == [True, False]


def test_memory_stays_where_it_is_however_many_frames(tmp_path: Path) -> None:
    class Lazy:
        shape = (400, 64, 96, 3)
        most = 0

        def read(self, start: int = 0, stop: int | None = None) -> Any:
            Lazy.most = max(Lazy.most, (stop or 400) - start)
            return np.zeros(((stop or 400) - start, 64, 96, 3), np.uint8)

    export_dataset(tmp_path / "out", [trajectory(0, 400, cameras={"wrist": Lazy()})], ExportSpec())
    assert 0 < Lazy.most <= 32


def test_films_share_a_file_up_to_its_limit() -> None:
    assert grouped([3, 3, 3, 9, 1], 6) == [range(0, 2), range(2, 3), range(3, 4), range(4, 5)]
    assert grouped([], 6) == []


def test_a_slice_reads_what_it_covers() -> None:
    source = trajectory(0).cameras["wrist"]
    part = Slice(source, 3, 9)
    assert part.shape == (6, 64, 96, 3)
    assert np.array_equal(part.read(1, 4), source.read(4, 7))
    with pytest.raises(InvalidInput):
        part.read(2, 7)
