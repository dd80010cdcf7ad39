"""The second half of an export: segments to one dataset, in LeRobot's v3.0 or v2.1 layout, `info.json` last."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from arena.episodes import lerobot_layout as layout
from arena.episodes.lerobot_stats import Stats, aggregate_stats, vector_stats
from arena.episodes.lerobot_tables import feature_descriptions, frames_table, parquet_bytes, tasks_table
from arena.synthesis.export.films import concatenate, grouped
from arena.synthesis.export.rows import as_lists, provenance, row_schema, stats_of
from arena.synthesis.export.segments import Segment, Shape
from arena.synthesis.export.tables import MEGABYTE, RollingParquet
from arena.synthesis.export.targets import ExportSpec

GROUP_ROWS = 16_384
"""Rows of frames in a row group; of episodes there are a hundredth."""
Report = Callable[[int], None]
"""Called with how many episodes are through."""


@dataclass
class Layout:
    """What both layouts need while they write: the segments, what they share, and the instructions so far."""

    root: Path
    segments: Sequence[Segment]
    shape: Shape
    spec: ExportSpec
    report: Report
    tasks: dict[str, int] = field(default_factory=dict)
    totals: dict[str, Stats] = field(default_factory=dict)
    frames: int = 0

    def episodes(self) -> Iterator[tuple[int, Segment, dict[str, Any], pa.Table, dict[str, Stats]]]:
        """Every episode with its facts, its rows and its statistics, one at a time; totals are kept on the way."""
        for index, segment in enumerate(self.segments):
            facts = segment.facts()
            task_index = self.tasks.setdefault(segment.instruction, len(self.tasks))
            table = frames_table(
                segment.columns(), self.shape.fps, episode_index=index, first=self.frames, task_index=task_index
            )
            stats = stats_of(facts)
            # LeRobot keeps statistics of its own columns too.
            stats |= {name: vector_stats(table[name].to_numpy()) for name in layout.DEFAULT_FEATURES}
            for name, part in stats.items():
                self.totals[name] = aggregate_stats([self.totals[name], part]) if name in self.totals else part
            yield index, segment, facts, table, stats
            self.frames += segment.length
            self.report(index + 1)

    def info(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """`info.json`, the last file, because it is what makes a folder a dataset."""
        fps = self.shape.fps
        return {
            "codebase_version": self.spec.layout.version,
            "robot_type": self.shape.robot,
            "total_episodes": len(self.segments),
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": layout.CHUNK_SIZE,
            "fps": int(fps) if float(fps).is_integer() else fps,
            "splits": {"train": f"0:{len(self.segments)}"},
            **more,
            "features": feature_descriptions(self.shape.widths, self.shape.cameras, fps, self.spec.layout.prefix),
        }


def write_v30(work: Layout) -> dict[str, Any]:
    """Chunked parquet, concatenated films, `meta/episodes`, tasks and statistics. Returns `info.json`."""
    root, limits = work.root, work.spec.limits_mb
    films = {camera: _films(work, camera) for camera in work.shape.cameras}
    with (
        RollingParquet(root, layout.DATA_V30, limits["data"], GROUP_ROWS) as data,
        RollingParquet(root, layout.EPISODES_V30, limits["data"], GROUP_ROWS // 100) as meta,
    ):
        schema: pa.Schema | None = None
        for index, segment, facts, table, stats in work.episodes():
            row: dict[str, Any] = {"episode_index": index, "tasks": [segment.instruction], "length": segment.length}
            row |= _placed("data", data.place)
            row |= {"dataset_from_index": work.frames, "dataset_to_index": work.frames + segment.length}
            for places in films.values():
                row |= places[index]
            row |= provenance(facts)
            for name, part in as_lists(stats).items():
                row |= {f"stats/{name}/{key}": value for key, value in part.items()}
            row |= _placed("meta/episodes", meta.place)
            schema = schema or row_schema(row)
            data.write(table)
            meta.write(pa.Table.from_pylist([row], schema=schema))
    (root / layout.TASKS_V30).write_bytes(parquet_bytes(tasks_table(list(work.tasks))))
    (root / layout.STATS).write_text(json.dumps(as_lists(work.totals), indent=1, allow_nan=False))
    sizes = {f"{name}_files_size_in_mb": size for name, size in limits.items()}
    return work.info({**sizes, "data_path": layout.DATA_V30, "video_path": layout.VIDEO_V30})


def _films(work: Layout, camera: str) -> list[dict[str, Any]]:
    """One camera's films, concatenated. Returns of each episode in which file it is, and from when to when."""
    key, fps = work.spec.layout.prefix + camera, work.shape.fps
    sizes = [segment.bytes[camera] for segment in work.segments]
    places: list[dict[str, Any]] = []
    for number, group in enumerate(grouped(sizes, work.spec.limits_mb["video"] * MEGABYTE)):
        chunk, file = divmod(number, layout.CHUNK_SIZE)
        path = work.root / layout.VIDEO_V30.format(video_key=key, chunk_index=chunk, file_index=file)
        parts = [work.segments[index] for index in group]
        concatenate([(part.film(camera), part.length) for part in parts], path, fps)
        shown = 0
        for part in parts:
            times = {"from_timestamp": shown / fps, "to_timestamp": (shown + part.length) / fps}
            place = _placed(f"videos/{key}", (chunk, file))
            places.append(place | {f"videos/{key}/{name}": value for name, value in times.items()})
            shown += part.length
    return places


def write_v21(work: Layout) -> dict[str, Any]:
    """A parquet and an mp4 for each episode and camera, and metadata as JSON lines. Returns `info.json`."""
    (work.root / "meta").mkdir(parents=True, exist_ok=True)
    with (
        (work.root / layout.EPISODES_V21).open("w") as episodes,
        (work.root / layout.EPISODE_STATS_V21).open("w") as statistics,
    ):
        for index, segment, facts, table, stats in work.episodes():
            place = {"episode_chunk": index // layout.CHUNK_SIZE, "episode_index": index}
            path = work.root / layout.DATA_V21.format(**place)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(parquet_bytes(table))
            for camera in work.shape.cameras:
                film = work.root / layout.VIDEO_V21.format(video_key=work.spec.layout.prefix + camera, **place)
                film.parent.mkdir(parents=True, exist_ok=True)
                # The same file under a second name: nothing is copied, and the segment stays until all is done.
                os.link(segment.film(camera), film)
            row = {"episode_index": index, "tasks": [segment.instruction], "length": segment.length}
            episodes.write(json.dumps(row | provenance(facts), allow_nan=False) + "\n")
            described = {"episode_index": index, "stats": as_lists(stats)}
            statistics.write(json.dumps(described, allow_nan=False) + "\n")
    with (work.root / layout.TASKS_V21).open("w") as tasks:
        for text, number in work.tasks.items():
            tasks.write(json.dumps({"task_index": number, "task": text}) + "\n")
    chunks = -(-len(work.segments) // layout.CHUNK_SIZE)
    videos = len(work.segments) * len(work.shape.cameras)
    paths = {"data_path": layout.DATA_V21, "video_path": layout.VIDEO_V21}
    return work.info({"total_videos": videos, "total_chunks": chunks, **paths})


def _placed(prefix: str, place: tuple[int, int]) -> dict[str, int]:
    return {f"{prefix}/chunk_index": place[0], f"{prefix}/file_index": place[1]}
