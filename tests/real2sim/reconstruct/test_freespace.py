"""Where the robot was, nothing else is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from real2sim.mount import mount_poses
from real2sim.reconstruct.freespace import lowest_reached
from real2sim.robot import PandaKinematics
from real2sim.twin.table import TableSettings
from tests.real2sim.reconstruct.test_chain import an_episode


def test_no_table_is_higher_than_the_fingertips_reached() -> None:
    episode = an_episode()
    down = np.array([0.0, 0.3, 0.0, -2.2, 0.0, 2.5, 0.8])
    joints = np.tile(down, (3, 1))
    joints[1, 0] += 0.4
    joints[2, 1] += 0.15
    found = lowest_reached(
        replace(episode, joint_position=joints[np.arange(20) % 3], gripper_position=np.zeros((20, 1)))
    )
    flange = mount_poses(joints, PandaKinematics())[:, 2, 3].min()
    assert flange - 0.17 < found < flange - 0.13, "a 2F-85 reaches 15 cm beyond the flange"
    settings = TableSettings().below(found)
    assert settings.highest == found
    assert TableSettings().below(2.0) == TableSettings()


def test_an_arm_that_stands_still_says_nothing_of_the_table() -> None:
    episode = an_episode()
    still = np.tile(np.asarray(episode.joint_position)[:1], (20, 1))
    assert lowest_reached(replace(episode, joint_position=still)) == np.inf
    assert TableSettings().below(np.inf) == TableSettings()
