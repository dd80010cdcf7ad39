"""The wrist camera on the flange, from matches whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, InvalidInput
from real2sim.camera import Camera
from real2sim.cameras.epipolar import EpipolarProblem
from real2sim.cameras.gates import epipolar_gate, given_hand_eye_gate, hand_eye_gate
from real2sim.cameras.handeye import (
    HandEye,
    camera_numbers,
    check_hand_eye,
    hopped,
    solve_hand_eye,
    without_gripper,
)
from real2sim.cameras.matching import Matches, match_frames
from real2sim.cameras.rotations import rotation_residuals
from real2sim.robot_kind import Mount

WIDTH, HEIGHT, FOCAL = 160, 96, 112.0
FRAMES, POINTS = 24, 400


def hand_eye() -> FloatArray:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("zyx", [-0.8, 0.1, -0.15]).as_matrix()
    pose[:3, 3] = [-0.06, 0.05, 0.03]
    return pose


def flange_path(rng: np.random.Generator) -> FloatArray:
    """Poses 35 to 55 cm over a table, looking down within 30 degrees."""
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    turns = Rotation.from_euler("xyz", rng.uniform(-0.5, 0.5, (FRAMES, 3))) * Rotation.from_euler("x", np.pi)
    poses[:, :3, :3] = turns.as_matrix()
    poses[:, :3, 3] = rng.uniform([0.35, -0.2, 0.35], [0.65, 0.2, 0.55], (FRAMES, 3))
    return poses


def seen(flange: FloatArray, wrong: float = 0.3, aspect: float = 1.0) -> Matches:
    """Points of a table that each pair of frames shares, a share of them wrong, and one feature of the gripper."""
    rng = np.random.default_rng(1)
    points = np.c_[rng.uniform([0.0, -0.6], [1.0, 0.6], (POINTS, 2)), rng.uniform(0, 0.05, POINTS)]
    pixels, shown = [], []
    for pose in flange:
        camera = Camera(WIDTH, HEIGHT, FOCAL, FOCAL * aspect, WIDTH / 2, HEIGHT / 2, pose @ hand_eye())
        at, depth = camera.project(points)
        pixels.append(at + rng.normal(0, 0.1, at.shape))
        shown.append((depth > 0) & (at > 0).all(1) & (at < [WIDTH, HEIGHT]).all(1))
    first, second, places, feature = [], [], [], []
    for a in range(FRAMES):
        for b in range(a + 1, FRAMES):
            both = np.nonzero(shown[a] & shown[b])[0]
            there = pixels[b][both]
            lost = rng.random(len(both)) < wrong
            there[lost] = rng.uniform(0, [WIDTH, HEIGHT], (int(lost.sum()), 2))
            gripper = np.array([[80.0, 90.0]])
            first.append(np.full(len(both) + 1, a))
            second.append(np.full(len(both) + 1, b))
            places.append(np.stack([np.r_[pixels[a][both], gripper], np.r_[there, gripper]], axis=1))
            number = np.r_[both, POINTS]
            feature.append(np.stack([number + a * (POINTS + 1), number + b * (POINTS + 1)], axis=1))
    return Matches(*(np.concatenate(each) for each in (first, second, places, feature)))


def test_the_camera_is_found_among_wrong_matches_with_no_initial_guess() -> None:
    flange = flange_path(np.random.default_rng(0))
    fit = solve_hand_eye(seen(flange), flange, WIDTH, HEIGHT)
    off = np.linalg.inv(hand_eye()) @ fit.camera_to_flange
    assert np.linalg.norm(off[:3, 3]) < 0.003
    assert Rotation.from_matrix(off[:3, :3]).magnitude() < np.radians(0.3)
    assert fit.focal == pytest.approx(FOCAL, rel=0.01)
    assert epipolar_gate(fit).passed
    assert hand_eye_gate(fit).passed


def test_a_film_that_was_squeezed_is_measured_with_its_pixels_shape() -> None:
    flange = flange_path(np.random.default_rng(0))
    matches = seen(flange, aspect=1.2)
    fit = solve_hand_eye(matches, flange, WIDTH, HEIGHT, aspect=1.2)
    assert np.linalg.norm(fit.camera_to_flange[:3, 3] - hand_eye()[:3, 3]) < 0.003
    assert fit.focal == pytest.approx(FOCAL, rel=0.01)
    assert solve_hand_eye(matches, flange, WIDTH, HEIGHT).share < fit.share - 0.1


@pytest.mark.parametrize("away", [0, 3])
def test_a_dip_beside_the_deepest_is_left_by_jumps(away: int) -> None:
    """Least squares stay 27 and 44 mm away, where four of five matches are wrong."""
    flange = flange_path(np.random.default_rng(0))
    matches = without_gripper(seen(flange, wrong=0.8), flange)
    problem = EpipolarProblem(matches, flange, WIDTH, HEIGHT)
    true = camera_numbers(Mount(hand_eye(), FOCAL / WIDTH))
    spread = np.repeat([0.05, 0.03, 0.05], [3, 3, 1])
    start = true + spread * np.random.default_rng(5).standard_normal((4, 7))[away]
    dip = problem.refined(start, None)
    assert np.linalg.norm(dip[3:6] - true[3:6]) > 0.02
    judges = problem.draw(np.random.default_rng(1), len(matches))
    best = hopped(problem, dip, np.random.default_rng(0), None, judges)
    assert np.linalg.norm(best[3:6] - true[3:6]) < 0.002


def test_poses_of_other_times_are_refused() -> None:
    flange = flange_path(np.random.default_rng(0))
    fit = solve_hand_eye(seen(flange), flange[::-1].copy(), WIDTH, HEIGHT)
    assert not epipolar_gate(fit).passed
    assert "joint" in epipolar_gate(fit).reason


def test_what_stays_put_while_the_camera_moves_is_the_grippers() -> None:
    flange = flange_path(np.random.default_rng(0))
    matches = seen(flange)
    kept = without_gripper(matches, flange)
    assert (matches.feature % (POINTS + 1) == POINTS).any()
    assert not (kept.feature % (POINTS + 1) == POINTS).any()
    assert len(kept) > 0.8 * len(matches)


def test_a_film_that_shares_too_little_is_refused() -> None:
    flange = flange_path(np.random.default_rng(0))
    few = seen(flange).subset(np.arange(50))
    with pytest.raises(InvalidInput, match="share too little"):
        solve_hand_eye(few, flange, WIDTH, HEIGHT)


def test_features_of_a_film_are_matched_where_they_moved_to() -> None:
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 256, (40, 60, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    shifts = [(0, 0), (5, 9), (11, 2)]
    film = np.stack([texture[y : y + HEIGHT, x : x + WIDTH].copy() for y, x in shifts])
    matches = match_frames(film)
    assert len(matches) > 100
    moved = matches.pixels[:, 0] - matches.pixels[:, 1]
    true = np.array([[shifts[b][1] - shifts[a][1], shifts[b][0] - shifts[a][0]]
                     for a, b in zip(matches.first, matches.second, strict=True)])  # fmt: skip
    assert (np.abs(moved - true).max(axis=1) < 0.5).mean() > 0.8


def test_a_mount_is_a_beginning_and_nothing_more() -> None:
    flange = flange_path(np.random.default_rng(0))
    near, aside = hand_eye(), np.eye(4)
    near[:3, 3] += [0.01, -0.01, 0.01]
    aside[:3, 3] = [0.1, 0.1, -0.1]
    # Where nine of ten matches are wrong the search may be lost, but not who starts nearby.
    fit = solve_hand_eye(seen(flange, wrong=0.9), flange, WIDTH, HEIGHT, mounts=[Mount(aside, 0.4), Mount(near, 0.65)])
    assert np.linalg.norm(fit.camera_to_flange[:3, 3] - hand_eye()[:3, 3]) < 0.005


def given(metres: float = 0.0, degrees: float = 0.0, aside: float = 0.0) -> Camera:
    """The true camera, moved, turned, or with its principal point aside."""
    pose = hand_eye()
    pose[:3, 3] += metres * np.array([0.6, 0.0, 0.8])
    pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, 0.8, 0.0])).as_matrix()
    return Camera(WIDTH, HEIGHT, FOCAL, FOCAL, WIDTH / 2 + aside, HEIGHT / 2, pose)


@pytest.mark.parametrize(("metres", "degrees"), [(0.02, 0.0), (0.0, 2.0), (0.05, 10.0)])
def test_a_given_camera_is_believed_where_none_near_it_is_better(metres: float, degrees: float) -> None:
    flange = flange_path(np.random.default_rng(0))
    matches = seen(flange)
    assert given_hand_eye_gate(*check_hand_eye(matches, flange, given())).passed
    wrong, near = check_hand_eye(matches, flange, given(metres, degrees))
    gate = given_hand_eye_gate(wrong, near)
    assert not gate.passed
    assert gate.value < gate.threshold
    assert "not where the dataset says" in gate.reason
    assert near.camera_to_flange[:3, 3] == pytest.approx(hand_eye()[:3, 3], abs=1e-3)


def test_a_given_cameras_principal_point_counts() -> None:
    flange = flange_path(np.random.default_rng(0))
    matches = seen(flange)
    aside = replace(matches, pixels=matches.pixels + np.array([7.0, 0.0]))
    assert given_hand_eye_gate(*check_hand_eye(aside, flange, given(aside=7.0))).passed
    assert check_hand_eye(aside, flange, given())[0].share < 0.5 * check_hand_eye(matches, flange, given())[0].share


def test_pairs_tell_their_own_turns() -> None:
    flange = flange_path(np.random.default_rng(0))
    matches = seen(flange)
    fit = HandEye(hand_eye(), FOCAL, 0.7, 0.1, 0.56, 0.0, 0.0, matches, np.ones(len(matches), bool))
    right = rotation_residuals(fit, flange, WIDTH, HEIGHT)
    assert len(right) > 20
    assert np.degrees(np.median(right)) < 0.3
    # Joints that are wrong by one degree, about another axis in each frame.
    axes = np.random.default_rng(1).normal(size=(FRAMES, 3))
    off = Rotation.from_rotvec(np.radians(1.0) * axes / np.linalg.norm(axes, axis=1, keepdims=True)).as_matrix()
    wrong = flange.copy()
    wrong[:, :3, :3] = flange[:, :3, :3] @ off
    assert 0.7 < np.degrees(np.median(rotation_residuals(fit, wrong, WIDTH, HEIGHT))) < 2


def test_a_hand_that_never_turns_tells_nothing_of_where_its_camera_is() -> None:
    """Wherever on it the camera were, its films would be the same."""
    flange = flange_path(np.random.default_rng(0))
    flange[:, :3, :3] = np.diag([1.0, -1.0, -1.0])
    aside, _ = check_hand_eye(seen(flange), flange, given(metres=0.1))
    assert epipolar_gate(aside).passed
    assert not (gate := hand_eye_gate(aside)).passed
    assert "turns the hand more" in gate.reason
