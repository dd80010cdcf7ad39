"""The step `clone`: a behaviour-cloning policy from recorded successes."""

from __future__ import annotations

from pathlib import Path

from workers.evaluation import Dataset
from workers.jobs import Context, Inputs, Json, Step


class CloneInputs(Inputs):
    """`steps` None is the policy's own recipe."""

    dataset: Dataset
    out: str
    seed: int
    steps: int | None = None


def clone(inputs: CloneInputs, context: Context) -> Json:
    """Train, or go on where an interrupted run was. Returns where the policy is."""
    from dataclasses import replace

    from arena.learned.cloning import train_cloning
    from arena.learned.network import CloningConfig

    config = CloningConfig() if inputs.steps is None else replace(CloningConfig(), steps=inputs.steps)
    out = train_cloning(inputs.dataset.episodes(context), config, Path(inputs.out), inputs.seed, context.progress)
    return {"policy": str(out)}


def intact(inputs: CloneInputs, context: Context) -> bool:
    """The manifest is written last."""
    return (Path(inputs.out) / "manifest.json").is_file()


STEP = Step("clone", CloneInputs, clone, intact)
"""The job."""
