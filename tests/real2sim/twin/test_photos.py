"""Photographs from one place, and what lies below a table, in pictures whose truth is painted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from arena.contracts import FloatArray
from real2sim.camera import Camera
from real2sim.silhouette import looking_at
from real2sim.splats.planar import pixel_rays
from real2sim.splats.views import View
from real2sim.twin.below import Below
from real2sim.twin.photos import one_per_viewpoint, viewpoints
from real2sim.twin.solid_fit import FittedSolid, ThingSettings, explains_better
from real2sim.twin.solids import Solid
from real2sim.twin.support import SupportPlane

WIDTH, HEIGHT, EDGE, FLOOR = 96, 64, 0.1, -0.6
"""The table's plane is z = 0 up to y = `EDGE` m, and the floor is at `FLOOR` m."""
PLANE = SupportPlane(np.array([0.0, 0.0, 1.0]), 0.0, np.array([[0, -1], [1, -1], [1, 1], [0, 1.0]]), 0.0, 1.0)


def camera(eye: tuple[float, float, float]) -> Camera:
    pose = looking_at(np.array(eye), np.array([0.5, EDGE, 0.0]))
    return Camera(WIDTH, HEIGHT, 90.0, 90.0, WIDTH / 2, HEIGHT / 2, pose)


def colors_at(places: FloatArray, seed: int) -> FloatArray:
    """Of places `(..., 2)` m, smooth patches of random colours."""
    texture = gaussian_filter(np.random.default_rng(seed).random((200, 200, 3)), (4, 4, 0))
    texture = (texture - texture.min()) / np.ptp(texture)
    cell = np.clip(((places + 2) / 0.02).astype(int), 0, 199)
    return 80 + 90 * texture[cell[..., 0], cell[..., 1]]


def photograph(eye: tuple[float, float, float], standing: Solid | None = None) -> View:
    at = camera(eye)
    rays, origin = pixel_rays(at), np.array(eye)
    foot = origin + rays * (-origin[2] / rays[..., 2])[..., None]
    floor = origin + rays * ((FLOOR - origin[2]) / rays[..., 2])[..., None]
    picture = np.where((foot[..., 1] < EDGE)[..., None], colors_at(foot[..., :2], 0), colors_at(floor[..., :2], 1))
    if standing is not None:
        flat = rays.reshape(-1, 3)
        hit, where = standing.hit(np.tile(origin, (len(flat), 1)), flat)
        picture.reshape(-1, 3)[hit] = 120 + 100 * where
    return View(at, picture.astype(np.uint8), np.ones((HEIGHT, WIDTH), bool), str(eye))


EYES = [(x, y, 0.7) for x in (0.3, 0.5, 0.7) for y in (-0.3, 0.0, 0.3)]


@pytest.mark.parametrize(("y", "standing", "floor"), [(EDGE + 0.25, False, True), (-0.05, True, False)])
def test_a_solid_beyond_the_tables_edge_is_told_from_a_thing_on_it(y: float, standing: bool, floor: bool) -> None:
    solid = Solid("box", 0.5, y, 0.0, 0.06, 0.06, 0.06)
    views = [photograph(eye, solid if standing else None) for eye in EYES]
    fit = FittedSolid(solid, np.eye(4), 0.4, len(views), cost=0.15)
    assert Below(views, PLANE, ThingSettings().unlike).explains(fit) is floor


def test_of_two_solids_in_one_place_the_true_one_explains_it_better() -> None:
    solid = Solid("box", 0.5, -0.05, 0.0, 0.06, 0.06, 0.06)
    views = [photograph(eye, solid) for eye in EYES]
    aside = replace(solid, x=0.515, height=0.05)
    frame = np.eye(4)
    frame[:3, 3] = [0.5, -0.05, 0.0]
    true = FittedSolid(replace(solid, x=0.0, y=0.0), frame, 0.4, len(views))
    wrong = FittedSolid(aside, np.eye(4), 0.9, len(views))
    assert explains_better(true, wrong, views, ThingSettings())
    assert not explains_better(wrong, true, views, ThingSettings())


def test_a_solid_that_no_view_shows_is_of_no_floor() -> None:
    away = Solid("box", 5.0, 5.0, 0.0, 0.06, 0.06, 0.06)
    assert not Below([photograph(eye) for eye in EYES], PLANE, ThingSettings().unlike).explains(
        FittedSolid(away, np.eye(4), 0.4, 3, 0.2)
    )


def test_pictures_from_one_place_are_one() -> None:
    first, other = photograph(EYES[0]), photograph(EYES[1])
    left = np.zeros((HEIGHT, WIDTH), bool)
    left[:, : WIDTH // 2] = True
    hidden = replace(first, mask=left)
    later = replace(first, image=np.full_like(first.image, 7), mask=np.ones_like(left) & ~left)
    assert viewpoints([hidden, other, later]) == [0, 1, 0]
    both, alone = one_per_viewpoint([hidden, other, later])
    assert both.mask.all()
    assert (both.image[left] == first.image[left]).all()
    assert (both.image[~left] == 7).all()
    assert alone is other
