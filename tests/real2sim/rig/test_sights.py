"""Things are found, told from each other, and measured where pictures differ from the empty rig."""

from __future__ import annotations

import numpy as np
import pytest

from real2sim.camera import Camera
from real2sim.rig.shapes import outline, patch, placed
from real2sim.rig.sights import Sight, spot
from real2sim.silhouette import looking_at
from real2sim.splats.planar import pixel_rays
from real2sim.twin.solids import Solid
from real2sim.twin.support import SupportPlane, plane_frame

WIDTH, HEIGHT = 192, 128
LEVEL = SupportPlane(np.array([0.0, 0, 1]), 0.0, np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]), 0.0, 1.0)
TABLE = np.array([120, 90, 60])
RED, GREEN = np.array([200, 20, 20]), np.array([20, 190, 30])
PUCK, BALL = (
    Solid("cylinder", 0.05, 0.02, 0.0, 0.04, 0.04, 0.04),
    Solid("ellipsoid", -0.08, 0.05, 0.0, 0.05, 0.05, 0.05),
)
LIFTED = 0.12


def camera(x: float, y: float) -> Camera:
    return Camera(WIDTH, HEIGHT, 154.0, 154.0, WIDTH / 2, HEIGHT / 2, looking_at(np.array([x, y, 0.5]), np.zeros(3)))


def drawn(view: Camera, things: list[tuple[Solid, float, np.ndarray]]) -> np.ndarray:
    frame = np.tile(TABLE, (HEIGHT, WIDTH, 1)).astype(np.uint8)
    rays, origin = pixel_rays(view).reshape(-1, 3), view.camera_to_base[:3, 3]
    for solid, lifted, colour in things:
        hit, _ = solid.hit(np.broadcast_to(origin - [0, 0, lifted], rays.shape), rays)
        frame.reshape(-1, 3)[hit] = colour
    return frame


@pytest.fixture
def sights() -> dict[str, Sight]:
    things = [(PUCK, 0.0, RED), (BALL, LIFTED, GREEN)]
    found = {}
    for name, view in {"exterior_1": camera(0.5, -0.5), "exterior_2": camera(-0.5, -0.5)}.items():
        found[name] = Sight(view, drawn(view, things), drawn(view, []), np.full((HEIGHT, WIDTH), np.inf))
    return found


def test_things_are_spotted_where_they_are(sights: dict[str, Sight]) -> None:
    found = sorted(spot(sights), key=lambda each: each.place[0])
    assert len(found) == 2
    np.testing.assert_allclose(found[0].place, [-0.08, 0.05, LIFTED + 0.025], atol=0.006)
    np.testing.assert_allclose(found[1].place, [0.05, 0.02, 0.02], atol=0.006)
    assert found[1].colour[0] > 0.7 > found[1].colour[1]


def test_their_shape_size_and_height_come_from_their_outlines(sights: dict[str, Sight]) -> None:
    ball, puck = (outline(each, sights, LEVEL) for each in sorted(spot(sights), key=lambda each: each.place[0]))
    assert ball.floating
    assert ball.fit.solid.shape == "ellipsoid"
    assert not puck.floating
    assert puck.fit.solid.shape == "cylinder"
    np.testing.assert_allclose(puck.fit.solid.size, 0.04, atol=0.004)
    np.testing.assert_allclose(ball.fit.solid.size, 0.05, atol=0.005)
    assert ball.fit.plane_to_base[2, 3] == pytest.approx(LIFTED, abs=0.006)


def test_a_known_thing_is_found_again_elsewhere(sights: dict[str, Sight]) -> None:
    frame = plane_frame(np.zeros(3), LEVEL)
    nothing = np.zeros((HEIGHT, WIDTH), bool)
    patches = [patch(sight.camera, frame, (sight.frame == RED).all(-1), nothing) for sight in sights.values()]
    place, agreement = placed(PUCK, np.array([0.03, 0.0, 0.05]), patches, frame)
    np.testing.assert_allclose(place, [0.05, 0.02, 0.02], atol=0.004)
    assert agreement > 0.8


def test_behind_the_robot_nothing_is_known(sights: dict[str, Sight]) -> None:
    sight = sights["exterior_1"]
    hidden = Sight(sight.camera, sight.frame, sight.empty, np.full((HEIGHT, WIDTH), 0.3))
    assert not hidden.known.any()
    assert not hidden.changed.any()
