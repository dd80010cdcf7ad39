"""The pinhole camera: projection by hand, its inverse, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from arena.contracts import InvalidInput
from real2sim.camera import Camera


def _camera(**changes) -> Camera:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", [0.3, -0.2, 1.1]).as_matrix()
    pose[:3, 3] = [0.4, -0.1, 0.8]
    usual = {"width": 160, "height": 96, "fx": 120, "fy": 118, "cx": 80, "cy": 48, "camera_to_base": pose}
    return Camera(**(usual | changes))


def test_a_point_on_the_optical_axis_lands_on_the_principal_point():
    camera = _camera()
    ahead = camera.camera_to_base[:3, 3] + 0.7 * camera.camera_to_base[:3, 2]
    pixels, depth = camera.project(ahead[None])
    np.testing.assert_allclose(pixels, [[80, 48]], atol=1e-9)
    np.testing.assert_allclose(depth, [0.7])


def test_base_to_camera_undoes_camera_to_base():
    camera = _camera()
    np.testing.assert_allclose(camera.base_to_camera @ camera.camera_to_base, np.eye(4), atol=1e-12)


def test_resizing_scales_the_pixels():
    camera, points = _camera(), np.array([[0.5, 0.3, 0.1], [1.0, -0.4, 1.2]])
    np.testing.assert_allclose(camera.resized(320, 48).project(points)[0], camera.project(points)[0] * [2, 0.5])


@pytest.mark.parametrize(
    "pose", [np.eye(3), np.diag([1, 1, -1, 1.0]), np.diag([2, 2, 2, 1.0]), np.full((4, 4), np.nan)]
)
def test_a_pose_that_is_not_rigid_is_refused(pose):
    with pytest.raises(InvalidInput, match="camera_to_base"):
        _camera(camera_to_base=pose)
