"""The table and what stands on it, from photographs at known cameras."""

from __future__ import annotations

import numpy as np
import pytest

from real2sim.splats.views import View
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
