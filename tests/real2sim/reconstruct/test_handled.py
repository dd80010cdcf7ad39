"""Where on a table an episode says that things stood, by masks whose truth is painted."""

from __future__ import annotations

import numpy as np

from arena.contracts import FloatArray
from real2sim.camera import Camera
from real2sim.reconstruct.handled import handled_places
from real2sim.reconstruct.moved import Changes, Moved
from real2sim.silhouette import looking_at
from real2sim.twin.support import SupportPlane

WIDTH, HEIGHT, LENGTH = 160, 96, 20
PLANE = SupportPlane(
    np.array([0.0, 0.0, 1.0]), 0.02, np.array([[0.2, -0.4], [0.8, -0.4], [0.8, 0.4], [0.2, 0.4]]), 0.0, 1.0
)
THING, SHADOW = np.array([0.45, 0.1, 0.02]), np.array([0.65, -0.2, 0.02])
NOTHING = np.zeros((0, 3))


def camera(side: float) -> Camera:
    pose = looking_at(np.array([0.5, side, 0.6]), np.array([0.5, 0.0, 0.0]))
    return Camera(WIDTH, HEIGHT, 110.0, 110.0, WIDTH / 2, HEIGHT / 2, pose)


def film(seen_by: Camera, things: list[tuple[FloatArray, float]]) -> Changes:
    """A static camera's film: things, `(foot, height)` in m and 5 cm across, stand there for its second half."""
    rng = np.random.default_rng(0)
    frames = np.full((LENGTH, HEIGHT, WIDTH, 3), 150.0)
    for foot, height in things:
        corners = [foot + np.array([x, y, z]) for x in (-0.025, 0.025) for y in (-0.025, 0.025) for z in (0.0, height)]
        pixels, _ = seen_by.project(np.array(corners))
        (left, top), (right, bottom) = np.floor(pixels.min(0)).astype(int), np.ceil(pixels.max(0)).astype(int)
        frames[LENGTH // 2 :, top:bottom, left:right] = [200, 30, 30]
    frames += rng.normal(0, 1, frames.shape)
    nobody = np.zeros((LENGTH, HEIGHT, WIDTH), bool)
    return Changes.of(seen_by, frames.clip(0, 255).astype(np.uint8), np.arange(LENGTH), nobody)


def moved(things: list[tuple[FloatArray, float]]) -> Moved:
    return Moved([film(camera(side), things) for side in (-0.7, 0.7)], np.zeros((1, 3)), np.zeros(1, bool))


def test_a_thing_that_appeared_is_asked_about_where_it_stands_and_what_is_flat_is_not() -> None:
    places = handled_places(PLANE, moved([(THING, 0.06), (SHADOW, 0.0)]), NOTHING)
    assert len(places) == 1
    assert np.linalg.norm(places[0] - THING) < 0.02
    assert handled_places(PLANE, moved([]), NOTHING).shape == (0, 3)


def test_where_the_hand_closed_near_the_table_is_asked_about() -> None:
    taken = np.array([[0.4, 0.2, 0.05], [0.4, 0.2, 0.5], [1.5, 0.0, 0.05]])
    places = handled_places(PLANE, moved([]), taken)
    np.testing.assert_allclose(places, [[0.4, 0.2, 0.02]])
