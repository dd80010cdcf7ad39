"""From what a policy commands to what a world takes: action spaces and rates.

Time in a chunk: action `k` of a chunk at `control_hz` acts from `k / control_hz` to `(k + 1) / control_hz`
after the observation, and its target is reached at the end of that interval. Frame `i` of a world, counted
from 0, shows the instant `(i + 1) / fps`. So the motion that a chunk describes has `N + 1` knots, the first
being the observation, and a world's action is the motion at the instant of its frame. Nothing is rounded to a
frame and summed, so nothing drifts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from arena.contracts import (
    ActionChunk,
    ActionSpace,
    FloatArray,
    InvalidInput,
    Kinematics,
    Observation,
    Policy,
    WorldCard,
)

EPSILON = 1e-9
"""Seconds by which two instants may differ and count as one: far above rounding, far below a control step."""


@dataclass(frozen=True)
class RobotState:
    """The robot at M instants: `joint_position` `(M, 7)` or None, `cartesian_position` `(M, 6)`, `gripper` `(M, 1)`."""

    joint_position: FloatArray | None
    cartesian_position: FloatArray
    gripper_position: FloatArray

    @property
    def action(self) -> FloatArray:
        """`(M, 7)`: the state as `cartesian_position` actions."""
        return np.concatenate([self.cartesian_position, self.gripper_position], axis=1)


class Motion(Protocol):
    """What the robot does during one chunk."""

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        ...

    def at(self, times: FloatArray) -> RobotState:
        """The robot at `times` `(M,)` in s, from 0 to `seconds`."""
        ...


def to_world_chunk(
    chunk: ActionChunk, observation: Observation, card: WorldCard, kinematics: Kinematics | None
) -> ActionChunk:
    """`chunk` as `cartesian_position` actions at `card.fps`, `(M, 7)`, M being the whole frames that it covers.

    Joint actions go through `kinematics`, starting from `observation.joint_position` (velocities are integrated
    at the policy's rate first); Cartesian velocities are integrated from the observed pose. Euler angles come
    out in [-pi, pi], except that a `cartesian_position` action that falls on a frame is passed on untouched.

    Raises `InvalidInput` where the joints or the kinematics that a joint space needs are missing, where the
    world takes something else than `cartesian_position`, or where the chunk is shorter than one frame.
    """
    _check_world(card)
    motion = motion_of(chunk, observation, kinematics)
    frames = int((motion.seconds + EPSILON) * card.fps)
    if frames == 0:
        raise InvalidInput(
            f"a chunk of {len(chunk)} actions at {chunk.control_hz:g} Hz lasts {motion.seconds:.3g} s, "
            f"less than one frame of the world {card.name!r} at {card.fps:g} fps"
        )
    values = motion.at(np.arange(1, frames + 1) / card.fps).action
    return ActionChunk(values, ActionSpace.CARTESIAN_POSITION, card.fps)


def motion_of(chunk: ActionChunk, observation: Observation, kinematics: Kinematics | None) -> Motion:
    """The motion that `chunk` commands from `observation` on. Raises `InvalidInput` as `to_world_chunk` does."""
    gripper = np.concatenate([observation.gripper_position.reshape(1, 1), chunk.values[:, -1:]]).astype(np.float64)
    targets = chunk.values[:, :-1].astype(np.float64)
    if not np.isfinite(chunk.control_hz):
        raise InvalidInput(f"control_hz must be finite, not {chunk.control_hz}")
    if chunk.space in (ActionSpace.JOINT_VELOCITY, ActionSpace.JOINT_POSITION):
        start, forward = _joint_start(chunk, observation, kinematics)
        if chunk.space is ActionSpace.JOINT_VELOCITY:
            targets = start + np.cumsum(targets, axis=0) / chunk.control_hz
        return JointMotion(np.vstack([start, targets]), gripper, chunk.control_hz, forward)
    start = observation.cartesian_position.astype(np.float64)
    if chunk.space is ActionSpace.CARTESIAN_VELOCITY:
        targets = start + np.cumsum(targets, axis=0) / chunk.control_hz
        return EulerMotion(np.vstack([start, targets]), gripper, chunk.control_hz)
    return PoseMotion(np.vstack([start, targets]), gripper, chunk.control_hz)


@dataclass(frozen=True)
class _Knots:
    """`(N + 1, D)` knots and `(N + 1, 1)` gripper positions, `1 / control_hz` s apart, the first at the observation."""

    knots: FloatArray
    gripper: FloatArray
    control_hz: float

    @property
    def seconds(self) -> float:
        return (len(self.knots) - 1) / self.control_hz

    def positions(self, times: FloatArray) -> FloatArray:
        """`times` `(M,)` in s as positions along the knots, exactly whole where they are so to within `EPSILON` s."""
        positions = np.clip(times * self.control_hz, 0.0, len(self.knots) - 1)
        whole = np.rint(positions)
        return np.asarray(np.where(np.abs(positions - whole) <= EPSILON * self.control_hz, whole, positions))


@dataclass(frozen=True)
class JointMotion(_Knots):
    """Through `(N + 1, 7)` joint positions, each joint at constant speed between two of them."""

    forward: Callable[[FloatArray], FloatArray]

    def at(self, times: FloatArray) -> RobotState:
        along = self.positions(times)
        joints = _linear(self.knots, along)
        return RobotState(joints, self.forward(joints), _linear(self.gripper, along))


class PoseMotion(_Knots):
    """Through `(N + 1, 6)` poses: straight lines between them, and rotations about one axis (slerp)."""

    def at(self, times: FloatArray) -> RobotState:
        along = self.positions(times)
        turn = Slerp(np.arange(len(self.knots)), Rotation.from_euler("xyz", self.knots[:, 3:]))
        pose = np.hstack([_linear(self.knots[:, :3], along), turn(along).as_euler("xyz")])
        # At a knot the commanded angles themselves, not others for the same rotation: replays stay exact.
        whole = along == np.rint(along)
        pose[whole] = self.knots[along[whole].astype(np.int64)]
        return RobotState(None, pose, _linear(self.gripper, along))


class EulerMotion(_Knots):
    """Through `(N + 1, 6)` poses with constant Euler-angle rates between them; angles come out in [-pi, pi]."""

    def at(self, times: FloatArray) -> RobotState:
        along = self.positions(times)
        pose = _linear(self.knots, along)
        pose[:, 3:] = np.remainder(pose[:, 3:] + np.pi, 2 * np.pi) - np.pi
        return RobotState(None, pose, _linear(self.gripper, along))


class ActionBuffer:
    """One policy in one trial, asked as rarely as its chunks allow, for any number of frames at a time.

    Every action is carried out for exactly `1 / control_hz`, the first `execute` of each chunk where that is
    given (only for policies without a clock of their own: `replay` would skip what is cut). When a chunk ends
    between two frames, the policy is asked again for what follows, with the observation's images and the
    robot's state at the end of the chunk: time neither stops nor jumps.

    A world model knows Cartesian states only, so that its observations have no `joint_position`. After a
    policy has acted in a joint space the buffer knows where its joints are, and carries them into the next
    observation that lacks them.

    Make a new one for each trial. `policy.reset` is the caller's.
    """

    def __init__(self, policy: Policy, card: WorldCard, kinematics: Kinematics | None, execute: int | None = None):
        """Raises `InvalidInput` for an `execute` below 1 or a world that does not take `cartesian_position`."""
        _check_world(card)
        if execute is not None and execute < 1:
            raise InvalidInput(f"execute must be at least 1 action, not {execute}")
        self._policy, self._card, self._kinematics, self._execute = policy, card, kinematics, execute
        self._motion: Motion | None = None
        self._elapsed = 0.0
        self._joints: FloatArray | None = None

    @property
    def frames_per_answer(self) -> int:
        """Whole frames that one answer of the policy covers, at least 1.

        A loop that steps its world by no more than this shows the policy fresh images before each answer.
        """
        policy = self._policy.card
        actions = min(policy.chunk_length, self._execute or policy.chunk_length)
        return max(1, int((actions / policy.control_hz + EPSILON) * self._card.fps))

    def next(self, observation: Observation, n: int) -> ActionChunk:
        """The next `n` actions for the world, `(n, 7)`; `observation` is the last instant that the world showed.

        Raises `InvalidInput` as `to_world_chunk` does, or where the policy answers in another action space
        than its card declares; and whatever the policy raises.
        """
        observation = self._with_joints(observation)
        rows = []
        for _ in range(n):
            state = self._advance(observation)
            observation = _moved(observation, state)
            rows.append(state.action)
        if state.joint_position is not None:
            self._joints = observation.joint_position
        return ActionChunk(np.vstack(rows), ActionSpace.CARTESIAN_POSITION, self._card.fps)

    def ahead(self, observation: Observation) -> Observation | None:
        """What the policy will be shown if `next` is called with `observation` now; None where it is not asked before
        the first frame.
        """
        if self._motion is not None and self._elapsed + 1 / self._card.fps <= self._motion.seconds + EPSILON:
            return None
        return self._at_end(self._with_joints(observation))

    def _with_joints(self, observation: Observation) -> Observation:
        if observation.joint_position is None and self._joints is not None:
            return replace(observation, joint_position=self._joints)
        return observation

    def _at_end(self, now: Observation) -> Observation:
        """The robot where its motion ends. Where that is at `now` itself, the world's word on where it is stands."""
        if self._motion is None or self._motion.seconds - self._elapsed <= EPSILON:
            return now
        return _moved(now, self._motion.at(np.array([self._motion.seconds])))

    def _advance(self, now: Observation) -> RobotState:
        """The robot one frame after `now`, asking the policy whenever its last motion ends before that."""
        due = self._elapsed + 1 / self._card.fps
        while self._motion is None or due > self._motion.seconds + EPSILON:
            if self._motion is not None:
                now = self._at_end(now)
                due -= self._motion.seconds
            self._motion, self._elapsed = self._ask(now), 0.0
        self._elapsed = due
        return self._motion.at(np.array([due]))

    def _ask(self, observation: Observation) -> Motion:
        declared = self._policy.card
        chunk = self._policy.act(observation)
        if chunk.space is not declared.action_space:
            raise InvalidInput(
                f"policy {declared.name!r} declares {declared.action_space} and answered a {chunk.space} chunk"
            )
        if self._execute is not None:
            chunk = replace(chunk, values=chunk.values[: self._execute])
        return motion_of(chunk, observation, self._kinematics)


def _check_world(card: WorldCard) -> None:
    if card.action_space is not ActionSpace.CARTESIAN_POSITION:
        raise InvalidInput(
            f"the world {card.name!r} takes {card.action_space}; actions are converted to "
            f"{ActionSpace.CARTESIAN_POSITION} only"
        )


def _joint_start(
    chunk: ActionChunk, observation: Observation, kinematics: Kinematics | None
) -> tuple[FloatArray, Callable[[FloatArray], FloatArray]]:
    """The observed joints `(7,)` and the forward kinematics that a joint space needs."""
    if observation.joint_position is None:
        raise InvalidInput(
            f"{chunk.space} actions need the robot's joint_position, which the observation lacks: "
            "use a scene whose recording has joints, or a policy in a Cartesian action space"
        )
    if kinematics is None:
        raise InvalidInput(
            f"{chunk.space} actions need the robot's kinematics to become cartesian_position, and none were given"
        )
    return observation.joint_position.astype(np.float64), kinematics.forward


def _moved(observation: Observation, state: RobotState) -> Observation:
    """The observation with the robot at `state` (of one instant); what the motion does not tell stays as observed."""
    joints = observation.joint_position if state.joint_position is None else state.joint_position[0]
    return replace(
        observation,
        cartesian_position=state.cartesian_position[0],
        gripper_position=state.gripper_position[0],
        joint_position=joints,
    )


def _linear(values: FloatArray, positions: FloatArray) -> FloatArray:
    """`(K, D)` knots at fractional `positions` `(M,)`: `(M, D)`."""
    before = np.floor(positions).astype(np.int64)
    after = np.minimum(before + 1, len(values) - 1)
    share = (positions - before)[:, None]
    return np.asarray((1 - share) * values[before] + share * values[after])
