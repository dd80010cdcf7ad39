"""Writes LeRobotDataset v3.0, one episode at a time, so that a kill loses at most the episode being written.

Every episode gets files of its own (v3.0 addresses them by chunk and file index): the videos first, then the
frames' parquet, then its row of `meta/episodes`, which is what makes the episode exist. `info.json`,
`tasks.parquet` and `stats.json` are derived from those rows by `finish`. Each file is written elsewhere, synced
and renamed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from arena.contracts import ActionSpace, FloatArray, Frames, InvalidInput
from arena.episodes import lerobot_layout as layout
from arena.episodes.atomic import atomic_write
from arena.episodes.encode import write_video
from arena.episodes.errors import InvalidStates, LengthMismatch, MissingCamera
from arena.episodes.files import read_json, read_parquet
from arena.episodes.lerobot_stats import Stats, aggregate_stats, image_stats, vector_stats
from arena.episodes.lerobot_tables import feature_descriptions, frames_table, parquet_bytes, tasks_table


@dataclass(frozen=True)
class _Columns:
    """One episode's numbers by feature name: `(T, D)` float32 each."""

    values: Mapping[str, FloatArray]

    @property
    def widths(self) -> dict[str, int]:
        return {name: array.shape[1] for name, array in self.values.items()}

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))


