"""Distances of matched features to their epipolar lines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray
from real2sim.cameras.epipolar import LENS, EpipolarProblem, differences, explained
from real2sim.cameras.handeye import camera_numbers
from real2sim.robot_kind import Mount
from tests.real2sim.cameras.test_handeye import FOCAL, HEIGHT, WIDTH, flange_path, hand_eye, seen


def skew(vector: FloatArray) -> FloatArray:
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def sampson(camera: FloatArray, motion: FloatArray, pixels: FloatArray, aspect: float) -> float:
    """By the fundamental matrix in pixels that are 160 to the picture's width, and square."""
    mounted = np.eye(4)
    mounted[:3, :3], mounted[:3, 3] = Rotation.from_rotvec(camera[:3]).as_matrix(), camera[3:6]
    between = np.linalg.inv(mounted) @ motion @ mounted
    focal = np.exp(camera[LENS]) * 160
    inverse = np.linalg.inv(np.array([[focal, 0, 80], [0, focal, 48], [0, 0, 1]]))
    fundamental = inverse.T @ skew(between[:3, 3]) @ between[:3, :3] @ inverse
    a, b = (np.array([u * 160 / WIDTH, 48 + (v - HEIGHT / 2) * 160 / WIDTH / aspect, 1]) for u, v in pixels)
    there, here = fundamental @ a, fundamental.T @ b
    return float(b @ there / np.sqrt((there[:2] ** 2).sum() + (here[:2] ** 2).sum()))


@pytest.mark.parametrize("aspect", [1.0, 1.2])
def test_distances_are_sampsons(aspect: float) -> None:
    flange = flange_path(np.random.default_rng(0))
    matches = seen(flange).subset(np.arange(0, 6000, 301))
    problem = EpipolarProblem(matches, flange, WIDTH, HEIGHT, aspect)
    rng = np.random.default_rng(2)
    cameras = np.c_[rng.normal(0, 0.5, (3, 6)), rng.normal(-0.4, 0.2, 3)]
    chosen = np.array([7, 2, 11])
    motion = np.linalg.inv(flange[matches.second]) @ flange[matches.first]
    expected = [[sampson(camera, motion[n], matches.pixels[n], aspect) for n in chosen] for camera in cameras]
    np.testing.assert_allclose(problem.distances(cameras, chosen), expected, rtol=1e-6)


def test_the_true_camera_is_near_its_lines_and_another_flange_is_not() -> None:
    flange = flange_path(np.random.default_rng(0))
    problem = EpipolarProblem(seen(flange, wrong=0.0), flange, WIDTH, HEIGHT)
    true = camera_numbers(Mount(hand_eye(), FOCAL / WIDTH))[None]
    chosen = problem.everything
    right = problem.distances(true, chosen)[0]
    assert np.median(np.abs(right)) < 0.2
    np.testing.assert_array_equal(problem.distances(true, chosen, problem.motions(flange, chosen))[0], right)
    other = problem.distances(true, chosen, problem.motions(flange[::-1], chosen))[0]
    assert explained(right) > 0.5 > 0.1 > explained(other)


def test_flanges_that_rest_say_nothing_and_divide_by_nothing() -> None:
    flange = np.tile(flange_path(np.random.default_rng(0))[:1], (24, 1, 1))
    problem = EpipolarProblem(seen(flange), flange, WIDTH, HEIGHT)
    off = problem.distances(np.zeros((1, 7)), problem.everything)
    np.testing.assert_allclose(off, 0, atol=1e-3)


def test_differences_are_derivatives() -> None:
    here, slope = differences(
        lambda many: np.stack([many[:, 0] ** 2, many[:, 0] * many[:, 1]], axis=1), np.array([3.0, 2])
    )
    np.testing.assert_allclose(here, [9, 6])
    np.testing.assert_allclose(slope, [[6, 0], [2, 3]], atol=1e-6)


def test_chance_explains_nothing() -> None:
    chance = np.random.default_rng(0).uniform(-20, 20, 20_000)
    assert explained(chance) == pytest.approx(0, abs=0.01)
    assert explained(np.full(5, 3.0)) == 0
    assert explained(np.r_[np.zeros(10), np.full(10, 9.0)]) == pytest.approx(0.5)
