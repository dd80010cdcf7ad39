"""Real robot episodes: found, checked, lazily decoded, and written back as LeRobot datasets."""

from arena.episodes.assemble import episode_sha256
from arena.episodes.atomic import atomic_directory, atomic_write, read_manifest
from arena.episodes.ingest import IngestReport, Refusal, ingest, summary
from arena.episodes.lerobot_writer import LeRobotWriter
from arena.episodes.video import ArrayFrames, VideoFrames, VideoInfo, probe, write_video

__all__ = [
    "ArrayFrames",
    "IngestReport",
    "LeRobotWriter",
    "Refusal",
    "VideoFrames",
    "VideoInfo",
    "atomic_directory",
    "atomic_write",
    "episode_sha256",
    "ingest",
    "probe",
    "read_manifest",
    "summary",
    "write_video",
]
