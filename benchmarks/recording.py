"""How fast the stand-in robot is recorded, building the simulations and writing the videos included.

A busy machine stretches the seconds by the clock, and hardly those of the processor: what counts is the frames per
second of processor time, which is what one core does that has nothing else to do.

    python benchmarks/recording.py [--episodes-per-task 3]
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from common import as_json, in_own_process, write

TASKS = ("drawer-open-v3", "drawer-close-v3", "button-press-topdown-v3")


@dataclass(frozen=True)
class Options:
    episodes_per_task: int = 3
    height: int = 64
    width: int = 96
    seed: int = 0


def recorded(options: Options) -> dict[str, Any]:
    """Frames, of which each is a single picture, and the seconds that they took in this process."""
    from real2sim.reality.record import record

    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        size = {"height": options.height, "width": options.width}
        done = record(TASKS, options.episodes_per_task, options.seed, Path(folder) / "speed", **size)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "frames": done.frames,
        "frames_per_second": round(done.frames / wall, 1),
        "frames_per_core_second": round(done.frames / cpu, 1),
    }


def main(options: Options) -> None:
    figures = in_own_process(recorded, options)
    print(figures)
    print(write("recording", {**figures, "options": as_json(options)}))


if __name__ == "__main__":
    main(tyro.cli(Options))
