"""A known plane: its texture without what stands on it, and the depths of the pixels that show it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from arena.contracts import InvalidInput
from real2sim.splats.fit import FitSettings, fit
from real2sim.splats.planar import PlaneTexture, pixel_rays, plane_depths, plane_texture
from real2sim.splats.raster import rasterize
from real2sim.splats.start import random_points, start_from_points
from real2sim.splats.views import View, unproject
from tests.real2sim.splats.tabletop import CAN, photograph, wrist_cameras
from tests.real2sim.splats.test_fit import small_views

THINGS = (6, 7, 8)
"""MuJoCo's ids of the box, the can and the bowl."""
UP, OUTLINE = np.array([0.0, 0.0, 1.0]), np.array([[0.12, -0.48], [0.88, 0.48]])


@pytest.fixture(scope="module")
def seen() -> tuple[list[View], np.ndarray, np.ndarray]:
    """Views, MuJoCo's depths, and its geom ids (5 is the table)."""
    cameras = wrist_cameras(12)
    frames, depths, geoms = photograph(cameras)
    views = [View(camera, frame, np.ones(frame.shape[:2], bool)) for camera, frame in zip(cameras, frames, strict=True)]
    return views, depths, geoms


@pytest.fixture(scope="module")
def texture(seen: tuple[list[View], np.ndarray, np.ndarray]) -> PlaneTexture:
    return plane_texture(seen[0], UP, 0.0, OUTLINE, standing(seen))


def standing(seen: tuple[list[View], np.ndarray, np.ndarray]) -> np.ndarray:
    """Some points of the box, the can and the bowl, as a sweep finds them."""
    views, depths, geoms = seen
    points = []
    for view, depth, geom in zip(views, depths, geoms, strict=True):
        rows, columns = np.nonzero(np.isin(geom, THINGS))
        some = slice(None, None, 10)
        pixels = np.stack([columns[some], rows[some]], axis=1) + 0.5
        points.append(unproject(view.camera, pixels, depth[rows[some], columns[some]]))
    return np.concatenate(points)


def test_depths_of_the_table_are_its_own(
    seen: tuple[list[View], np.ndarray, np.ndarray], texture: PlaneTexture
) -> None:
    views, depths, geoms = seen
    found = plane_depths(views, texture)
    table = geoms == 5
    assert (found > 0)[table].mean() > 0.7
    assert np.quantile(np.abs(found - depths)[table & (found > 0)], 0.9) < 0.005
    things = np.isin(geoms, THINGS)
    assert (found > 0)[things].mean() < 0.02
    # Without points that stand on it, things hide in the texture of their own feet.
    assert (plane_depths(views, plane_texture(views, UP, 0.0, OUTLINE)) > 0)[things].mean() > 0.1


def test_what_stands_in_front_in_some_views_is_not_in_the_texture(texture: PlaneTexture) -> None:
    beside = np.abs(texture.points[..., :2] - [CAN[0] + 0.09, CAN[1]]).max(axis=-1) < 0.012
    red, _, blue = texture.colors[beside & texture.known].mean(axis=0)
    assert red > blue + 0.1


def test_masked_pixels_give_no_depth(seen: tuple[list[View], np.ndarray, np.ndarray], texture: PlaneTexture) -> None:
    masked = replace(seen[0][0], mask=np.tile(np.arange(160) < 80, (96, 1)))
    assert (plane_depths([masked], texture)[0, :, 80:] == 0).all()


def test_rays_are_those_of_unprojection() -> None:
    camera = wrist_cameras(3)[1]
    point = camera.camera_to_base[:3, 3] + 0.7 * pixel_rays(camera)[10, 20]
    np.testing.assert_allclose(point, unproject(camera, np.array([[20.5, 10.5]]), np.array([0.7]))[0])


def test_a_tilted_plane_lies_where_its_equation_says() -> None:
    normal = np.array([0.1, -0.2, 1.0]) / np.linalg.norm([0.1, -0.2, 1.0])
    tilted = plane_texture(small_views(), normal, 0.05, OUTLINE, spacing=0.1)
    np.testing.assert_allclose(tilted.points @ normal, 0.05, atol=1e-12)
    with pytest.raises(InvalidInput, match="unit normal"):
        plane_texture(small_views(), 2 * normal, 0.05, OUTLINE)


def test_given_depths_pull_a_fit() -> None:
    """From the same start, and where photographs alone say little: depths end nearer to what was given."""
    views = small_views()
    start = start_from_points(*random_points(views, 200, 0.5, 2.0, seed=0), degree=0)
    settings = FitSettings(steps=60, degree=0, densify_every=10, depth=1.0)
    given = np.full((len(views), 24, 40), 1.0)
    errors = []
    for depths in (None, given):
        fitted = fit(views, start, settings, depths=depths)
        with torch.no_grad():
            seen = rasterize(fitted, [view.camera for view in views])
        errors.append(float((seen.depth - 1.0).abs()[seen.alpha > 0.5].mean()))
    assert errors[1] < 0.8 * errors[0]
    with pytest.raises(InvalidInput, match="given depths"):
        fit(views, start, settings, depths=given[:, :-1])
