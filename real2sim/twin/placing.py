"""Where things can stand on a twin's table, and things that were never there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.start import start_from_points
from real2sim.twin.objects import TwinObject
from real2sim.twin.solid_fit import FittedSolid
from real2sim.twin.solids import SHAPES, Solid
from real2sim.twin.support import SupportPlane, plane_frame
from real2sim.twin.things import twin_object

CLEARANCE = 0.01
"""Metres that things which are put somewhere stay away from each other, besides their own sizes."""
WITHIN = (0.3, 0.7)
"""Metres from the base that distractors stand: where the arm works."""
DISTRACTOR_SIZE = (0.03, 0.08)


def in_disc(rng: np.random.Generator) -> FloatArray:
    """`(2,)`, evenly within the unit circle."""
    angle = rng.uniform(0, 2 * np.pi)
    return np.asarray(np.sqrt(rng.uniform()) * np.array([np.cos(angle), np.sin(angle)]))


def slid(thing: TwinObject, frame: FloatArray, shift: FloatArray, turn: float) -> TwinObject:
    """Moved by `shift` `(2,)` m along the table and turned by `turn` rad about its normal, in place."""
    pose = np.array(thing.body_to_base)
    pose[:3, :3] = Rotation.from_rotvec(turn * frame[:3, 2]).as_matrix() @ pose[:3, :3]
    pose[:3, 3] += frame[:3, :2] @ shift
    return replace(thing, body_to_base=pose)


def has_room(thing: TwinObject, others: list[TwinObject], plane: SupportPlane) -> bool:
    """Whether a thing is on the table and clear of all others."""
    middle = thing.body_to_base[:3, 3]
    if not plane.covers(middle[None])[0]:
        return False
    return all(
        np.linalg.norm(middle - other.body_to_base[:3, 3]) > _radius(thing) + _radius(other) + CLEARANCE
        for other in others
    )


def _radius(thing: TwinObject) -> float:
    return float(np.linalg.norm(thing.size[:2]) / 2)


def random_thing(name: str, plane: SupportPlane, rng: np.random.Generator) -> TwinObject:
    """A box, cylinder or ball somewhere on the table within the arm's reach, whatever stands there."""
    low, high = plane.outline.min(axis=0), plane.outline.max(axis=0)
    angle, reach = rng.uniform(-1.2, 1.2), rng.uniform(*WITHIN)
    spot = np.clip(reach * np.array([np.cos(angle), np.sin(angle)]), low, high)
    height = (plane.height - spot @ plane.normal[:2]) / plane.normal[2]
    frame = plane_frame(np.append(spot, height), plane)
    size, shape = rng.uniform(*DISTRACTOR_SIZE, 3), SHAPES[int(rng.integers(len(SHAPES)))]
    if shape != "box":
        size[1] = size[0]
    if shape == "ellipsoid":
        size[2] = size[0]
    solid = Solid(shape, 0.0, 0.0, float(rng.uniform(-np.pi, np.pi)) if shape == "box" else 0.0, *size)
    return twin_object(name, FittedSolid(solid, frame, 1.0, 0))


def coated(thing: TwinObject, color: FloatArray, rng: np.random.Generator) -> Gaussians:
    """Small opaque Gaussians all over a thing's surface, a little brighter on top."""
    a, b, c = (np.asarray(thing.mesh.vertices)[thing.mesh.triangles[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(area), 500, p=area / area.sum())
    u, v = rng.uniform(size=(2, 500, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    points = a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen]
    light = 0.85 + 0.3 * points[:, 2:] / thing.size[2]
    return start_from_points(points, (color * light).clip(0, 1), degree=0, opacity=0.9)
