"""How fast trajectories are exported, against a plain writer that follows LeRobot's steps, and whether memory grows.

The plain writer does as LeRobot's `add_frame` and `save_episode`: every frame to a PNG, then the episode's PNGs read
again for statistics and for the encoder (with our settings, so that only the way there differs), then its rows to
parquet. It neither shares files between episodes nor keeps provenance, and cannot be resumed. Both write the same
episodes in one run, each in a process of its own.

    python benchmarks/synthesis_export.py [--frames 100000] [--plain-frames 5000]

Figures go to docs/benchmarks/synthesis_export.json.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from common import as_json, in_own_process, write

LENGTH = 100
"""Frames of an episode."""
SIZE = (64, 96)


@dataclass(frozen=True)
class Options:
    """Ours writes `frames`, and `few_frames` to see what memory does; the plain writer `plain_frames`."""

    frames: int = 100_000
    few_frames: int = 10_000
    plain_frames: int = 5_000
    name: str = "synthesis_export"


def main(options: Options) -> None:
    few, many = (in_own_process(ours, count) for count in (options.few_frames, options.frames))
    plain = in_own_process(plainly, options.plain_frames)
    figures = {
        "ours": many,
        "ours_few": few,
        "plain": plain,
        "times_faster": round(many["frames_per_second"] / plain["frames_per_second"], 2),
        "memory_growth_mb": many["peak_memory_mb"] - few["peak_memory_mb"],
        "episode_frames": LENGTH,
        "size": SIZE,
        "options": as_json(options),
    }
    print(write(options.name, figures).read_text())


def film(seed: int) -> Any:
    """`(LENGTH, H, W, 3)` of a smooth pattern that moves two pixels a frame."""
    x = np.arange(SIZE[1])[None, None, :, None] - 2 * np.arange(LENGTH)[:, None, None, None]
    y = np.arange(SIZE[0])[None, :, None, None]
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = np.sin(2 * np.pi * x / SIZE[1] + phase) * np.cos(2 * np.pi * y / SIZE[0] + phase)
    return (127 + 100 * waves).astype(np.uint8)


def rows(seed: int) -> Any:
    """`(LENGTH, 7)`: states, which are the actions as well."""
    path = np.cumsum(np.random.default_rng(seed).normal(0, 0.01, (LENGTH, 6)), axis=0)
    return np.concatenate([path, np.linspace(0, 1, LENGTH)[:, None]], axis=1)


def ours(frames: int) -> dict[str, Any]:
    """`export_dataset`, whole."""
    from arena.contracts import ActionChunk, ActionSpace
    from arena.episodes.video import ArrayFrames
    from arena.synthesis.export import ExportSpec, Origin, Trajectory, export_dataset

    def made() -> Iterator[Trajectory]:
        for index in range(frames // LENGTH):
            state = rows(index)
            yield Trajectory(
                id=f"e{index}", cameras={"wrist": ArrayFrames(film(index))}, state=state,
                action=ActionChunk(state, ActionSpace.CARTESIAN_POSITION, 10.0), instruction="open the drawer",
                task="drawer", fps=10.0, robot="panda", origin=Origin(synthetic=True, success=True),
            )  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        report = export_dataset(Path(folder) / "out", made(), ExportSpec())
        return _figures(report.frames, time.perf_counter() - began)


def plainly(frames: int) -> dict[str, Any]:
    """Episode by episode, frame by frame, through PNGs."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    from arena.episodes.encode import write_video

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        for index in range(frames // LENGTH):
            pictures = Path(folder) / "images" / str(index)
            pictures.mkdir(parents=True)
            for number, frame in enumerate(film(index)):
                Image.fromarray(frame).save(pictures / f"{number:06d}.png", compress_level=1)
            paths = sorted(pictures.iterdir())
            sampled = np.stack([np.asarray(Image.open(path)) for path in paths]) / 255.0
            stats = {"mean": sampled.mean(axis=(0, 1, 2)).tolist(), "std": sampled.std(axis=(0, 1, 2)).tolist()}
            write_video(Path(folder) / f"{index}.mp4", (np.asarray(Image.open(path)) for path in paths), 10.0)
            table = pa.table({"action": list(rows(index)), "mean": [stats["mean"]] * LENGTH})
            pq.write_table(table, Path(folder) / f"{index}.parquet")
            shutil.rmtree(pictures)
        return _figures(frames, time.perf_counter() - began)


def _figures(frames: int, seconds: float) -> dict[str, Any]:
    return {"frames": frames, "seconds": round(seconds, 1), "frames_per_second": round(frames / seconds, 1)}


if __name__ == "__main__":
    main(tyro.cli(Options))
