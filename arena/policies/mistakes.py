"""What a server's answers give away about typical mistakes: units, signs, spaces, the gripper, and unseen cameras.

A policy may do anything, so most of what is said here is a suspicion. Only what no robot could carry out is certain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from arena.contracts import ActionSpace, FloatArray, Observation

JOINT_REACH = 2 * np.pi + 0.5
"""rad beyond which no joint of a robot arm turns, nor an Euler angle is given."""
REACH = 3.0
"""m beyond which no end effector of a table-top arm gets."""
JOINT_SPEED = 10.0
"""rad/s that no arm's joint reaches: a Panda's do 2.6."""
SPEED = 3.0
"""m/s that no arm's end effector reaches."""
FAR, NEAR = 0.8, 0.35
"""rad: where a first target is too far from the robot to be meant, and where it is near enough to be a target."""
FAR_METRES, NEAR_METRES = 0.25, 0.1
NORMALISED = 1.1
"""Numbers that never exceed this may be normalised ones."""
TRACKS = 0.15
"""How much a first target moves with the robot, at least, where it is a target: 1 in its own units."""
GRIPPER_SWING = 0.5
GRIPPER_METRES = 0.09
"""m that parallel grippers open by, at most."""


@dataclass(frozen=True)
class Mistake:
    """`name` is for programs. `certain` where no robot could carry out what was answered."""

    name: str
    says: str
    certain: bool = False


@dataclass(frozen=True)
class Sample:
    """The first answer of a trial to an observation: `(N, D)` in the server's own units, all finite."""

    observation: Observation
    actions: FloatArray


def arm_mistakes(samples: Sequence[Sample], space: ActionSpace) -> list[Mistake]:
    """Of the arm's numbers. Observations whose robot is in different places say more. Empty without samples."""
    joints = space in (ActionSpace.JOINT_POSITION, ActionSpace.JOINT_VELOCITY)
    known = [
        (sample.actions[:, :-1], sample.observation.joint_position if joints else sample.observation.cartesian_position)
        for sample in samples
        if sample.actions.shape[1:] == (space.width,)
    ]
    placed = [(arm, place.astype(np.float64)) for arm, place in known if place is not None]
    if not placed:
        return []
    answered, first = np.concatenate([arm for arm, _ in placed]), np.stack([arm[0] for arm, _ in placed])
    robot = np.stack([place for _, place in placed])
    targets = space in (ActionSpace.JOINT_POSITION, ActionSpace.CARTESIAN_POSITION)
    return (_target_mistakes if targets else _rate_mistakes)(answered, first, robot, space)


def _target_mistakes(answered: FloatArray, first: FloatArray, robot: FloatArray, space: ActionSpace) -> list[Mistake]:
    """Of numbers that are said to be positions."""
    angles, metres = _angles(answered), _metres(answered)
    if angles.size and np.abs(angles).max() > JOINT_REACH:
        gap, as_degrees = _gap(first, robot), _gap(_in_radians(first), robot)
        if as_degrees < min(FAR, gap):
            says = f"angles reach {np.abs(angles).max():.0f}; as degrees they are where the robot is, and rad are due"
            return [Mistake("degrees", says, certain=True)]
        says = f"angles reach {np.abs(angles).max():.3g} rad, which no joint does: degrees, or not scaled back"
        return [Mistake("unnormalised_actions", says, certain=True)]
    if metres.size and np.abs(metres).max() > REACH:
        says = f"positions reach {np.abs(metres).max():.3g} m, which no arm does: are they millimetres or centimetres?"
        return [Mistake("metres", says, certain=True)]
    far = _gap(first, robot) > FAR or (metres.size > 0 and _metre_gap(first, robot) > FAR_METRES)
    if not far:
        return []
    away = f"the first target is {_gap(first, robot):.2g} rad"
    if metres.size:
        away += f" and {_metre_gap(first, robot):.2g} m"
    away += " away from where the robot is"
    if np.abs(answered).max() > NORMALISED:
        return [Mistake("far_from_the_robot", f"{away}: is {space} right, and in this robot's frame?")]
    if _tracking(first, robot) > TRACKS:
        says = f"{away} but moves with it, and no number exceeds 1: normalised actions that were not scaled back"
        return [Mistake("unnormalised_actions", says)]
    return [
        Mistake("velocity_for_position", f"{away}, and no number exceeds 1: these look like velocities, not {space}")
    ]


