"""From a judged rollout to a trajectory that says for ever where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from arena.contracts import ActionChunk, FloatArray, FrameSource, Rollout, Verdict
from arena.synthesis.export.trajectory import Origin, Slice, Trajectory
from arena.synthesis.plan import Attempt

ID_LETTERS = 16


@dataclass(frozen=True)
class Judged:
    """A rollout whose frames are read when they are wanted, what a judge said, and how it came about."""

    rollout: Rollout
    cameras: Mapping[str, FrameSource]
    verdict: Verdict
    attempt: Attempt
    robot: str


def synthetic_trajectory(
    judged: Judged, frames: int, notes: Mapping[str, Any] | None = None, first: int = 0
) -> Trajectory:
    """`frames` frames of a rollout from `first` on, kept under its attempt's label.

    After the rollout's last action that one is commanded again.
    """
    rollout, attempt = judged.rollout, judged.attempt
    kept = slice(first, first + frames)
    values = np.concatenate([rollout.action.values, rollout.action.values[-1:]])[kept]
    label = attempt.wording.label
    return Trajectory(
        id=f"{rollout.id[:ID_LETTERS]}-{first}-{frames}",
        cameras={name: Slice(source, first, first + frames) for name, source in sorted(judged.cameras.items())},
        state=_measurable(rollout.state[kept]),
        action=ActionChunk(_measurable(values), rollout.action.space, rollout.action.control_hz),
        instruction=label,
        task=rollout.task,
        fps=rollout.fps,
        robot=judged.robot,
        origin=_origin(judged, first, frames, notes or {}),
    )


def _measurable(rows: FloatArray) -> FloatArray:
    """`(T, D)` with the gripper, last, in [0, 1]: a world model extrapolates beyond what any gripper can report."""
    return np.concatenate([rows[:, :-1], rows[:, -1:].clip(0.0, 1.0)], axis=1)


def _origin(judged: Judged, first: int, frames: int, notes: Mapping[str, Any]) -> Origin:
    rollout, verdict, attempt = judged.rollout, judged.verdict, judged.attempt
    details = {
        "told": attempt.wording.told,
        "judged_as": attempt.beginning.instruction,
        "beginning": attempt.beginning.key,
        "began_in": attempt.beginning.source,
        "attempt": attempt.number,
        "variation": asdict(attempt.variation),
        "rolled_out_frames": len(rollout.state),
        "first_frame": first,
        "kept_frames": frames,
        "code": rollout.provenance.code,
        "config_sha256": rollout.provenance.config,
        "scene_sha256": rollout.provenance.scene,
    }
    said_yes = None if verdict.abstained else True
    return Origin(
        synthetic=True,
        success=notes.get("success", said_yes),
        world=rollout.world,
        world_sha256=rollout.provenance.world,
        policy=rollout.policy,
        policy_sha256=rollout.provenance.policy,
        judge=verdict.judge,
        judge_sha256=verdict.judge_sha256,
        success_probability=verdict.success_probability,
        progress=verdict.progress,
        seed=rollout.seed,
        rollout_id=rollout.id,
        scene_id=rollout.scene_id,
        details=details | {name: value for name, value in notes.items() if name != "success"},
    )
