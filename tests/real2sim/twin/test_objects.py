"""Closed surfaces, their convex parts, and which Gaussians are of which thing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from real2sim.splats.gaussians import merge
from real2sim.twin.bundle import Twin
from real2sim.twin.library import open3d
from real2sim.twin.mesh import Mesh, closed_surface, convex_parts
from real2sim.twin.objects import label_gaussians, object_of, split_gaussians
from tests.real2sim.splats.scenes import disc

RADIUS, HALF = 0.03, 0.05
VOXEL = 0.005


def is_closed(mesh: Mesh) -> bool:
    vertices, triangles = (
        open3d.utility.Vector3dVector(mesh.vertices),
        open3d.utility.Vector3iVector(mesh.triangles.astype(np.int32)),
    )
    return bool(open3d.geometry.TriangleMesh(vertices, triangles).is_edge_manifold(allow_boundary_edges=False))


def a_can() -> Mesh:
    """As a closed surface of its signed distances, with its middle at the origin."""
    axis = np.arange(-0.07, 0.07 + VOXEL / 2, VOXEL)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    return closed_surface(np.maximum(np.hypot(x, y) - RADIUS, np.abs(z) - HALF), np.full(3, axis[0]), VOXEL)


def test_a_field_becomes_a_closed_surface() -> None:
    can = a_can()
    assert is_closed(can)
    assert can.volume == pytest.approx(np.pi * RADIUS**2 * 2 * HALF, rel=0.1)
    np.testing.assert_allclose(np.ptp(can.vertices, axis=0), [2 * RADIUS, 2 * RADIUS, 2 * HALF], atol=VOXEL)


def test_a_thing_of_a_surface_is_in_the_frame_of_its_own_middle() -> None:
    frame = np.eye(4)
    frame[:3, 3] = [0.5, 0.1, 0.2]
    can = a_can()
    shifted = Mesh(can.vertices + np.array([0.0, 0.0, HALF]), can.triangles)
    thing = object_of("can", frame, shifted)
    np.testing.assert_allclose(thing.body_to_base[:3, 3], [0.5, 0.1, 0.2 + HALF], atol=VOXEL)
    np.testing.assert_allclose(np.ptp(thing.mesh.vertices, axis=0), thing.size)
    assert sum(part.volume for part in thing.parts) == pytest.approx(thing.mesh.volume, rel=0.15)
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
    parts = convex_parts(ell)
    assert len(parts) == 2
    assert sum(part.volume for part in parts) == pytest.approx(ell.volume, rel=0.1)


def test_gaussians_go_to_the_thing_they_are_on(small_twin: Twin) -> None:
    """One is inside the block, one above it and one beside it, one in the table below it, and one is on the ball."""
    block, ball = small_twin.objects
    x, y, z = block.body_to_base[:3, 3].tolist()
    top, side = (block.size[[2, 1]] / 2).tolist()
    on_ball = (*ball.body_to_base[:2, 3].tolist(), float(ball.body_to_base[2, 3] + ball.size[2] / 2 + 0.004))
    places = [(x, y, z), (x, y, z + top + 0.004), (x, y + side + 0.03, z), (x, y, z - top - 0.004), on_ball]
    scene = merge([disc(place, (0.5, 0.5, 0.5), size=0.01) for place in places])
    labels = label_gaussians(scene, small_twin.objects)
    assert labels.tolist() == [0, 0, -1, -1, 1]
    background, parts = split_gaussians(scene, small_twin.objects, labels)
    assert len(background) == 2
    back = parts[block.name].transformed(torch.from_numpy(block.body_to_base))
    torch.testing.assert_close(back.means, scene.means[:2])
