"""What is said of each episode in a dataset's metadata: LeRobot's own facts, and where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from arena.episodes.lerobot_stats import Stats

PROVENANCE = {
    "episode_id": pa.string(),
    "task_group": pa.string(),
    "robot": pa.string(),
    "success": pa.bool_(),
    "synthetic": pa.bool_(),
    "world": pa.string(),
    "policy": pa.string(),
    "judge": pa.string(),
    "judge_success_probability": pa.float64(),
    "judge_progress": pa.float64(),
    "seed": pa.int64(),
    "metadata_json": pa.string(),
}
"""Columns beside LeRobot's own, and their types: many may be unknown in one episode and known in the next."""


def provenance(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A segment's facts as columns; hashes and details go to `metadata_json`."""
    origin = facts["origin"]
    more = ("world_sha256", "policy_sha256", "judge_sha256", "rollout_id", "scene_id")
    metadata = {**origin["details"], "synthetic": origin["synthetic"], **{name: origin[name] for name in more}}
    return {
        "episode_id": facts["id"],
        "task_group": facts["task"],
        "robot": facts["robot"],
        "success": origin["success"],
        "synthetic": origin["synthetic"],
        "world": origin["world"],
        "policy": origin["policy"],
        "judge": origin["judge"],
        "judge_success_probability": origin["success_probability"],
        "judge_progress": origin["progress"],
        "seed": origin["seed"],
        "metadata_json": json.dumps(metadata, sort_keys=True, allow_nan=False),
    }


def row_schema(row: Mapping[str, Any]) -> pa.Schema:
    """Inferred types, but for the provenance."""
    inferred = pa.Table.from_pylist([dict(row)]).schema
    return pa.schema([pa.field(field.name, PROVENANCE.get(field.name, field.type)) for field in inferred])


def stats_of(facts: Mapping[str, Any]) -> dict[str, Stats]:
    """A segment's statistics by feature."""
    return {name: {key: np.asarray(value) for key, value in part.items()} for name, part in facts["stats"].items()}


def as_lists(stats: Mapping[str, Stats]) -> dict[str, dict[str, Any]]:
    """Statistics as JSON."""
    return {name: {key: value.tolist() for key, value in part.items()} for name, part in stats.items()}
