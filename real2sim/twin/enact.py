"""Commands carried out in a twin's physics, without a policy to ask: what stood where at every instant."""

from __future__ import annotations

import numpy as np

from arena.contracts import Episode, FloatArray, InvalidInput
from real2sim.robots import robot_named
from real2sim.twin.arm import Arm
from real2sim.twin.bundle import Twin
from real2sim.twin.control import commanded_joints
from real2sim.twin.physics import TwinPhysics
from real2sim.twin.pictures import Instant


def commands_of(episode: Episode) -> tuple[FloatArray, FloatArray]:
    """What the arm was told in every frame, `(T, 7)` rad, and the gripper, `(T,)`; where the episode does not say,
    where they were a frame later. Raises `InvalidInput` for an episode without joints."""
    if episode.joint_position is None:
        raise InvalidInput(f"episode {episode.id} has no joint positions, so it cannot be carried out in a twin")
    joints, gripper = np.asarray(episode.joint_position), np.asarray(episode.gripper_position)[:, 0]
    told = commanded_joints(episode)
    if told is None or episode.action is None:
        rows = np.minimum(np.arange(len(joints)) + 1, len(joints) - 1)
        return joints[rows], gripper[rows]
    return told, np.asarray(episode.action.values[:, -1])


def carried_out(twin: Twin, told: FloatArray, gripper: FloatArray, seed: int | None = None) -> list[Instant]:
    """`T + 1` instants, from the twin's beginning on, of `told` `(T, 7)` rad and `gripper` `(T,)` at the twin's rate.

    `seed` draws masses and frictions as a trial with it in `TwinWorld` does; None takes the likeliest.
    """
    robot = robot_named(twin.beginning.robot)
    physics = TwinPhysics(twin.plane, twin.objects, robot)
    if seed is not None:
        physics = physics.drawn(seed)
    arm = Arm(physics.model, physics.data, twin.servo, robot, twin.gripper)
    arm.place(twin.beginning.joint_position, twin.beginning.gripper_position)
    instants = [Instant(arm.joint_position, arm.gripper_position, physics.body_to_base())]
    for row, grip in zip(told, gripper, strict=True):
        arm.follow(row, float(grip), 1 / twin.beginning.fps)
        instants.append(Instant(arm.joint_position, arm.gripper_position, physics.body_to_base()))
    return instants