class LeRobotWriter:
    """Writes episodes of one robot to `root` as a LeRobotDataset v3.0.

    `cameras` maps each camera's name to its (H, W), `fps` is the frames' rate, `action_space` says what the
    actions are. With `resume`, what an earlier, perhaps killed, writer finished is kept and added to; without it an
    existing dataset is an `InvalidInput`. One writer per `root` at a time.
    """

    def __init__(
        self,
        root: Path,
        *,
        fps: float,
        cameras: Mapping[str, tuple[int, int]],
        robot: str,
        action_space: ActionSpace,
        resume: bool = True,
        crf: int = 18,
    ) -> None:
        if not fps > 0 or not cameras or any("/" in name for name in cameras):
            raise InvalidInput(f"{root}: a dataset needs a positive fps and cameras without '/' in their names")
        self._root, self._fps, self._cameras, self._crf = root, fps, dict(cameras), crf
        self._declaration = {
            "format": 1,
            "robot": robot,
            "fps": fps,
            "cameras": {name: list(size) for name, size in cameras.items()},
            "action_space": action_space.value,
            "units": "m, rad, extrinsic-xyz Euler angles of the end effector in the robot's base frame",
            "gripper": "0 open, 1 closed",
        }
        self._action_space = action_space
        self._rows = self._read_rows() if root.exists() else []
        self._open(resume)

    def _open(self, resume: bool) -> None:
        path = self._root / layout.DECLARATION
        if not path.exists():
            if (self._root / layout.INFO).exists():
                raise InvalidInput(f"{self._root} holds a LeRobot dataset that was not written here; it is left alone")
            atomic_write(path, json.dumps(self._declaration, indent=1).encode())
        elif not resume:
            raise InvalidInput(f"{self._root} already holds a dataset; resume it or choose another folder")
        elif read_json(path) != self._declaration:
            raise InvalidInput(f"{path} declares another robot, rate, cameras or action space; choose another folder")

    def _read_rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for path in sorted((self._root / "meta" / "episodes").glob("chunk-*/file-*.parquet")):
            rows += read_parquet(path).to_pylist()
        return sorted(rows, key=lambda row: int(row["episode_index"]))

    @property
    def episode_ids(self) -> set[str]:
        """Ids of the episodes that are safely on disk, from this writer and from those before it."""
        return {str(row["episode_id"]) for row in self._rows}

    def add_episode(
        self,
        id: str,
        frames: Mapping[str, Frames],
        cartesian_position: FloatArray,
        gripper_position: FloatArray,
        joint_position: FloatArray | None,
        action: FloatArray | None,
        instruction: str,
        success: bool | None,
        task: str,
        metadata: Mapping[str, Any],
    ) -> None:
        """Write one episode of `T` frames; when this returns it survives a power cut.

        `frames` maps each camera to `(T, H, W, 3)` uint8; `cartesian_position` is `(T, 6)`, `gripper_position`
        `(T, 1)` or `(T,)`, `joint_position` `(T, 7)`; `action` `(T, width)` in the writer's action space, row `t`
        being commanded at frame `t`. `metadata` has to be JSON. Joints and actions are there for all episodes or none.

        Raises `InvalidInput` for an id that is there already, `LengthMismatch`, `MissingCamera` or `InvalidStates`.
        """
        if id in self.episode_ids:
            raise InvalidInput(f"{self._root}: episode {id!r} is there already")
        columns = self._check_columns(id, cartesian_position, gripper_position, joint_position, action)
        self._check_frames(id, frames, len(columns))
        index = len(self._rows)
        stats = {name: vector_stats(values) for name, values in columns.values.items()}
        for name in self._cameras:
            write_video(self._path(layout.VIDEO_V30, index, name), frames[name], self._fps, crf=self._crf)
            stats[layout.CAMERA + name] = image_stats(frames[name])
        tasks = list(dict.fromkeys(row["tasks"][0] for row in self._rows))
        task_index = tasks.index(instruction) if instruction in tasks else len(tasks)
        self._write_table(layout.DATA_V30, index, self._frames_table(columns, index, task_index))
        row = self._episode_row(index, len(columns), instruction, stats)
        row |= {"episode_id": id, "success": success, "task_group": task, "robot": self._declaration["robot"]}
        row["metadata_json"] = json.dumps(dict(metadata), sort_keys=True, allow_nan=False)
        row["columns_json"] = json.dumps(columns.widths)
        self._write_table(layout.EPISODES_V30, index, pa.Table.from_pylist([row], schema=_episode_schema(row)))
        self._rows.append(row)

    def finish(self) -> None:
        """Write `info.json`, `tasks.parquet` and `stats.json` from the episodes on disk. May be called again."""
        if not self._rows:
            raise InvalidInput(f"{self._root}: a dataset without episodes cannot be finished")
        tasks = list(dict.fromkeys(row["tasks"][0] for row in self._rows))
        atomic_write(self._root / layout.TASKS_V30, parquet_bytes(tasks_table(tasks)))
        stats = {name: aggregate_stats([_row_stats(row, name) for row in self._rows]) for name in self._features()}
        listed = {name: {key: value.tolist() for key, value in part.items()} for name, part in stats.items()}
        atomic_write(self._root / layout.STATS, json.dumps(listed, indent=1).encode())
        # Last, because it is what makes a folder a dataset.
        atomic_write(self._root / layout.INFO, json.dumps(self._info(len(tasks)), indent=1).encode())

    def _check_columns(
        self,
        id: str,
        cartesian_position: FloatArray,
        gripper_position: FloatArray,
        joint_position: FloatArray | None,
        action: FloatArray | None,
    ) -> _Columns:
        length = len(cartesian_position)
        gripper = np.reshape(gripper_position, (-1, 1))
        if len(gripper) != length:
            raise LengthMismatch(f"episode {id!r}: {length} Cartesian positions but {len(gripper)} gripper positions")
        values = {
            layout.STATE: np.concatenate([cartesian_position, gripper], axis=1),
            layout.CARTESIAN: cartesian_position,
            layout.GRIPPER: gripper,
        }
        widths = {layout.STATE: 7, layout.CARTESIAN: 6, layout.GRIPPER: 1}
        for name, array, width in (
            (layout.JOINTS, joint_position, 7),
            (layout.ACTION, action, self._action_space.width),
        ):
            if array is not None:
                values[name], widths[name] = array, width
        for name, array in values.items():
            if np.shape(array) != (length, widths[name]) or length == 0:
                raise InvalidStates(f"episode {id!r}: {name} is {np.shape(array)}, not {(length, widths[name])}")
            if not np.isfinite(array).all():
                raise InvalidStates(f"episode {id!r}: {name} holds NaN or infinite numbers")
        if self._rows and widths != self._features(videos=False):
            raise InvalidStates(
                f"episode {id!r} has {sorted(widths)}, the others {sorted(self._features(videos=False))}"
            )
        return _Columns({name: np.asarray(array, dtype=np.float32) for name, array in values.items()})

    def _check_frames(self, id: str, frames: Mapping[str, Frames], length: int) -> None:
        if set(frames) != set(self._cameras):
            raise MissingCamera(f"episode {id!r} has cameras {sorted(frames)}, the dataset {sorted(self._cameras)}")
        for name, (height, width) in self._cameras.items():
            if frames[name].shape != (length, height, width, 3):
                raise LengthMismatch(
                    f"episode {id!r}: {name} has frames {frames[name].shape}, not {(length, height, width, 3)}"
                )

    def _path(self, template: str, index: int, camera: str = "") -> Path:
        chunk_index, file_index = divmod(index, layout.CHUNK_SIZE)
        key = layout.CAMERA + camera
        return self._root / template.format(chunk_index=chunk_index, file_index=file_index, video_key=key)

    def _write_table(self, template: str, index: int, table: pa.Table) -> None:
        atomic_write(self._path(template, index), parquet_bytes(table))

    def _frames_table(self, columns: _Columns, index: int, task_index: int) -> pa.Table:
        return frames_table(
            columns.values, self._fps, episode_index=index, first=self._total_frames(), task_index=task_index
        )

    def _episode_row(self, index: int, length: int, instruction: str, stats: Mapping[str, Stats]) -> dict[str, Any]:
        chunk_index, file_index = divmod(index, layout.CHUNK_SIZE)
        row: dict[str, Any] = {"episode_index": index, "tasks": [instruction], "length": length}
        row |= {"dataset_from_index": self._total_frames(), "dataset_to_index": self._total_frames() + length}
        prefixes = ["data", "meta/episodes", *(f"videos/{layout.CAMERA}{name}" for name in self._cameras)]
        for prefix in prefixes:
            row |= {f"{prefix}/chunk_index": chunk_index, f"{prefix}/file_index": file_index}
        for prefix in prefixes[2:]:
            row |= {f"{prefix}/from_timestamp": 0.0, f"{prefix}/to_timestamp": length / self._fps}
        for name, part in stats.items():
            row |= {f"stats/{name}/{key}": value.tolist() for key, value in part.items()}
        return row

    def _total_frames(self) -> int:
        return int(self._rows[-1]["dataset_to_index"]) if self._rows else 0

    def _features(self, *, videos: bool = True) -> dict[str, int]:
        """Widths of the features that have statistics; a camera counts as 3 channels."""
        widths: dict[str, int] = json.loads(self._rows[0]["columns_json"])
        return widths | ({layout.CAMERA + name: 3 for name in self._cameras} if videos else {})

    def _info(self, total_tasks: int) -> dict[str, Any]:
        return {
            "codebase_version": layout.V30,
            "robot_type": self._declaration["robot"],
            "total_episodes": len(self._rows),
            "total_frames": self._total_frames(),
            "total_tasks": total_tasks,
            "chunks_size": layout.CHUNK_SIZE,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": int(self._fps) if float(self._fps).is_integer() else self._fps,
            "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": layout.DATA_V30,
            "video_path": layout.VIDEO_V30,
            "features": feature_descriptions(self._features(videos=False), self._cameras, self._fps),
        }


def _row_stats(row: Mapping[str, Any], feature: str) -> Stats:
    prefix = f"stats/{feature}/"
    return {key.removeprefix(prefix): np.asarray(row[key]) for key in row if key.startswith(prefix)}


def _episode_schema(row: Mapping[str, Any]) -> pa.Schema:
    """Inferred types, but for the success, which may be unknown in one episode and known in the next."""
    inferred = pa.Table.from_pylist([dict(row)]).schema
    return inferred.set(inferred.get_field_index("success"), pa.field("success", pa.bool_()))
