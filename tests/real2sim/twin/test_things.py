"""The table and what stands on it, from photographs at known cameras."""

from __future__ import annotations

import numpy as np
import pytest

from arena.contracts import FloatArray
from real2sim.splats.views import View
from real2sim.twin import things
from real2sim.twin.solid_fit import FittedSolid, ThingSettings, fit_solid
from real2sim.twin.solids import SHAPES, Shape, Solid
from real2sim.twin.support import SupportPlane, plane_frame
from real2sim.twin.table import find_table
from real2sim.twin.things import find_things
from tests.real2sim.splats.tabletop import (
    BOX,
    BOX_HALF,
    CAN,
    CAN_HALF,
    CAN_RADIUS,
    exterior_cameras,
    photograph,
    wrist_cameras,
)


def photographs(count: int) -> list[View]:
    cameras = exterior_cameras() + wrist_cameras(count)
    frames, _, _ = photograph(cameras)
    return [View(camera, frame, np.ones(frame.shape[:2], bool)) for camera, frame in zip(cameras, frames, strict=True)]


def test_the_table_is_found_by_its_texture() -> None:
    table = find_table(photographs(12))
    assert abs(table.plane.height) < 0.003
    assert table.plane.tilt < 0.5
    assert table.plane.covers(np.array([[0.5, 0.0, 0.0]])).all()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_things_are_found_where_they_stand() -> None:
    table = find_table(photographs(24))
    found = find_things(table.views, table.plane)
    places = np.array([thing.body_to_base[:3, 3] for thing in found])
    for place, height, across in ((BOX, 2 * BOX_HALF[2], 2 * BOX_HALF[0]), (CAN, 2 * CAN_HALF, 2 * CAN_RADIUS)):
        apart = np.linalg.norm(places[:, :2] - place, axis=1)
        thing = found[int(apart.argmin())]
        assert apart.min() < 0.01
        assert thing.size[2] == pytest.approx(height, rel=0.15)
        assert thing.size[:2].min() == pytest.approx(across, rel=0.15)


def test_a_place_that_the_episode_handled_is_looked_at_besides(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr(things, "find_places", lambda *_: np.array([[0.4, 0.0, 0.0]]))
    monkeypatch.setattr(things, "fit_solid", lambda place, *_: asked.append(float(place[0])))
    monkeypatch.setattr(things, "check_views", lambda *_: None)
    plane = tilted(0.0)
    handled = np.array([[0.41, 0.0, 0.0], [0.6, 0.0, 0.0], [0.61, 0.0, 0.0]])
    assert things.find_things([], plane, handled=handled) == []
    assert asked == [0.4, 0.6], "each place is looked at once"


def tilted(degrees: float) -> SupportPlane:
    normal = np.array([np.sin(np.radians(degrees)), 0.0, np.cos(np.radians(degrees))])
    return SupportPlane(normal, 0.0, np.array([[0, -1], [1, -1], [1, 1], [0, 1.0]]), degrees, 1.0)


@pytest.mark.parametrize(("shape", "height", "degrees", "stays"), [
    ("ellipsoid", 0.03, 0.0, True), ("ellipsoid", 0.08, 2.5, False),
    ("cylinder", 0.08, 2.5, True), ("box", 0.08, 2.5, True),
])  # fmt: skip
def test_what_would_roll_away_does_not_stand_there(shape: Shape, height: float, degrees: float, stays: bool) -> None:
    plane = tilted(degrees)
    place = plane_frame(np.array([0.5, 0.0, 0.0]), plane)
    assert things.stands(plane, Solid(shape, 0.0, 0.0, 0.0, 0.08, 0.08, height), place) is stays


def test_a_solid_that_would_not_stay_gives_way_to_one_that_does() -> None:
    cameras = exterior_cameras() + wrist_cameras(8)
    frames, _, _ = photograph(cameras)
    views = [View(camera, frame, np.ones(frame.shape[:2], bool)) for camera, frame in zip(cameras, frames, strict=True)]
    settings = ThingSettings(draws=10, elite=3, rounds=4, pixels=3000, worth=-1.0)
    place = np.array([*CAN, 0.0])
    asked: list[str] = []

    def none_but_the_third(solid: Solid, frame: FloatArray) -> bool:
        asked.append(solid.shape)
        return len(asked) == 3

    found = fit_solid(place, views, tilted(0.0), settings, none_but_the_third)
    assert found is not None
    assert found.solid.shape == asked[2]
    assert set(asked) == set(SHAPES)
    assert fit_solid(place, views, tilted(0.0), settings, lambda *_: False) is None


def test_of_two_things_in_one_place_one_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The better explained one: bodies inside each other would be thrown apart."""
    fits = [
        FittedSolid(Solid("box", x, 0.0, 0.0, 0.06, 0.06, 0.04), np.eye(4), gain, 5)
        for x, gain in ((0.40, 0.5), (0.455, 0.4), (0.465, 0.3), (0.55, 0.1))
    ]
    queue = iter(fits)
    monkeypatch.setattr(things, "find_places", lambda *_: np.zeros((len(fits), 3)))
    monkeypatch.setattr(things, "fit_solid", lambda *_: next(queue))
    monkeypatch.setattr(things, "check_views", lambda *_: None)
    monkeypatch.setattr(things.Below, "explains", lambda *_: False)
    plane = tilted(0.0)
    found = things.find_things([], plane)
    assert [round(float(each.body_to_base[0, 3]), 3) for each in found] == [0.4, 0.465]
    assert [each.name for each in found] == ["object_1", "object_2"]
