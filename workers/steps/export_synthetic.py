"""The step `export_synthetic`: selected attempts to a dataset, recorded episodes among them where asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from arena.contracts import ActionSpace, InvalidInput
from arena.rollout import code_version
from arena.synthesis.export import FORMATS, ExportSpec, Trajectory, export_dataset
from arena.synthesis.export.card import CardNotes
from arena.synthesis.joints import in_joints
from arena.synthesis.mixing import recorded_beside
from arena.synthesis.provenance import Judged, synthetic_trajectory
from workers.jobs import Context, Json, Step
from workers.rollouts import open_rollout
from workers.synthesis_specs import ExportSyntheticInputs, KeptAttempt


def export_synthetic(inputs: ExportSyntheticInputs, context: Context) -> Json:
    """Write the dataset, or go on where an interrupted run was. Returns where it is and what is in it."""
    spec = ExportSpec(inputs.format, inputs.target, blank_cameras=inputs.blank_cameras)
    notes = CardNotes(inputs.judging, inputs.selection, dict(inputs.dropped), f"Made by dreamarena {code_version()}.")
    recorded = _recorded(inputs, context)
    total = len(inputs.kept) + len(recorded)
    report = export_dataset(Path(inputs.out), _all(inputs, recorded, context), spec, notes, context.progress, total)
    return {
        "dataset": str(report.path),
        "episodes": report.episodes,
        "synthetic": report.synthetic,
        "recorded": report.episodes - report.synthetic,
        "frames": report.frames,
        "format": inputs.format,
    }


def intact(inputs: ExportSyntheticInputs, context: Context) -> bool:
    """The manifest is written last."""
    return (Path(inputs.out) / "manifest.json").is_file()


def _all(inputs: ExportSyntheticInputs, recorded: list[Trajectory], context: Context) -> Iterator[Trajectory]:
    for kept in inputs.kept:
        yield _trajectory(kept, inputs, context)
    yield from recorded


def _trajectory(kept: KeptAttempt, inputs: ExportSyntheticInputs, context: Context) -> Trajectory:
    """A selected attempt as its format wants it, its films undecoded. Raises `InvalidInput` where it cannot be had."""
    trajectory = _imagined(kept, context)
    if not FORMATS[inputs.format].openpi or trajectory.action.space is not ActionSpace.CARTESIAN_POSITION:
        return trajectory
    kinematics = context.workshop.inverse_kinematics(trajectory.robot)
    if kinematics is None or kept.judged.joints is None:
        robot = trajectory.robot or "nameless robot"
        raise InvalidInput(f"{inputs.format} wants joints, and those of a {robot} are not known where its trials begin")
    # A trim at the front moves the first pose by some frames only, which inverse kinematics follow.
    return in_joints(trajectory, kinematics, np.array(kept.judged.joints))


def _imagined(kept: KeptAttempt, context: Context) -> Trajectory:
    """A selected attempt as its world has it. Raises `InvalidInput` where its rollout or verdict is gone."""
    judged = kept.judged
    assert judged.rollout is not None, "what broke off is never selected"
    results = context.store.results
    rollout, films = open_rollout(context.artifacts, results.rollout(judged.rollout).artifact)
    verdicts = results.verdicts([judged.rollout], judged.judge_sha256)
    if not verdicts:
        raise InvalidInput(f"the store no longer holds a verdict on {judged.rollout[:12]}: start the synthesis again")
    made = Judged(rollout, films, verdicts[0], judged.attempt.attempt, judged.robot)
    notes = {"apart": judged.apart, "done_frame": judged.done, "reviewed_by_a_person": kept.reviewed}
    if judged.probability is not None and judged.probability < judged.threshold:
        notes["success"] = False
    return synthetic_trajectory(made, kept.frames, notes, kept.first)


def _recorded(inputs: ExportSyntheticInputs, context: Context) -> list[Trajectory]:
    if inputs.real is None:
        return []
    like = _trajectory(inputs.kept[0], inputs, context)
    return recorded_beside(like, inputs.real.episodes(context), len(inputs.kept), inputs.ratio, inputs.seed)


STEP = Step("export_synthetic", ExportSyntheticInputs, export_synthetic, intact)
