"""Cartesian trajectories in joints: carried out again, they command the same poses."""

from __future__ import annotations

import numpy as np
import pytest

from arena.actions import to_world_chunk
from arena.contracts import ActionChunk, ActionSpace, InvalidInput, Observation, WorldCard
from arena.synthesis.joints import in_joints
from real2sim.robot import PandaKinematics
from tests.arena.synthesis.making import droid, trajectory

HOME = np.array([0.0, -0.8, 0.0, -2.3, 0.0, 1.6, 0.8])


def test_joint_velocities_command_the_same_poses() -> None:
    panda = PandaKinematics()
    poses = np.tile(panda.forward(HOME[None]), (12, 1))
    poses[:, 0] += np.linspace(0.0, 0.1, 12)
    poses[:, 2] -= np.linspace(0.0, 0.05, 12)
    state = np.concatenate([poses, np.linspace(0, 1, 12)[:, None]], axis=1)
    commands = np.concatenate([state[1:], state[-1:]])
    source = trajectory(
        0, 12, state=state, action=ActionChunk(commands, ActionSpace.CARTESIAN_POSITION, 10.0), robot="panda"
    )
    made = in_joints(source, panda, HOME)
    assert made.action.space is ActionSpace.JOINT_VELOCITY
    assert made.joint_position is not None
    np.testing.assert_allclose(panda.forward(made.joint_position)[:, :3], poses[:, :3], atol=1e-4)
    world = WorldCard("w", "w" * 64, 10.0, 4, ("wrist",))
    for frame in (0, 5, 11):
        seen = Observation({}, poses[frame], state[frame, 6:], "", made.joint_position[frame])
        chunk = ActionChunk(made.action.values[frame : frame + 1], made.action.space, 10.0)
        carried_out = to_world_chunk(chunk, seen, world, panda)
        np.testing.assert_allclose(carried_out.values[0, :3], commands[frame, :3], atol=1e-3)
        np.testing.assert_allclose(carried_out.values[0, 6:], commands[frame, 6:], atol=1e-6)


def test_what_has_joint_actions_already_is_refused() -> None:
    with pytest.raises(InvalidInput, match="has joint_velocity actions"):
        in_joints(droid(0), PandaKinematics(), HOME)
