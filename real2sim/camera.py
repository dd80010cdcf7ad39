"""A pinhole camera in the robot's base frame: what every stage of a twin passes to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from arena.contracts import Episode, FloatArray, InvalidInput

CALIBRATION = "calibration"
"""In an episode's metadata: `camera_facts` by the camera's name, where its dataset knows them. Of the wrist camera the
pose is that on its mount."""

MOST_PIXELS = 16_384
"""Of a picture's side."""


@dataclass(frozen=True)
class Camera:
    """Intrinsics in pixels and a pose in metres, after OpenCV: x to the right, y down, z into the picture.

    A pixel's centre has integer-plus-a-half coordinates: the first pixel covers 0 to 1, and `cx` of a centred
    camera is `width / 2`. There is no lens distortion. `camera_to_base` is `(4, 4)`, rigid; raises `InvalidInput`
    for anything else.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    camera_to_base: FloatArray

    def __post_init__(self) -> None:
        pose = np.asarray(self.camera_to_base, dtype=np.float64)
        if pose.shape != (4, 4) or not np.isfinite(pose).all():
            raise InvalidInput(f"camera_to_base must be a finite (4, 4) matrix, not {pose.shape}")
        rotation = pose[:3, :3]
        rigid = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-5) and np.linalg.det(rotation) > 0
        if not rigid or not np.allclose(pose[3], [0, 0, 0, 1]):
            raise InvalidInput("camera_to_base must be rigid: a rotation, a translation and a last row 0 0 0 1")
        if not (0 < self.fx < np.inf and 0 < self.fy < np.inf and np.isfinite([self.cx, self.cy]).all()):
            raise InvalidInput("a camera's focal lengths must be positive, and its numbers finite")
        if not (0 < self.width <= MOST_PIXELS and 0 < self.height <= MOST_PIXELS):
            raise InvalidInput(
                f"a camera's sides must have 1 to {MOST_PIXELS} pixels, not {self.width} and {self.height}"
            )

    @property
    def base_to_camera(self) -> FloatArray:
        """`(4, 4)`: a point of the base frame, seen from the camera."""
        rotation, position = self.camera_to_base[:3, :3], self.camera_to_base[:3, 3]
        inverse = np.eye(4)
        inverse[:3, :3], inverse[:3, 3] = rotation.T, -rotation.T @ position
        return inverse

    @property
    def intrinsics(self) -> FloatArray:
        """`(3, 3)`: camera coordinates to homogeneous pixels."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    def project(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Points `(N, 3)` of the base frame to pixels `(N, 2)` and depths `(N,)` in metres along the optical axis.

        Only where the depth is positive does a pixel mean something.
        """
        seen = np.asarray(points, dtype=np.float64) @ self.base_to_camera[:3, :3].T + self.base_to_camera[:3, 3]
        depth = seen[:, 2]
        safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
        return np.stack([self.fx * seen[:, 0] / safe + self.cx, self.fy * seen[:, 1] / safe + self.cy], axis=1), depth

    def cells(self, points: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
        """Of points `(N, 3)` of the base frame the row and the column `(N,)` of the pixel that shows each, and their
        depths in m, 0 where a point is not in the picture. Such a point has some pixel of it all the same, so that all
        can be looked up at once.
        """
        pixels, depth = self.project(points)
        column, row = np.floor(np.clip(pixels, -1, 1e6)).astype(np.int64).T
        inside = (depth > 0) & (column >= 0) & (row >= 0) & (column < self.width) & (row < self.height)
        return row.clip(0, self.height - 1), column.clip(0, self.width - 1), np.where(inside, depth, 0.0)

    def stepped(self, turn: FloatArray, shift: FloatArray, stretch: float = 1.0) -> Camera:
        """Turned by a rotation vector (rad) and shifted by m, both in its own frame, with `stretch` times its focal
        lengths."""
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec(turn).as_matrix(), shift
        moved = self.camera_to_base @ pose
        moved[:3, :3] = nearest_rotation(moved[:3, :3])
        return replace(self, camera_to_base=moved, fx=self.fx * stretch, fy=self.fy * stretch)

    def resized(self, width: int, height: int) -> Camera:
        """The same camera with another picture size."""
        across, down = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * across,
            fy=self.fy * down,
            cx=self.cx * across,
            cy=self.cy * down,
        )


def nearest_rotation(matrix: FloatArray) -> FloatArray:
    """Of a `(3, 3)` that is nearly one: many products leave a rotation by rounding."""
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ right)


def camera_facts(camera: Camera) -> dict[str, Any]:
    """A camera as JSON."""
    return {**vars(camera), "camera_to_base": np.asarray(camera.camera_to_base).tolist()}


def calibrated(metadata: Mapping[str, Any]) -> dict[str, Camera]:
    """The cameras that an episode's metadata tell of, if any. Raises `InvalidInput` for what is no camera."""
    try:
        return {name: camera_of(facts) for name, facts in dict(metadata.get(CALIBRATION, {})).items()}
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"the dataset's {CALIBRATION} are no cameras: {error}") from error


def calibrated_camera(episode: Episode, name: str) -> Camera | None:
    """The one that an episode's metadata tell of, for its films, which may have been resized since; else None."""
    known = calibrated(episode.metadata).get(name)
    if known is None:
        return None
    height, width = episode.cameras[name].shape[1:3]
    return known.resized(width, height)


def camera_of(facts: Mapping[str, Any]) -> Camera:
    """The camera of `camera_facts`."""
    return Camera(**{**facts, "camera_to_base": np.array(facts["camera_to_base"])})
