"""Properties of the rotation forms: round trips near identity, in gimbal lock, in batches and in both dtypes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from arena.contracts import InvalidInput
from arena.geometry import (
    euler_xyz_to_matrix,
    matrix_to_euler_xyz,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
    rotation_angle,
    unwrap_euler,
)

Floats = NDArray[np.float64]


def _angles(limit: float = 10.0) -> st.SearchStrategy[Floats]:
    batch = st.sampled_from([(3,), (1, 3), (5, 3), (2, 4, 3)])
    return batch.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=st.floats(-limit, limit)))


@given(_angles())
def test_euler_to_matrix_is_the_extrinsic_xyz_convention(euler: Floats) -> None:
    expected = Rotation.from_euler("xyz", euler.reshape(-1, 3)).as_matrix().reshape(*euler.shape, 3)
    np.testing.assert_allclose(euler_xyz_to_matrix(euler), expected, atol=1e-12)


@given(_angles())
def test_matrix_survives_euler_and_back(euler: Floats) -> None:
    matrix = euler_xyz_to_matrix(euler)
    again = euler_xyz_to_matrix(matrix_to_euler_xyz(matrix))
    assert rotation_angle(matrix, again).max() < 1e-7


@given(hnp.arrays(np.float64, (3,), elements=st.floats(-1e-6, 1e-6)))
def test_small_angles_survive_exactly_enough(euler: Floats) -> None:
    np.testing.assert_allclose(matrix_to_euler_xyz(euler_xyz_to_matrix(euler)), euler, atol=1e-15)


@given(st.floats(-3, 3), st.floats(-3, 3), st.sampled_from([-1.0, 1.0]), st.sampled_from([0.0, 1e-12, 1e-9, 1e-5]))
def test_gimbal_lock_keeps_the_orientation(roll: float, yaw: float, sign: float, offset: float) -> None:
    matrix = euler_xyz_to_matrix(np.array([roll, sign * (np.pi / 2 - offset), yaw]))
    euler = matrix_to_euler_xyz(matrix)
    assert np.isfinite(euler).all()
    assert rotation_angle(matrix, euler_xyz_to_matrix(euler)) < 3e-7


@given(_angles())
def test_matrix_survives_six_numbers_and_back(euler: Floats) -> None:
    matrix = euler_xyz_to_matrix(euler)
    np.testing.assert_allclose(rotation_6d_to_matrix(matrix_to_rotation_6d(matrix)), matrix, atol=1e-12)


@given(hnp.arrays(np.float64, (4, 6), elements=st.floats(-5, 5)))
def test_any_two_columns_that_span_a_plane_give_a_rotation(columns: Floats) -> None:
    sine = np.linalg.norm(np.cross(columns[:, :3], columns[:, 3:]), axis=-1)
    if (sine < 1e-3).any():
        return
    matrix = rotation_6d_to_matrix(columns)
    np.testing.assert_allclose(matrix @ np.swapaxes(matrix, -1, -2), np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(matrix), 1.0, atol=1e-9)


@pytest.mark.parametrize("columns", [[0, 0, 0, 1, 0, 0], [1, 2, 3, 2, 4, 6], [1, 0, 0, 0, 0, 0]])
def test_columns_without_a_plane_are_refused(columns: list[float]) -> None:
    with pytest.raises(InvalidInput, match="parallel"):
        rotation_6d_to_matrix(np.array(columns, dtype=np.float64))


@given(st.floats(0, np.pi), hnp.arrays(np.float64, (3,), elements=st.floats(-3, 3)))
def test_angle_between_rotations_is_the_turn_that_was_made(turn: float, euler: Floats) -> None:
    axis = np.array([0.36, 0.48, 0.8])
    before = euler_xyz_to_matrix(euler)
    after = before @ Rotation.from_rotvec(turn * axis).as_matrix()
    assert rotation_angle(before, after) == pytest.approx(turn, abs=1e-9)
    assert rotation_angle(after, before) == pytest.approx(turn, abs=1e-9)


@given(
    hnp.arrays(np.float64, (20, 3), elements=st.floats(-0.9, 0.9)),
    hnp.arrays(np.float64, (3,), elements=st.floats(-9, 9)),
)
def test_unwrapping_undoes_wrapping(steps: Floats, start: Floats) -> None:
    smooth = start + np.cumsum(steps, axis=0)
    wrapped = (smooth + np.pi) % (2 * np.pi) - np.pi
    unwrapped = unwrap_euler(wrapped, reference=smooth[0])
    np.testing.assert_allclose(unwrapped, smooth, atol=1e-9)
    assert np.abs(np.diff(unwrap_euler(wrapped), axis=0)).max() < 0.9 + 1e-9


def test_reference_brings_two_episodes_together() -> None:
    down = np.array([[3.1, 0.0, 0.0], [-3.1, 0.0, 0.0]])
    np.testing.assert_allclose(unwrap_euler(down)[:, 0], [3.1, 2 * np.pi - 3.1])
    np.testing.assert_allclose(unwrap_euler(down, reference=np.array([-3.0, 0, 0]))[:, 0], [3.1 - 2 * np.pi, -3.1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_stays(dtype: type) -> None:
    euler = np.array([[0.1, 0.2, 0.3]], dtype=dtype)
    matrix = euler_xyz_to_matrix(euler)
    results = [matrix, matrix_to_euler_xyz(matrix), matrix_to_rotation_6d(matrix), unwrap_euler(euler)]
    assert [result.dtype for result in results] == [np.dtype(dtype)] * 4
    assert rotation_angle(matrix, matrix).dtype == dtype
    np.testing.assert_allclose(matrix_to_euler_xyz(matrix), euler, atol=1e-6)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"\(\.\.\., 3, 3\), not \(2, 3\)"):
        matrix_to_euler_xyz(np.zeros((2, 3)))
    with pytest.raises(InvalidInput, match=r"\(T, 3\)"):
        unwrap_euler(np.zeros(3))
