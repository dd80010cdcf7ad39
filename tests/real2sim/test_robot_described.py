"""Robots that a user describes: a URDF made here, in place of one that a maker would give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arena.contracts import InvalidInput
from real2sim.camera import Camera
from real2sim.robot import ArmKinematics
from real2sim.robot_described import FOLDER, described
from real2sim.robots import robot_named
from real2sim.silhouette import RobotSilhouette, looking_at
from real2sim.twin.enact import carried_out
from tests.real2sim.twin.small import make_small_twin

LENGTH = 0.1
JOINTS = [f"j{number}" for number in range(1, 8)]

OBJ = """v 0 -0.02 -0.02
v 0 0.02 -0.02
v 0 0 0.03
v 0.1 0 0
f 1 2 3
f 1 4 2
f 2 4 3
f 3 4 1
"""

TOML = """
names = ["planar", "planar arm"]
joints = ["j1", "j2", "j3", "j4", "j5", "j6", "j7"]
tool_body = "link7"
tool = { position = [0.1, 0.0, 0.0] }
fingertips = [0.05, 0.0, 0.0]
torque = [80, 80, 40, 40, 9, 9, 9]
shoulder = [0.0, 0.0, 0.3]
reach = 0.8
workspace = [[-0.7, 0.7], [-0.7, 0.7], [0.0, 0.6]]

[model]
file = "planar.urdf"

[gripper]
closed = { finger = 0.02 }
motors = ["finger"]
stiffness = 1000
damping = 20
force = 20
armature = 0.01
friction = 1.0
"""


def link(name: str) -> str:
    return f"""<link name="{name}">
      <inertial><mass value="0.5"/><inertia ixx="0.001" iyy="0.001" izz="0.001" ixy="0" ixz="0" iyz="0"/></inertial>
      <visual><geometry><mesh filename="bar.obj"/></geometry></visual>
    </link>"""


def joint(name: str, parent: str, child: str, at: str, kind: str = "revolute", axis: str = "0 0 1") -> str:
    return f"""<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>
      <origin xyz="{at}"/><axis xyz="{axis}"/><limit lower="-2" upper="2" effort="9" velocity="9"/></joint>"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven links in a row that turn about z, 0.3 m up, and a finger."""
    parts = [link("base")]
    for number, name in enumerate(JOINTS, 1):
        parent, at = ("base", "0 0 0.3") if number == 1 else (f"link{number - 1}", f"{LENGTH} 0 0")
        kind = "continuous" if number == 3 else "revolute"  # Turns without end, as some makers' do.
        parts += [link(f"link{number}"), joint(name, parent, f"link{number}", at, kind)]
    parts += [link("tip"), joint("finger", "link7", "tip", f"{LENGTH} 0 0", "prismatic", "0 1 0")]
    extension = '<mujoco><compiler discardvisual="false" fusestatic="false"/></mujoco>'
    (tmp_path / "planar.urdf").write_text(f"<robot name='planar'>{extension}{''.join(parts)}</robot>")
    (tmp_path / "bar.obj").write_text(OBJ)
    (tmp_path / "planar.toml").write_text(TOML)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_described_arm_has_kinematics_and_is_drawn() -> None:
    robot = robot_named("planar arm")
    assert robot is robot_named("planar")
    joints = np.random.default_rng(0).uniform(-0.5, 0.5, (4, 7))
    position, _ = ArmKinematics(robot).forward_matrix(joints)
    angle = np.cumsum(joints, axis=1)
    expected = LENGTH * np.stack([np.cos(angle).sum(1), np.sin(angle).sum(1), np.full(4, 3.0)], axis=1)
    np.testing.assert_allclose(position, expected, atol=1e-6)
    goal = ArmKinematics(robot).forward(joints + 0.05)
    reached = ArmKinematics(robot).inverse(goal, joints[0])
    np.testing.assert_allclose(ArmKinematics(robot).forward(reached), goal, atol=5e-3)
    assert (reached[:, 2] != 0).all()
    camera = Camera(80, 60, 70.0, 70.0, 40.0, 30.0, looking_at(np.array([0.4, 0.0, 1.2]), np.array([0.4, 0.01, 0.3])))
    silhouette = RobotSilhouette(80, 60, robot)
    seen = [np.isfinite(silhouette.depth(camera, q, 0.0)) for q in (np.zeros(7), joints[0])]
    silhouette.close()
    assert all(30 < mask.sum() < 2000 for mask in seen)
    assert (seen[0] != seen[1]).any()


@pytest.mark.usefixtures("folder")
def test_a_described_arm_carries_out_commands_in_a_twin() -> None:
    small_twin = make_small_twin()
    twin = replace(
        small_twin,
        objects=(),
        splats={},
        beginning=replace(small_twin.beginning, robot="planar", joint_position=np.zeros(7)),
    )
    told = np.linspace(0, 0.3, 15)[:, None] * np.ones(7)
    instants = carried_out(twin, told, np.ones(15))
    np.testing.assert_allclose(instants[-1].joint_position, 0.3, atol=0.05)
    assert instants[-1].gripper_position > 0.8


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"j7"]', "]", "joints"),
        ("reach = 0.8", "reach = -1", "reach: .*greater than 0"),
        ("reach = 0.8", "", "reach: Field required"),
        ("reach = 0.8", "reach = 0.8\nspeed = 3", "speed: Extra inputs"),
        ("reach = 0.8", "reach =", "describes no robot"),
        ('tool_body = "link7"', 'tool_body = "flange"', "a body 'flange'; its model has base, link1"),
        ('motors = ["finger"]', 'motors = ["thumb"]', "a motor 'thumb'; `closed` moves finger"),
        ("finger = 0.02", "finger = 0.0", "a motor 'finger'"),
        ("finger = 0.02", "finger = 0.02, thumb = 0.1", "a joint 'thumb'; its model has finger, j1"),
        ('file = "planar.urdf"', 'file = "planar.urdf"\nstand = ["foot"]', "no body 'foot' to leave out"),
        ('"planar arm"', '""', "names.1: "),
        ("planar.urdf", "other.urdf", "other.urdf is missing"),
        ('names = ["planar", "planar arm"]', 'visual_group = 3\nnames = ["planar"]', "no mesh in group 3"),
    ],
)
def test_a_wrong_description_is_one_clear_line(folder: Path, old: str, new: str, message: str) -> None:
    file = folder / "planar.toml"
    assert old in TOML
    file.write_text(TOML.replace(old, new, 1))
    with pytest.raises(InvalidInput, match=message) as refusal:
        described(file)
    assert "\n" not in str(refusal.value)


def test_a_robot_that_changes_is_another(folder: Path) -> None:
    first = robot_named("planar")
    (folder / "planar.toml").write_text(TOML.replace("reach = 0.8", "reach = 0.85"))
    assert robot_named("planar").reach == 0.85
    assert first.source != robot_named("planar").source != robot_named("panda").source == ""
    (folder / "planar.toml").write_text(TOML.replace('"planar arm"', '"droid"'))
    with pytest.raises(InvalidInput, match="two robots are called 'droid'"):
        robot_named("planar")


def test_a_folder_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "gone"))
    with pytest.raises(InvalidInput, match=f"{FOLDER} names .*gone, which is no folder"):
        robot_named("panda")
