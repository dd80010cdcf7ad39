"""Reads LeRobotDataset v3.0 (many episodes a file) and v2.1 (one episode a file)."""

from __future__ import annotations

import functools
import json
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from arena.contracts import Episode, FloatArray, FrameSource, Kinematics, Source
from arena.episodes import lerobot_layout as layout
from arena.episodes.assemble import Pending, check_episode
from arena.episodes.declaration import Declaration
from arena.episodes.declared import declared_numbers
from arena.episodes.errors import BadAnnotation, LengthMismatch, MissingCamera
from arena.episodes.files import column, read_json, read_json_lines, read_parquet
from arena.episodes.lerobot_columns import lerobot_declaration
from arena.episodes.parquet_images import ParquetImages
from arena.episodes.video import VideoFrames, read_index

VERSIONS = (layout.V30, layout.V21)


def is_lerobot(root: Path) -> bool:
    """Whether `root` has the metadata of a LeRobot dataset, finished or not."""
    return (root / layout.INFO).is_file() or (root / layout.DECLARATION).is_file()


def find_lerobot(root: Path, declaration: Declaration | None, kinematics: Kinematics | None = None) -> list[Pending]:
    """The episodes of the dataset at `root`. Raises a subclass of `InvalidInput` where its metadata is bad."""
    dataset = _open(root, declaration, kinematics)
    promised = dataset.info.get("total_episodes")
    rows = dataset.rows[:promised] if isinstance(promised, int) and promised >= 0 else dataset.rows
    pending = [Pending(dataset.data_path(row), functools.partial(dataset.read, row)) for row in rows]
    if isinstance(promised, int) and promised > len(rows):
        missing = LengthMismatch(f"{root / layout.INFO} promises {promised} episodes, but {len(rows)} are listed")
        pending.append(Pending(root / layout.INFO, functools.partial(_refuse, missing)))
    return pending


def _refuse(error: LengthMismatch) -> Episode:
    raise error


def _open(root: Path, given: Declaration | None, kinematics: Kinematics | None) -> _Dataset:
    if not (root / layout.INFO).is_file():
        raise BadAnnotation(f"{root} has no {layout.INFO}: its recording was never finished; run it again to finish it")
    info = read_json(root / layout.INFO)
    version, features = info.get("codebase_version"), info.get("features")
    if version not in VERSIONS:
        raise BadAnnotation(f"{root / layout.INFO}: codebase_version is {version!r}, not {' or '.join(VERSIONS)}")
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise BadAnnotation(f"{root / layout.INFO} has no table of features")
    fps = info.get("fps")
    if not isinstance(fps, int | float) or not fps > 0:
        raise BadAnnotation(f"{root / layout.INFO}: fps is {fps!r}, not a positive number")
    rows = _rows_v30(root) if version == layout.V30 else read_json_lines(root / layout.EPISODES_V21)
    for row in rows:
        if not isinstance(row.get("episode_index"), int) or not isinstance(row.get("length"), int):
            raise BadAnnotation(f"{root}: an episode's metadata has no whole 'episode_index' and 'length'")
    rows.sort(key=lambda row: int(row["episode_index"]))
    declaration = lerobot_declaration(root, features, given)
    return _Dataset(root, version, info, features, float(fps), declaration, rows, kinematics)


