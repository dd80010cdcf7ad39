"""Names and templates of LeRobotDataset v3.0 and v2.1, as the `lerobot` library writes and reads them."""

from __future__ import annotations

V30, V21 = "v3.0", "v2.1"
INFO, STATS = "meta/info.json", "meta/stats.json"
CHUNK_SIZE = 1000
"""Files per chunk folder."""

TASKS_V30 = "meta/tasks.parquet"
EPISODES_V30 = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_V30 = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_V30 = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

DATA_V21 = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_V21 = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
TASKS_V21 = "meta/tasks.jsonl"
EPISODES_V21 = "meta/episodes.jsonl"
EPISODE_STATS_V21 = "meta/episodes_stats.jsonl"

DEFAULT_FEATURES = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64"} | {
    "index": "int64",
    "task_index": "int64",
}
"""Columns that every LeRobot dataset has, and their types."""

CARTESIAN = "observation.state.cartesian_position"
GRIPPER = "observation.state.gripper_position"
JOINTS = "observation.state.joint_position"
STATE = "observation.state"
ACTION = "action"
ACTIONS = "actions"
"""openpi's name for it."""
CAMERA = "observation.images."
"""Prefix of a camera's feature; the rest is the camera's name."""

DECLARATION = "meta/dreamarena.json"
"""Beside LeRobot's own files: what the numbers mean (action space, units, frame of reference)."""

AXES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
