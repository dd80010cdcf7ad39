"""What every LeRobot dataset that is written here has in its tables, whatever its files are laid out like."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from arena.contracts import FloatArray
from arena.episodes import lerobot_layout as layout

JOINT_AXES = (*(f"joint_{i}" for i in range(7)), "gripper")


def frames_table(
    columns: Mapping[str, FloatArray], fps: float, *, episode_index: int, first: int, task_index: int
) -> pa.Table:
    """One episode's rows: its `(T, D)` numbers by feature, and LeRobot's own columns.

    `first` is the row's number in the whole dataset at which the episode begins.
    """
    arrays = {}
    for name, values in columns.items():
        flat = pa.array(np.asarray(values, dtype=np.float32).ravel(), pa.float32())
        # LeRobot stores a single number as a scalar column, more as lists of fixed length.
        arrays[name] = flat if values.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    step = np.arange(len(next(iter(columns.values()))))
    arrays["timestamp"] = pa.array(step / fps, pa.float32())
    arrays["frame_index"] = pa.array(step, pa.int64())
    arrays["episode_index"] = pa.array(np.full_like(step, episode_index), pa.int64())
    arrays["index"] = pa.array(step + first, pa.int64())
    arrays["task_index"] = pa.array(np.full_like(step, task_index), pa.int64())
    return pa.table(arrays)


def feature_descriptions(
    widths: Mapping[str, int], cameras: Mapping[str, tuple[int, int]], fps: float, prefix: str = layout.CAMERA
) -> dict[str, Any]:
    """The `features` of `info.json`: widths of the numbers, (H, W) of the cameras, whose names follow `prefix`."""
    features: dict[str, Any] = {}
    for name, width in widths.items():
        joints = name.endswith("joint_position") or (name in (layout.ACTION, layout.ACTIONS) and width == 8)
        axes = JOINT_AXES if joints else layout.AXES
        names = list(axes[:width]) if width > 1 else ["gripper"]
        features[name] = {"dtype": "float32", "shape": [width], "names": names}
    for name, (height, width) in cameras.items():
        features[prefix + name] = {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height,
                "video.width": width,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": fps,
                "video.channels": 3,
                "has_audio": False,
            },
        }
    defaults = {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in layout.DEFAULT_FEATURES.items()}
    return features | defaults


def tasks_table(tasks: Sequence[str]) -> pa.Table:
    """`tasks.parquet`: instructions and their indices; pandas reads the instruction as the index, as LeRobot does."""
    table = pa.table(
        {"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(list(tasks), pa.string())}
    )
    described = [("task_index", "int64", "int64"), ("task", "unicode", "object")]
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, kind, numpy in described
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a parquet file's bytes."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="snappy")
    return buffer.getvalue()