def _rows_v30(root: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in sorted((root / "meta" / "episodes").glob("chunk-*/file-*.parquet")):
        table = read_parquet(path)
        rows += table.select([name for name in table.column_names if not name.startswith("stats/")]).to_pylist()
    if not rows:
        raise BadAnnotation(f"{root} is {layout.V30}, but meta/episodes lists no episode")
    return rows


@dataclass
class _Dataset:
    """A dataset's metadata, and the numbers of the data file that was read last: neighbours share it."""

    root: Path
    version: str
    info: Mapping[str, Any]
    features: Mapping[str, Any]
    fps: float
    declaration: Declaration
    rows: list[dict[str, Any]]
    kinematics: Kinematics | None
    _loaded: tuple[Path, dict[str, FloatArray]] | None = field(default=None, repr=False)

    def read(self, row: Mapping[str, Any]) -> Episode:
        """One episode by its row of metadata."""
        index, length = row["episode_index"], row["length"]
        path = self.data_path(row)
        where = Path(f"{path} (episode {index})")
        selected, first = self._numbers(path, where, index, length)
        numbers = declared_numbers(where, self.declaration, selected, self.fps, self.kinematics)
        instruction = self.declaration.instruction or _text(where, row.get("tasks"))
        return check_episode(
            Episode(
                id=str(row.get("episode_id") or f"{self.root.name}-{index:06d}"),
                cameras={
                    name: self._frames(row, feature, path, first) for name, feature in self.declaration.cameras.items()
                },
                fps=self.fps,
                cartesian_position=numbers.cartesian_position,
                gripper_position=numbers.gripper_position,
                instruction=instruction,
                source=Source(f"lerobot-{self.version}", str(self.root), index),
                joint_position=numbers.joint_position,
                action=numbers.action,
                success=self._success(where, row, selected),
                task=str(row.get("task_group") or self.declaration.task or instruction),
                robot=self.declaration.robot or str(row.get("robot") or self.info.get("robot_type") or ""),
                metadata=_metadata(where, row.get("metadata_json")),
            )
        )

    def data_path(self, row: Mapping[str, Any]) -> Path:
        """The parquet file that holds the episode's numbers."""
        return self._fill("data_path", self._indices(row, "data"))

    def _indices(self, row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        if self.version == layout.V21:
            size = self.info.get("chunks_size", layout.CHUNK_SIZE)
            if not isinstance(size, int) or size < 1:
                raise BadAnnotation(f"{self.root / layout.INFO}: chunks_size is {size!r}, not a positive number")
            return {"episode_chunk": row["episode_index"] // size, "episode_index": row["episode_index"]}
        names = ("chunk_index", "file_index")
        indices = {name: row.get(f"{prefix}/{name}") for name in names}
        for name, value in indices.items():
            if not isinstance(value, int):
                raise BadAnnotation(f"{self.root}: episode {row['episode_index']} has no whole {prefix}/{name}")
        return indices

    def _fill(self, template_name: str, fields: Mapping[str, Any]) -> Path:
        """A path from one of `info.json`'s templates, kept to the fields that it may have and inside the dataset."""
        template, where = str(self.info.get(template_name)), self.root / layout.INFO
        try:
            names = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
            if not names or names - set(fields):
                raise BadAnnotation(
                    f"{where}: {template_name} is {template!r}; it must use {', '.join(sorted(fields))}"
                )
            path = self.root / template.format(**fields)
        except ValueError as error:
            raise BadAnnotation(f"{where}: {template_name} is {template!r}: {error}") from None
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise BadAnnotation(f"{where}: {template_name} leads out of the dataset, to {path}")
        return path

    def _numbers(self, path: Path, where: Path, index: int, length: int) -> tuple[dict[str, FloatArray], int]:
        """The declared columns of one episode, and its first row in the file."""
        if self._loaded is None or self._loaded[0] != path:
            names = sorted({*_sources(self.declaration), "episode_index", "frame_index"})
            table = read_parquet(path, names)
            self._loaded = path, {name: column(path, table, name) for name in names}
        columns = self._loaded[1]
        chosen = np.flatnonzero(columns["episode_index"] == index)
        if len(chosen) != length:
            raise LengthMismatch(f"{where} has {len(chosen)} rows, but its metadata says {length}")
        if length and not np.array_equal(columns["frame_index"][chosen], np.arange(length)):
            raise LengthMismatch(f"{where}: frame_index does not count from 0 to {length - 1}")
        return {name: values[chosen] for name, values in columns.items()}, int(chosen[0]) if length else 0

    def _frames(self, row: Mapping[str, Any], feature: str, data: Path, first: int) -> FrameSource:
        dtype, length = self.features.get(feature, {}).get("dtype"), row["length"]
        if dtype == "image":
            return ParquetImages(data, feature, first, length)
        if dtype != "video":
            raise MissingCamera(f"{self.root / layout.INFO} has no video or image feature {feature!r}")
        path = self._fill("video_path", self._indices(row, f"videos/{feature}") | {"video_key": feature})
        if not path.is_file():
            raise MissingCamera(f"{path} ({feature}) is missing")
        info = read_index(path).info
        if info.fps and abs(info.fps - self.fps) > 0.01 * self.fps:
            raise LengthMismatch(f"{path} plays at {info.fps:g} frames a second, but {layout.INFO} says {self.fps:g}")
        if self.version == layout.V21:
            return VideoFrames(path, expected=length)
        start, stop = (row.get(f"videos/{feature}/{edge}_timestamp") for edge in ("from", "to"))
        if not isinstance(start, int | float) or not isinstance(stop, int | float) or not start < stop:
            raise BadAnnotation(
                f"{self.root}: episode {row['episode_index']} has no times in {path.name} for {feature}"
            )
        return VideoFrames.between(path, start, stop, length)

    def _success(self, where: Path, row: Mapping[str, Any], selected: Mapping[str, FloatArray]) -> bool | None:
        if isinstance(row.get("success"), bool):
            return bool(row["success"])
        name = self.declaration.success
        return bool(np.any(selected[name])) if name else None


def _sources(declaration: Declaration) -> set[str]:
    """The features that a declaration takes numbers from."""
    state, action = declaration.state, declaration.action
    taken = [state.cartesian_position, state.joint_position, state.delta, state.gripper_position.column]
    if action is not None:
        taken += [action.arm, action.gripper.column if action.gripper else None]
    names = {columns.source for columns in taken if columns is not None}
    return names | ({declaration.success} if declaration.success else set())


def _text(where: Path, tasks: Any) -> str:
    if tasks is None or tasks == []:
        return ""
    if not isinstance(tasks, list) or not isinstance(tasks[0], str):
        raise BadAnnotation(f"{where}: 'tasks' is not a list of instructions")
    return tasks[0]


def _metadata(where: Path, text: Any) -> Mapping[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise BadAnnotation(f"{where}: 'metadata_json' is not JSON") from None
    return value if isinstance(value, dict) else {"metadata": value}