def _rate_mistakes(answered: FloatArray, first: FloatArray, robot: FloatArray, space: ActionSpace) -> list[Mistake]:
    """Of numbers that are said to be velocities."""
    metres = _metres(answered)
    where = np.abs(robot).max(axis=0) > 2 * NEAR  # joints that are near 0 anyway tell nothing
    if where.any() and _gap(first[:, where], robot[:, where]) < NEAR:
        return [Mistake("position_for_velocity", f"the numbers are where the robot is: positions, not {space}")]
    if np.abs(_angles(answered)).max(initial=0.0) > JOINT_SPEED:
        says = f"angular velocities reach {np.abs(_angles(answered)).max():.3g} rad/s, which no arm does: "
        return [Mistake("degrees", says + "degrees per second, or actions that were not normalised")]
    if np.abs(metres).max(initial=0.0) > SPEED:
        says = f"velocities reach {np.abs(metres).max():.3g} m/s, which no arm does: are they millimetres per second?"
        return [Mistake("metres", says)]
    return []


def gripper_mistakes(open_: Sample, closed: Sample, every: Sequence[Sample]) -> list[Mistake]:
    """`open_` and `closed` are answers to observations that differ in the gripper alone, 0 and 1."""
    commands = np.concatenate([sample.actions[:, -1] for sample in every])
    low, high = float(commands.min()), float(commands.max())
    found = []
    if low < -0.1 or high > 1.1:
        meant = "they are in [-1, 1]" if low >= -1.1 and high <= 1.1 else f"they range from {low:.3g} to {high:.3g}"
        found.append(Mistake("gripper_range", f"gripper commands are clipped to [0 (open), 1 (closed)]: {meant}"))
    elif 0.01 < high <= GRIPPER_METRES:
        says = f"gripper commands never exceed {high:.3g}: an opening in metres? Here 0 is open and 1 closed"
        found.append(Mistake("gripper_range", says))
    swing = float(open_.actions[0, -1] - closed.actions[0, -1]) / max(1.0, high - low)
    if swing > GRIPPER_SWING:
        says = "told that its gripper is open the policy closes it, and told that it is closed opens it: here 0 is open"
        found.append(Mistake("gripper_inverted", says))
    return found


def camera_mistakes(influence: Mapping[str, float], noise: float) -> list[Mistake]:
    """`influence` has how much an answer changes with what a camera shows; `noise` how much it changes by itself."""
    unseen = [name for name, change in influence.items() if change <= max(2 * noise, 1e-6)]
    if not unseen or noise > 0.5 * max(influence.values(), default=0.0) > 0:
        return []
    says = f"what {' and '.join(unseen)} shows changes nothing in the answers: is it the camera that it looks at?"
    return [Mistake("wrong_camera", says)]


def server_error_hint(error: str, kind: str, count: int = 0) -> str | None:
    """What a server's own error gives away; `count` is the number of exterior cameras that it was sent."""
    if "KeyError" not in error:
        return None
    if "'endpoint'" in error and kind != "roboarena":
        return "RoboArena's servers read 'endpoint': call it with roboarena:// in place of openpi://"
    if "session_id" in error:
        return "it reads a session_id that it does not declare: needs_session_id must be true"
    if "exterior_image_" in error and kind == "roboarena":
        number = f"exterior_image_{count}_" in error
        return "wrong camera index: it counts cameras from 1: add first_camera=1" if number else "wrong camera index"
    if "image" in error:
        return "wrong camera index or name: it reads an image that it is not sent"
    return None


def _angles(values: FloatArray) -> FloatArray:
    """Of `(M, 7)` joints all, of `(M, 6)` poses the last three."""
    return values if values.shape[1] == 7 else values[:, 3:]


def _metres(values: FloatArray) -> FloatArray:
    return values[:, :0] if values.shape[1] == 7 else values[:, :3]


def _in_radians(values: FloatArray) -> FloatArray:
    turned = np.deg2rad(values) if values.shape[1] == 7 else np.hstack([values[:, :3], np.deg2rad(values[:, 3:])])
    return np.asarray(turned)


def _gap(first: FloatArray, robot: FloatArray) -> float:
    """rad between first targets and the robot: the farthest angle of each, and of those the median."""
    wide = first.shape[1] == 6
    apart = first[:, 3:] - robot[:, 3:] if wide else first - robot
    if wide:  # Euler angles are the same again after a turn
        apart = np.remainder(apart + np.pi, 2 * np.pi) - np.pi
    return float(np.median(np.abs(apart).max(axis=1)))


def _metre_gap(first: FloatArray, robot: FloatArray) -> float:
    return float(np.median(np.linalg.norm(first[:, :3] - robot[:, :3], axis=1)))


def _tracking(first: FloatArray, robot: FloatArray) -> float:
    """The slope of first targets against where the robot is, from the first sample on; 0 where it never moves."""
    moved, followed = robot[1:] - robot[0], first[1:] - first[0]
    energy = float((moved**2).sum())
    return float((moved * followed).sum()) / energy if energy > 1e-9 else 0.0
