"""A dry run: what a policy would do first in a few scenes, beside what was recorded there. Nothing is stepped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arena.actions import motion_of
from arena.contracts import ActionChunk, ActionSpace, FloatArray, InvalidInput, Kinematics, Scene
from arena.policies.errors import PolicyError
from arena.policies.examination import Examiner, Progress
from arena.policies.mistakes import Mistake, Sample

ENOUGH_METRES = 0.02
"""How far a robot has to move for its direction to mean something."""
OPPOSITE = -0.5
TOO_FAST = 5.0
"""Times as far as the recorded robot moved in the same time."""


@dataclass(frozen=True)
class Tried:
    """How a dry run went in one scene; `problem` is None where it went well.

    Distances are of the end effector, in m, over the time that both the first answer and the recording last;
    `agreement` is the cosine between both. `gripper` is the mean command. None stands for what could not be told.
    """

    scene: str
    problem: str | None = None
    moved_metres: float | None = None
    recorded_metres: float | None = None
    agreement: float | None = None
    gripper: float | None = None
    recorded_gripper: float | None = None


def try_out(
    examiner: Examiner,
    scenes: Sequence[Scene],
    kinematics: Kinematics | None,
    progress: Progress,
) -> tuple[tuple[Tried, ...], list[Sample]]:
    """Two answers in each scene, all the way to actions in the units of the contracts. Errors are problems.

    Returns how it went in each, and the first answers of those in which it went well.
    """
    found, samples = [], []
    for index, scene in enumerate(scenes):
        progress(index, len(scenes), "scenes")
        try:
            sample, chunk = examiner.try_out(scene)
            found.append(_compared(scene, chunk, kinematics))
            samples.append(sample)
        except PolicyError as error:
            found.append(Tried(scene.id, problem=str(error)))
    return tuple(found), samples


def mistakes_in(tried: Sequence[Tried]) -> list[Mistake]:
    """What more than one scene shows alike."""
    found = []
    directions = [
        each.agreement for each in tried
        if each.agreement is not None and min(each.moved_metres or 0, each.recorded_metres or 0) > ENOUGH_METRES
    ]  # fmt: skip
    if len(directions) > 1 and max(directions) < OPPOSITE:
        says = "in every scene it moves opposite to what was recorded: is a sign, or an axis of the frame, inverted?"
        found.append(Mistake("motion_inverted", says))
    speeds = [
        each.moved_metres / each.recorded_metres for each in tried
        if each.moved_metres is not None and each.recorded_metres is not None and each.recorded_metres > ENOUGH_METRES
    ]  # fmt: skip
    if len(speeds) > 1 and min(speeds) > TOO_FAST:
        says = f"it moves {np.median(speeds):.0f} times as far as the recorded robot did"
        found.append(Mistake("too_fast", f"{says}: are its units, and velocity_scale, right?"))
    grippers = [
        (each.gripper, each.recorded_gripper) for each in tried
        if each.gripper is not None and each.recorded_gripper is not None
    ]  # fmt: skip
    if len(grippers) > 1 and all(abs(command - recorded) > 0.7 for command, recorded in grippers):
        says = "in every scene the gripper does the opposite of what was recorded: here 0 is open and 1 closed"
        found.append(Mistake("gripper_inverted", says))
    return found


def _compared(scene: Scene, chunk: ActionChunk, kinematics: Kinematics | None) -> Tried:
    recorded = scene.recorded
    seconds = len(chunk) / chunk.control_hz
    if recorded is not None:
        seconds = min(seconds, len(recorded) / recorded.control_hz)
    gripper = float(chunk.values[:, -1].mean())
    moved = _displacement(scene, chunk, seconds, kinematics)
    went = None if recorded is None else _displacement(scene, recorded, seconds, kinematics)
    return Tried(
        scene=scene.id,
        moved_metres=None if moved is None else float(np.linalg.norm(moved)),
        recorded_metres=None if went is None else float(np.linalg.norm(went)),
        agreement=None if moved is None or went is None else _cosine(moved, went),
        gripper=gripper,
        recorded_gripper=None if recorded is None else _first_mean(recorded, seconds),
    )


def _displacement(scene: Scene, chunk: ActionChunk, seconds: float, kinematics: Kinematics | None) -> FloatArray | None:
    """`(3,)` in m, from where the robot is; None where the geometry that joints need is not known."""
    joints = chunk.space in (ActionSpace.JOINT_POSITION, ActionSpace.JOINT_VELOCITY)
    if joints and (kinematics is None or scene.observation.joint_position is None):
        return None
    try:
        reached = motion_of(chunk, scene.observation, kinematics).at(np.array([seconds]))
    except InvalidInput:
        return None
    start = scene.observation.cartesian_position
    if joints and kinematics is not None and scene.observation.joint_position is not None:
        start = kinematics.forward(scene.observation.joint_position[None])[0]
    return np.asarray(reached.cartesian_position[0, :3] - start[:3])


def _cosine(one: FloatArray, other: FloatArray) -> float | None:
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / size if size > 0 else None


def _first_mean(recorded: ActionChunk, seconds: float) -> float:
    count = max(1, round(seconds * recorded.control_hz))
    return float(recorded.values[:count, -1].mean())
