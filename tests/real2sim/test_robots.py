"""Robots are values: every one of them loads, and its kinematics are those of its own recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arena.contracts import InvalidInput
from real2sim.reality.plans import plan
from real2sim.reality.record import episodes
from real2sim.robot import ArmKinematics
from real2sim.robot_files import RobotFiles, load_robot
from real2sim.robot_kind import Robot
from real2sim.robots import ROBOTS, SAWYER, robot_named


@pytest.mark.parametrize("robot", ROBOTS, ids=lambda robot: robot.name)
def test_a_robot_has_the_parts_that_its_description_names(robot: Robot) -> None:
    model = load_robot(robot.files()).compile()
    for name in (*robot.joints, *robot.gripper.closed):
        assert model.joint(name).name == name
    assert set(robot.gripper.motors) <= set(robot.gripper.closed)
    assert model.body(robot.tool_body).id > 0
    assert (model.geom_group == robot.visual_group).any()
    assert robot.torque.shape == (7,)


@pytest.mark.parametrize("robot", ROBOTS, ids=lambda robot: robot.name)
def test_inverse_kinematics_find_the_way_back(robot: Robot) -> None:
    kinematics = ArmKinematics(robot)
    joints = np.array([[0.1, -0.6, 0.1, -1.9, 0.2, 1.4, 0.3]])
    if robot is SAWYER:
        joints = np.array([[1.4, -1.0, 0.1, 1.6, 0.2, 1.0, 1.5]])
    pose = kinematics.forward(joints)[0]
    np.testing.assert_allclose(kinematics.forward(kinematics.nearest(pose, joints[0] + 0.1)[None])[0], pose, atol=1e-3)


def test_the_sawyers_states_are_those_that_meta_world_records() -> None:
    for episode in episodes(plan(["push-v3"], 2, 3, {"random": 1.0}), 16, 24, 12):
        computed = ArmKinematics(SAWYER).forward(episode.joint_position)
        np.testing.assert_allclose(computed, episode.state[:, :6], atol=1e-6)


def test_what_a_robot_stands_on_is_left_to_the_scene() -> None:
    model = load_robot(SAWYER.files()).compile()
    names = [model.body(index).name for index in range(model.nbody)]
    assert "pedestal" not in names
    assert "mocap" not in names
    assert SAWYER.tool_body in names


def test_meshes_without_a_name_are_all_kept(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.obj").write_text(
            "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 3 1 4\n"
        )
    assets = '<asset><mesh file="a.obj"/><mesh file="b.obj"/></asset>'
    body = '<body><geom type="mesh" mesh="a"/><geom type="mesh" mesh="b"/></body>'
    (tmp_path / "arm.xml").write_text(f"<mujoco>{assets}<worldbody>{body}</worldbody></mujoco>")
    assert load_robot(RobotFiles(tmp_path / "arm.xml")).compile().nmesh == 2


def test_robots_are_found_by_what_datasets_call_them() -> None:
    assert robot_named("sawyer") is SAWYER
    assert robot_named("").name == robot_named("droid").name == "panda"
    with pytest.raises(InvalidInput, match=r"no model of a 'widowx'.*'panda' and 'sawyer'"):
        robot_named("widowx")
