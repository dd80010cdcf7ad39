"""Exterior cameras from the robot itself: each part on its own, and the whole from nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from scipy.spatial.transform import Rotation

from arena.contracts import Episode, InvalidInput
from real2sim.camera import Camera
from real2sim.cameras import solve_exterior
from real2sim.cameras.align import SHARP, Shots, align
from real2sim.cameras.gates import certainty_gate, silhouette_gate, steadiness
from real2sim.cameras.plate import Plate
from real2sim.cameras.search import Evidence, random_cameras, score
from real2sim.cameras.surface import surface_points
from real2sim.robots import PANDA
from real2sim.silhouette import RobotSilhouette
from real2sim.truth import FAULTS, KnownTruth, make_truth

SEED, NAME = 1, "exterior_1"


@pytest.fixture(scope="module")
def truth() -> KnownTruth:
    return make_truth(SEED, 30)


@pytest.fixture(scope="module")
def robot() -> Iterator[RobotSilhouette]:
    silhouette = RobotSilhouette(SHARP * 160, SHARP * 96)
    yield silhouette
    silhouette.close()


def errors(found: Camera, true: Camera) -> tuple[float, float]:
    """cm and degrees."""
    turn = Rotation.from_matrix(found.camera_to_base[:3, :3].T @ true.camera_to_base[:3, :3])
    apart = np.linalg.norm(found.camera_to_base[:3, 3] - true.camera_to_base[:3, 3])
    return 100 * float(apart), float(np.rad2deg(turn.magnitude()))


def nudged(camera: Camera, metres: float, degrees: float, seed: int = 0) -> Camera:
    rng = np.random.default_rng(seed)
    pose = camera.camera_to_base.copy()
    shift, axis = rng.standard_normal(3), rng.standard_normal(3)
    pose[:3, 3] += metres * shift / np.linalg.norm(shift)
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * axis / np.linalg.norm(axis)).as_matrix()
    pose[:3, :3] = pose[:3, :3] @ turn
    return replace(camera, camera_to_base=pose)


def test_the_plate_is_the_scene_and_a_change_is_the_robot() -> None:
    rng = np.random.default_rng(0)
    scene = rng.integers(40, 200, (20, 30, 3)).astype(np.uint8)
    film = np.stack([scene] * 12)
    for t in range(12):
        film[t, 5:9, 2 * t : 2 * t + 4] = [255, 0, 0]
    plate = Plate.of(film)
    np.testing.assert_array_equal(plate.background, scene)
    changed = plate.changed(film)
    assert changed[3, 5:9, 6:10].all()
    assert not changed[3, 10:].any()


def test_surface_points_are_on_the_drawn_robot(truth: KnownTruth, robot: RobotSilhouette) -> None:
    episode, camera = truth.episode, truth.exterior[NAME]
    points = surface_points(robot, episode.joint_position[:2], episode.gripper_position[:2, 0], 400)
    assert abs(points.shape[1] - 400) < 100
    sharp = camera.resized(robot.width, robot.height)
    for t in range(2):
        mask = np.isfinite(robot.depth(sharp, episode.joint_position[t], episode.gripper_position[t, 0]))
        pixels, depth = sharp.project(points[t])
        inside = (depth > 0) & (pixels >= 0).all(1) & (pixels < [sharp.width, sharp.height]).all(1)
        column, row = pixels[inside].astype(int).T
        assert binary_dilation(mask, iterations=2)[row, column].all()


def test_the_true_camera_explains_the_film_better_than_any_random_one(
    truth: KnownTruth, robot: RobotSilhouette
) -> None:
    film = truth.episode.cameras[NAME].read()
    rows = np.arange(0, len(film), 3)
    joints, gripper = truth.episode.joint_position[rows], truth.episode.gripper_position[rows, 0]
    points = surface_points(robot, joints, gripper, 600)
    evidence = Evidence.of(points, Plate.of(film).changed(film[rows]), points, PANDA.workspace)
    poses, focals = random_cameras(np.random.default_rng(0), 400, 160, PANDA.workspace)
    true = truth.exterior[NAME]
    scores = score(evidence, np.concatenate([poses, true.camera_to_base[None]]), np.append(focals, true.fx))
    assert scores[-1] > scores[:-1].max() + 0.05


def test_a_rough_camera_becomes_sharp(truth: KnownTruth, robot: RobotSilhouette) -> None:
    film, gripper = truth.episode.cameras[NAME].read(), truth.episode.gripper_position[:, 0]
    shots = Shots(film, truth.episode.joint_position, gripper, Plate.of(film), (truth.episode.joint_position, gripper))
    true = truth.exterior[NAME]
    start = nudged(true, 0.03, 2.0)
    found = align(robot, shots.taken(np.arange(0, 30, 3)), start, free_focal=False)
    cm, degrees = errors(found.camera, true)
    assert cm < 1.0
    assert degrees < 0.5
    assert found.edges is not None
    assert found.edges.seen.mean() > 0.4
    # What it says of its own error is neither idle nor boastful; without the focal length it knows less.
    assert 0.05 < 100 * found.position_error < 3
    free = align(robot, shots.taken(np.arange(0, 30, 3)), true, free_focal=True)
    assert free.position_error > 1.3 * found.position_error


def test_a_camera_that_is_knocked_is_told_from_one_that_stands(truth: KnownTruth) -> None:
    still = steadiness(truth.episode.cameras[NAME].read(), NAME)
    assert still.passed
    moved = FAULTS["a camera that moves"](truth.episode, 0)
    gate = steadiness(moved.cameras[NAME].read(), NAME)
    assert not gate.passed
    assert gate.value == pytest.approx(19, abs=1)
    assert f"{NAME} moved" in gate.reason


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"joint_position": None}, "has no joint positions"),
        ({"joint_position": np.full((30, 7), 45.0)}, "must be in rad"),
        ({"cameras": {}}, "has no camera 'exterior_1'"),
    ],
)
def test_what_an_episode_lacks_is_said(truth: KnownTruth, changes: dict[str, object], said: str) -> None:
    episode = Episode(**{**vars(truth.episode), **changes})
    with pytest.raises(InvalidInput, match=said):
        solve_exterior(episode, NAME)


def test_a_film_without_the_robot_is_refused(truth: KnownTruth) -> None:
    class Wall:
        shape = (30, 96, 160, 3)

        def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
            return np.full((30, 96, 160, 3), 90, np.uint8)[start:stop]

    episode = Episode(**{**vars(truth.episode), "cameras": {NAME: Wall()}})
    with pytest.raises(InvalidInput, match="does not show the robot move"):
        solve_exterior(episode, NAME)


@pytest.mark.slow
def test_a_camera_is_found_from_nothing_and_wrong_recordings_are_refused() -> None:
    truth = make_truth(SEED, 60)
    fit = solve_exterior(truth.episode, NAME)
    cm, degrees = errors(fit.camera, truth.exterior[NAME])
    assert cm < 2.0
    assert degrees < 1.0
    assert silhouette_gate(fit, NAME).passed
    assert certainty_gate(fit, NAME).passed
    for fault in ("wrong joint offsets", "shuffled frames", "mirrored video"):
        spoiled = solve_exterior(FAULTS[fault](truth.episode, 0), NAME)
        assert not silhouette_gate(spoiled, NAME).passed, fault
