"""The support plane and the things on it, against a table-top that MuJoCo knows exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from arena.contracts import InvalidInput
from real2sim.splats.gaussians import merge
from real2sim.twin.carve import DepthPicture, Mesh, NothingSolid, carve
from real2sim.twin.library import open3d
from real2sim.twin.objects import (
    ObjectSettings,
    TwinObject,
    build_object,
    convex_parts,
    find_clusters,
    find_objects,
    label_gaussians,
    split_gaussians,
)
from real2sim.twin.support import SupportPlane, find_support_plane
from tests.real2sim.splats.scenes import disc, looking
from tests.real2sim.splats.tabletop import BOX, BOX_HALF, CAN, CAN_HALF, CAN_RADIUS


def nearest(objects: list[TwinObject], place: tuple[float, float]) -> TwinObject:
    return min(objects, key=lambda thing: float(np.linalg.norm(thing.body_to_base[:2, 3] - place)))


def is_closed(mesh: Mesh) -> bool:
    vertices, triangles = (
        open3d.utility.Vector3dVector(mesh.vertices),
        open3d.utility.Vector3iVector(mesh.triangles.astype(np.int32)),
    )
    return bool(open3d.geometry.TriangleMesh(vertices, triangles).is_edge_manifold(allow_boundary_edges=False))


def test_the_table_is_found_and_level(plane: SupportPlane) -> None:
    assert plane.tilt < 0.2
    assert plane.height == pytest.approx(0, abs=0.002)
    assert plane.share > 0.5
    assert plane.covers(np.array([[0.5, 0.0, 0.3]])).all()
    assert not plane.covers(np.array([[0.5, 1.0, 0.0], [-0.5, 0.0, 0.0]])).any()


def test_a_wall_with_more_points_is_no_table() -> None:
    draw = np.random.default_rng(0)
    table = np.stack(
        [draw.uniform(0.2, 0.8, 2000), draw.uniform(-0.4, 0.4, 2000), draw.normal(0.02, 2e-3, 2000)], axis=1
    )
    wall = np.stack([np.full(6000, 0.8), draw.uniform(-0.4, 0.4, 6000), draw.uniform(0, 0.7, 6000)], axis=1)
    plane = find_support_plane(np.concatenate([wall, table]))
    assert plane.height == pytest.approx(0.02, abs=0.003)
    assert plane.share == pytest.approx(0.25, abs=0.05)
    again = find_support_plane(np.concatenate([wall, table]))
    assert (again.height, again.tilt) == (plane.height, plane.tilt)


def test_a_tilted_table_is_refused() -> None:
    draw = np.random.default_rng(0)
    flat = np.stack([draw.uniform(0.2, 0.8, 3000), draw.uniform(-0.4, 0.4, 3000), np.zeros(3000)], axis=1)
    tilted = flat @ Rotation.from_euler("x", 25, degrees=True).as_matrix().T
    with pytest.raises(InvalidInput, match="no level plane"):
        find_support_plane(tilted)
    with pytest.raises(InvalidInput, match="100 points within"):
        find_support_plane(flat + 5)


def test_every_thing_is_found_within_a_centimetre_and_a_tenth(objects: list[TwinObject]) -> None:
    assert len(objects) == 3
    box, can = nearest(objects, BOX), nearest(objects, CAN)
    for thing, place, half in ((box, BOX, BOX_HALF[2]), (can, CAN, CAN_HALF)):
        np.testing.assert_allclose(thing.body_to_base[:3, 3], [*place, half], atol=0.005)
    np.testing.assert_allclose(box.size, 2 * np.array([BOX_HALF[1], BOX_HALF[0], BOX_HALF[2]]), rtol=0.1)
    np.testing.assert_allclose(can.size, 2 * np.array([CAN_RADIUS, CAN_RADIUS, CAN_HALF]), rtol=0.1)
    long_side = box.body_to_base[:3, 0]
    assert abs(long_side[1]) > np.cos(np.radians(5))
    assert can.mesh.volume == pytest.approx(np.pi * CAN_RADIUS**2 * 2 * CAN_HALF, rel=0.1)


def test_meshes_are_closed_and_parts_fill_them(objects: list[TwinObject]) -> None:
    for thing in objects:
        assert is_closed(thing.mesh)
        assert 1 <= len(thing.parts) <= ObjectSettings().parts
        assert sum(part.volume for part in thing.parts) == pytest.approx(thing.mesh.volume, rel=0.15)
        np.testing.assert_allclose(np.ptp(thing.mesh.vertices, axis=0), thing.size)
        assert thing.mass.low < thing.mass.value < thing.mass.high
        assert thing.friction.low < thing.friction.value < thing.friction.high


def test_what_is_not_convex_is_cut_into_parts() -> None:
    """Two bars that make an L: its hull would fill the corner between them."""
    bars = [open3d.geometry.TriangleMesh.create_box(*sides) for sides in ((0.1, 0.02, 0.02), (0.02, 0.1, 0.02))]
    corner = np.array([[0, 0], [0.1, 0], [0.1, 0.02], [0.02, 0.02], [0.02, 0.1], [0, 0.1]])
    vertices = np.concatenate([np.insert(corner, 2, z, axis=1) for z in (0.0, 0.02)])
    caps = np.array([[0, 2, 1], [0, 3, 2], [0, 4, 3], [0, 5, 4]])
    sides = [((i, j, j + 6), (i, j + 6, i + 6)) for i, j in ((i, (i + 1) % 6) for i in range(6))]
    ell = Mesh(vertices, np.concatenate([caps, caps[:, ::-1] + 6, np.array(sides).reshape(-1, 3)]))
    assert is_closed(ell)
    assert ell.volume == pytest.approx(sum(bar.get_volume() for bar in bars) - 0.02**3)
    parts = convex_parts(ell, ObjectSettings())
    assert len(parts) == 2
    assert sum(part.volume for part in parts) == pytest.approx(ell.volume, rel=0.1)


def test_noise_in_depth_is_averaged(pictures: list[DepthPicture], plane: SupportPlane) -> None:
    draw = np.random.default_rng(0)
    noisy = [replace(picture, depth=picture.depth + draw.normal(0, 0.003, picture.depth.shape)) for picture in pictures]
    can = nearest(find_objects(noisy, plane), CAN)
    np.testing.assert_allclose(can.body_to_base[:2, 3], CAN, atol=0.006)
    np.testing.assert_allclose(can.size, 2 * np.array([CAN_RADIUS, CAN_RADIUS, CAN_HALF]), rtol=0.15)


def test_what_cameras_see_through_is_no_thing(pictures: list[DepthPicture], plane: SupportPlane) -> None:
    stray = np.random.default_rng(0).uniform(-0.03, 0.03, (200, 3)) + np.array([0.45, -0.02, 0.06])
    assert len(find_clusters(stray, plane, ObjectSettings())) == 1
    with pytest.raises(NothingSolid):
        build_object("stray", stray, pictures, plane, ObjectSettings())


def test_clusters_keep_to_the_table_and_to_sizes(plane: SupportPlane) -> None:
    draw = np.random.default_rng(0)
    blob = draw.uniform(-0.03, 0.03, (300, 3)) + np.array([0.0, 0.0, 0.05])
    places = [[0.45, 0.0, 0.0], [0.6, 0.2, 0.0], [0.5, 2.0, 0.0], [0.5, 0.0, 1.0]]
    crumb = draw.uniform(-0.004, 0.004, (300, 3)) + np.array([0.3, 0.1, 0.02])
    found = find_clusters(np.concatenate([*(blob + place for place in places), crumb]), plane, ObjectSettings())
    assert sorted(float(cluster[:, 0].mean()) for cluster in found) == pytest.approx([0.45, 0.6], abs=0.01)
    assert find_clusters(np.zeros((0, 3)), plane, ObjectSettings()) == []


def test_gaussians_go_to_the_thing_they_are_on(objects: list[TwinObject]) -> None:
    inside, beside = (*CAN, CAN_HALF), (CAN[0], CAN[1] + CAN_RADIUS + 0.03, 0.02)
    under, on_box = (*CAN, -0.004), (BOX[0], BOX[1], 2 * BOX_HALF[2] + 0.004)
    scene = merge([disc(place, (0.5, 0.5, 0.5), size=0.01) for place in (inside, beside, under, on_box)])
    labels = label_gaussians(scene, objects)
    names = [objects[label].name if label >= 0 else "" for label in labels]
    assert names == [nearest(objects, CAN).name, "", "", nearest(objects, BOX).name]
    background, parts = split_gaussians(scene, objects, labels)
    assert len(background) == 2
    can = nearest(objects, CAN)
    back = parts[can.name].transformed(torch.from_numpy(can.body_to_base))
    torch.testing.assert_close(back.means, scene.means[:1])


def test_a_grid_that_is_too_fine_is_refused() -> None:
    picture = DepthPicture(looking((1.0, 0.0, 0.5)), np.ones((24, 40)))
    with pytest.raises(InvalidInput, match="2 to 200"):
        carve([picture], np.zeros(3), np.ones(3), 0.001)


def test_an_unseen_box_is_solid() -> None:
    """No camera looks there: as cautious a guess as there is."""
    mesh = carve([], np.zeros(3), np.full(3, 0.1), 0.01)
    assert is_closed(mesh)
    assert mesh.volume == pytest.approx(0.1**3, rel=0.2)
