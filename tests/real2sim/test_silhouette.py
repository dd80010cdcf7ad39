"""What is drawn lies where `Camera.project` says, for any intrinsics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from real2sim.camera import Camera
from real2sim.engine import mujoco
from real2sim.joints import JointSetter
from real2sim.robot import PandaKinematics
from real2sim.robot_files import load_robot, panda_with_robotiq
from real2sim.silhouette import Eye, RobotSilhouette, add_eye, looking_at

HOME = np.array([0, -np.pi / 5, 0, -4 * np.pi / 5, 0, 3 * np.pi / 5, 0])
POSE = looking_at(np.array([1.2, 0.5, 0.7]), np.array([0.4, 0.0, 0.3]), roll=0.2)
CAMERAS = [
    Camera(160, 96, 130, 130, 80, 48, POSE),
    Camera(160, 96, 120, 140, 80, 48, POSE),
    Camera(160, 96, 130, 130, 92, 37, POSE),
]


@pytest.mark.parametrize("camera", CAMERAS)
def test_small_balls_are_drawn_where_they_are_projected(camera: Camera) -> None:
    points = np.array([[0.4, 0.0, 0.3], [0.5, 0.2, 0.4], [0.3, -0.3, 0.1], [0.6, 0.1, 0.55]])
    spec = mujoco.MjSpec()
    add_eye(spec)
    for i, point in enumerate(points):
        body = spec.worldbody.add_body(name=f"ball{i}", pos=point)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.03, 0, 0])
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    eye = Eye(model, camera.width, camera.height, (0,))
    depth = eye.depth(data, camera)
    eye.close()
    pixels, far = camera.project(points)
    rows, columns = np.indices(depth.shape)
    for (x, y), z in zip(pixels, far, strict=True):
        near = np.isfinite(depth) & (np.hypot(columns + 0.5 - x, rows + 0.5 - y) < 8)
        assert near.sum() > 20
        # The middle of a ball's outline, and its nearest point.
        assert abs((columns[near] + 0.5).mean() - x) < 0.4
        assert abs((rows[near] + 0.5).mean() - y) < 0.4
        assert abs(depth[near].min() - (z - 0.03)) < 0.004


@pytest.fixture(scope="module")
def robot() -> Iterator[RobotSilhouette]:
    silhouette = RobotSilhouette(160, 96)
    yield silhouette
    silhouette.close()


def test_the_meshes_are_where_the_kinematics_are(robot: RobotSilhouette) -> None:
    """The wrist's flange, by the kinematics that datasets use, is on the drawn robot."""
    camera = CAMERAS[0]
    flange = PandaKinematics().forward(HOME[None])[0, :3]
    depth = robot.depth(camera, HOME, 0.0)
    (x, y), z = (value[0] for value in camera.project(flange[None]))
    assert np.isfinite(depth[int(y), int(x)])
    assert 0 < z - depth[int(y), int(x)] < 0.09
    assert 0.02 < np.isfinite(depth).mean() < 0.4


def test_a_closed_gripper_is_narrower(robot: RobotSilhouette) -> None:
    pads = []
    for closed in (0.0, 1.0):
        robot.pose(HOME, closed)
        left, right = (robot.data.body(f"{side}_inner_finger").xpos for side in ("left", "right"))
        pads.append(np.linalg.norm(left - right))
    assert pads[0] - pads[1] > 0.05


def test_the_joints_of_the_linkage_keep_the_pads_parallel() -> None:
    model = load_robot(panda_with_robotiq()).compile()
    data = mujoco.MjData(model)
    setter = JointSetter(model)
    axes = []
    for closed in (0.0, 0.5, 1.0):
        setter(data, HOME, closed)
        mujoco.mj_kinematics(model, data)
        axes.append([data.body(f"{side}_inner_finger").xmat.copy() for side in ("left", "right")])
    np.testing.assert_allclose(axes[1], axes[0], atol=1e-6)
    np.testing.assert_allclose(axes[2], axes[0], atol=1e-6)
