"""Rotations: extrinsic-xyz Euler angles, matrices, and a continuous six-number form.

All functions take any leading batch dimensions, compute in float64 and return the floating dtype that they
were given (float64 for integers).
"""

from __future__ import annotations

import numpy as np

from arena.contracts import FloatArray, InvalidInput

_LOCKED = 1e-7
"""Below this cosine of the pitch, roll and yaw turn about the same axis and only their sum is known."""


def euler_xyz_to_matrix(euler: FloatArray) -> FloatArray:
    """`(..., 3)` extrinsic-xyz angles in rad to `(..., 3, 3)`: about fixed x, then y, then z (`Rz @ Ry @ Rx`)."""
    angles = _float64(euler, (3,))
    cos_x, cos_y, cos_z = np.moveaxis(np.cos(angles), -1, 0)
    sin_x, sin_y, sin_z = np.moveaxis(np.sin(angles), -1, 0)
    rows = (
        (cos_z * cos_y, cos_z * sin_y * sin_x - sin_z * cos_x, cos_z * sin_y * cos_x + sin_z * sin_x),
        (sin_z * cos_y, sin_z * sin_y * sin_x + cos_z * cos_x, sin_z * sin_y * cos_x - cos_z * sin_x),
        (-sin_y, cos_y * sin_x, cos_y * cos_x),
    )
    return _like(np.stack([np.stack(row, axis=-1) for row in rows], axis=-2), euler)


def matrix_to_euler_xyz(matrix: FloatArray) -> FloatArray:
    """`(..., 3, 3)` to `(..., 3)` extrinsic-xyz angles in rad, pitch in [-pi/2, pi/2], roll and yaw in [-pi, pi].

    In gimbal lock (pitch of +-pi/2) the yaw is set to 0 and the roll takes all of the turn.
    """
    m = _float64(matrix, (3, 3))
    cos_pitch = np.hypot(m[..., 0, 0], m[..., 1, 0])
    locked = cos_pitch < _LOCKED
    roll = np.where(locked, np.arctan2(-m[..., 1, 2], m[..., 1, 1]), np.arctan2(m[..., 2, 1], m[..., 2, 2]))
    pitch = np.arctan2(-m[..., 2, 0], cos_pitch)
    yaw = np.where(locked, 0.0, np.arctan2(m[..., 1, 0], m[..., 0, 0]))
    return _like(np.stack([roll, pitch, yaw], axis=-1), matrix)


def unwrap_euler(euler: FloatArray, reference: FloatArray | None = None) -> FloatArray:
    """`(T, 3)` angles over time without jumps of 2 pi: each is within pi of the one before, the same orientations.

    The first is moved within pi of `reference` `(3,)` where one is given (another episode's angles, for
    instance): a gripper that points down has a roll near pi in one episode and near -pi in the next.
    """
    angles = _float64(euler, (3,))
    if angles.ndim != 2:
        raise InvalidInput(f"angles over time must be (T, 3), not {angles.shape}")
    if reference is None:
        return _like(np.unwrap(angles, axis=0), euler)
    anchored = np.concatenate([_float64(reference, (3,))[None], angles])
    return _like(np.unwrap(anchored, axis=0)[1:], euler)


def matrix_to_rotation_6d(matrix: FloatArray) -> FloatArray:
    """`(..., 3, 3)` to `(..., 6)`: the first two columns, a form without jumps (Zhou et al. 2019, arXiv 1812.07035)."""
    m = _float64(matrix, (3, 3))
    return _like(np.concatenate([m[..., :, 0], m[..., :, 1]], axis=-1), matrix)


def rotation_6d_to_matrix(rotation_6d: FloatArray) -> FloatArray:
    """`(..., 6)` to `(..., 3, 3)` by Gram-Schmidt (Zhou et al. 2019): any six numbers that span a plane will do.

    Raises `InvalidInput` where the two columns are zero or parallel.
    """
    columns = _float64(rotation_6d, (6,))
    first = _normalised(columns[..., :3])
    second = columns[..., 3:] - (first * columns[..., 3:]).sum(-1, keepdims=True) * first
    second = _normalised(second)
    return _like(np.stack([first, second, np.cross(first, second)], axis=-1), rotation_6d)


def rotation_angle(a: FloatArray, b: FloatArray) -> FloatArray:
    """Angle in rad, in [0, pi], of the turn between rotation matrices `a` and `b` `(..., 3, 3)`; `(...)`.

    By both sine and cosine of the turn, so that it is precise near 0 and near pi.
    """
    relative = np.swapaxes(_float64(a, (3, 3)), -1, -2) @ _float64(b, (3, 3))
    skew = relative - np.swapaxes(relative, -1, -2)
    sine = 0.5 * np.sqrt(skew[..., 2, 1] ** 2 + skew[..., 0, 2] ** 2 + skew[..., 1, 0] ** 2)
    cosine = 0.5 * (np.trace(relative, axis1=-2, axis2=-1) - 1.0)
    return _like(np.arctan2(sine, cosine), a)


def _normalised(vector: FloatArray) -> FloatArray:
    norm = np.linalg.norm(vector, axis=-1, keepdims=True)
    if (norm < np.finfo(np.float64).tiny ** 0.5).any():
        raise InvalidInput("a six-number rotation needs two columns that are neither zero nor parallel")
    return np.asarray(vector / norm)


def _float64(array: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    converted = np.asarray(array, dtype=np.float64)
    if converted.shape[-len(shape) :] != shape:
        expected = ", ".join(str(side) for side in shape)
        raise InvalidInput(f"expected an array of shape (..., {expected}), not {converted.shape}")
    return converted


def _like(result: FloatArray, given: FloatArray) -> FloatArray:
    dtype = np.asarray(given).dtype
    return result.astype(dtype) if np.issubdtype(dtype, np.floating) else result
