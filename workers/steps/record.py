"""The step `record`: episodes of the stand-in robot, as a LeRobot v3.0 dataset."""

from __future__ import annotations

import os
from pathlib import Path

from workers.jobs import Context, Inputs, Json, Step


class RecordInputs(Inputs):
    out: str
    tasks: tuple[str, ...]
    episodes_per_task: int
    seed: int
    height: int
    width: int
    kinds: tuple[tuple[str, float], ...] | None = None
    """Weights of the kinds of driver; None is the usual mixture."""
    max_frames: int | None = None


def record(inputs: RecordInputs, context: Context) -> Json:
    """Record what is not yet in `out`, on all cores; an interruption costs a few episodes at most."""
    from real2sim.reality.plans import KINDS
    from real2sim.reality.record import MAX_FRAMES
    from real2sim.reality.record import record as record_episodes

    recording = record_episodes(
        inputs.tasks,
        inputs.episodes_per_task,
        inputs.seed,
        Path(inputs.out),
        workers=os.cpu_count() or 1,
        height=inputs.height,
        width=inputs.width,
        kinds=KINDS if inputs.kinds is None else dict(inputs.kinds),
        max_frames=inputs.max_frames or MAX_FRAMES,
        progress=context.progress,
    )
    return {
        "dataset": inputs.out,
        "episodes": recording.recorded + recording.kept,
        "recorded": recording.recorded,
        "frames_per_second_per_core": round(recording.frames_per_second_per_core, 1),
    }


def intact(inputs: RecordInputs, context: Context) -> bool:
    """`info.json` is written last."""
    return (Path(inputs.out) / "meta" / "info.json").is_file()


STEP = Step("record", RecordInputs, record, intact)
