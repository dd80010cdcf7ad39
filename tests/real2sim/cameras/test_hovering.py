"""A camera that is drawn beside itself all the time, in a film in which the arm hovers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from arena.contracts import FloatArray
from real2sim.camera import Camera
from real2sim.cameras.align import SHARP, Shots
from real2sim.cameras.hovering import scene_behind, sharpened
from real2sim.cameras.plate import Plate
from real2sim.robots import PANDA
from real2sim.silhouette import RobotSilhouette, looking_at
from tests.real2sim.twin.small import HOME

WIDTH, HEIGHT, LENGTH = 160, 96, 40


@pytest.fixture(scope="module")
def hovering() -> tuple[Camera, Shots]:
    """Three quarters of the time the arm stands still; the scene behind it is coloured blots."""
    rng = np.random.default_rng(0)
    pose = looking_at(np.array([1.3, 0.7, 0.7]), np.array([0.35, 0.0, 0.35]))
    camera = Camera(WIDTH, HEIGHT, 130.0, 130.0, 80.0, 48.0, pose)
    scene = 90 + 120 * gaussian_filter(rng.normal(0, 1, (HEIGHT, WIDTH, 3)), (4, 4, 0))
    ways = rng.uniform(-0.5, 0.5, (10, 7))
    joints = np.concatenate([np.tile(HOME, (30, 1)), HOME + ways])
    robot = RobotSilhouette(SHARP * WIDTH, SHARP * HEIGHT, PANDA)
    film = np.stack([_filmed(robot, camera, q, scene) for q in joints])
    robot.close()
    film = (film + rng.normal(0, 1.5, film.shape)).clip(0, 255).astype(np.uint8)
    return camera, Shots(film, joints, np.zeros(LENGTH), Plate.of(film), (joints, np.zeros(LENGTH)))


def _filmed(robot: RobotSilhouette, camera: Camera, joints: FloatArray, scene: FloatArray) -> FloatArray:
    depth = robot.depth(camera.resized(robot.width, robot.height), joints, 0.0)
    share = np.isfinite(depth).reshape(HEIGHT, SHARP, WIDTH, SHARP).mean((1, 3))[..., None]
    return share * 230 + (1 - share) * scene


def test_the_camera_is_found_again_before_the_scene_that_it_knows(hovering: tuple[Camera, Shots]) -> None:
    camera, shots = hovering
    robot = RobotSilhouette(SHARP * WIDTH, SHARP * HEIGHT, PANDA)
    beside = camera.stepped(np.radians([0.5, -0.8, 0.3]), np.array([0.01, -0.01, 0.005]), 1.0)
    held_out, fine = np.array([0, 32, 36]), np.array([5, 15, 30, 31, 33, 34, 35, 37, 38, 39])
    found = sharpened(robot, shots, fine, held_out, beside, False).camera
    robot.close()
    apart = np.linalg.norm(found.camera_to_base[:3, 3] - camera.camera_to_base[:3, 3])
    before = np.linalg.norm(beside.camera_to_base[:3, 3] - camera.camera_to_base[:3, 3])
    assert apart < 0.006 < before


def test_frames_held_out_are_not_asked_about_the_scene(hovering: tuple[Camera, Shots]) -> None:
    camera, shots = hovering
    held_out = np.arange(30, LENGTH)
    blank = shots.film.copy()
    blank[held_out] = 0
    first, second = (scene_behind(PANDA, each, held_out, camera) for each in (shots, replace(shots, film=blank)))
    assert np.array_equal(first.background, second.background)
    assert not first.known.all(), "while the arm stood still it hid some of it"
