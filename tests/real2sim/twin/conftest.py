"""The table-top of `tests.real2sim.splats.tabletop`, as depth pictures and as the things found in them."""

from __future__ import annotations

import pytest

from real2sim.twin.bundle import Twin
from real2sim.twin.carve import DepthPicture
from real2sim.twin.objects import TwinObject, cloud_from, find_objects
from real2sim.twin.support import SupportPlane, find_support_plane
from tests.real2sim.splats.tabletop import exterior_cameras, photograph, wrist_cameras
from tests.real2sim.twin.small import make_small_twin


@pytest.fixture(scope="session")
def pictures() -> list[DepthPicture]:
    cameras = exterior_cameras() + wrist_cameras(12)
    _, depths, _ = photograph(cameras)
    return [DepthPicture(camera, depth) for camera, depth in zip(cameras, depths, strict=True)]


@pytest.fixture(scope="session")
def plane(pictures: list[DepthPicture]) -> SupportPlane:
    return find_support_plane(cloud_from(pictures))


@pytest.fixture(scope="session")
def objects(pictures: list[DepthPicture], plane: SupportPlane) -> list[TwinObject]:
    return find_objects(pictures, plane)


@pytest.fixture(scope="session")
def small_twin() -> Twin:
    return make_small_twin()
