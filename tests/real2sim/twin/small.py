"""A small twin: a level table with a block and a ball on it, an exterior camera and one on the wrist."""

from __future__ import annotations

import numpy as np

from arena.contracts import FloatArray
from real2sim.camera import Camera
from real2sim.silhouette import looking_at
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.start import start_from_points
from real2sim.twin.bundle import Beginning, Twin
from real2sim.twin.objects import TwinObject
from real2sim.twin.solid_fit import FittedSolid
from real2sim.twin.solids import Solid
from real2sim.twin.support import SupportPlane
from real2sim.twin.things import twin_object

HOME = np.array([0.0, -0.3, 0.0, -2.2, 0.0, 1.9, 0.8])
RED, GREEN = np.array([0.9, 0.1, 0.1]), np.array([0.1, 0.8, 0.2])


def coated(thing: TwinObject, color: FloatArray) -> Gaussians:
    """Gaussians on the corners of a thing's mesh."""
    points = np.asarray(thing.mesh.vertices) + np.random.default_rng(0).normal(0, 1e-4, thing.mesh.vertices.shape)
    return start_from_points(points, np.tile(color, (len(points), 1)), degree=0, opacity=0.9)


def make_small_twin() -> Twin:
    x, y = np.meshgrid(np.linspace(0.2, 0.9, 15), np.linspace(-0.5, 0.5, 21))
    floor = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    colors = np.tile([0.5, 0.5, 0.6], (len(floor), 1))
    things = (
        twin_object("object_1", FittedSolid(Solid("box", 0.5, 0.1, 0.0, 0.05, 0.05, 0.05), np.eye(4), 1.0, 3)),
        twin_object("object_2", FittedSolid(Solid("ellipsoid", 0.55, -0.2, 0.0, 0.06, 0.06, 0.06), np.eye(4), 1.0, 3)),
    )
    hand_eye = np.eye(4)
    hand_eye[:3, 3] = [0.0, -0.09, 0.02]
    exterior = looking_at(np.array([1.2, 0.9, 0.7]), np.array([0.4, 0.0, 0.1]))
    return Twin(
        background=start_from_points(floor, colors, degree=0, opacity=0.9),
        objects=things,
        splats={thing.name: coated(thing, color) for thing, color in zip(things, (RED, GREEN), strict=True)},
        plane=SupportPlane(np.array([0.0, 0.0, 1.0]), 0.0, floor[[0, 14, -1, -15], :2], 0.0, 1.0),
        exterior={"exterior_1": Camera(40, 30, 36.0, 36.0, 20.0, 15.0, exterior)},
        wrist=Camera(40, 30, 28.0, 28.0, 20.0, 15.0, hand_eye),
        beginning=Beginning(HOME, 0.0, "pick up the red block", 5.0, "panda", "episode-1", "pick"),
    )
