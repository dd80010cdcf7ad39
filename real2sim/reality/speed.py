"""How fast the stand-in robot is recorded, written videos included."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from real2sim.reality.record import record

_TASKS = ("drawer-open-v3", "drawer-close-v3", "button-press-topdown-v3")


@dataclass(frozen=True)
class RecordingSpeed:
    """`frames` counts single pictures. A busy machine stretches `wall_seconds`, and hardly `cpu_seconds`."""

    frames: int
    wall_seconds: float
    cpu_seconds: float

    @property
    def frames_per_second(self) -> float:
        """By the clock, in one process."""
        return self.frames / self.wall_seconds

    @property
    def frames_per_core_second(self) -> float:
        """Per second of processor time: what one core does that has nothing else to do."""
        return self.frames / self.cpu_seconds


def measure_recording(episodes_per_task: int = 3, height: int = 64, width: int = 96, seed: int = 0) -> RecordingSpeed:
    """Record into a temporary folder, in this process, building the simulations included."""
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        done = record(_TASKS, episodes_per_task, seed, Path(folder) / "speed", height=height, width=width)
        return RecordingSpeed(done.frames, time.perf_counter() - wall, time.process_time() - cpu)
