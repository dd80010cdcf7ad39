"""A random table, things on it, lights, and cameras that look at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray
from real2sim.camera import Camera
from real2sim.engine import mujoco, mujoco_quaternion
from real2sim.robot_files import load_robot, panda_with_robotiq
from real2sim.silhouette import add_eye, looking_at

TABLE = (0.25, -0.45, 0.85, 0.45)
"""Where things may stand: x and y, least and most, in m. The table's top is z = 0, the height of the robot's base."""
SHAPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}
SCENE_GROUP = 2
"""Geoms of the surroundings; the robot's are in group 1."""
APART = 0.14
"""Metres between things at least."""


@dataclass(frozen=True)
class TrueObject:
    """A thing on the table. `size` is `(3,)`, its extent along its own axes in m; `pose` `(4, 4)` to the base frame."""

    name: str
    shape: str
    size: FloatArray
    pose: FloatArray


@dataclass(frozen=True)
class TrueCameras:
    """Cameras by name; of `wrist`, the pose is to the flange's frame and stands in for `camera_to_base`."""

    exterior: dict[str, Camera]
    wrist: Camera


def random_scene(rng: np.random.Generator, objects: int) -> tuple[Any, list[TrueObject]]:
    """A model's spec with the robot in it, and what stands on the table."""
    spec = load_robot(panda_with_robotiq())
    add_eye(spec)
    world = spec.worldbody
    _surroundings(spec, rng)
    placed = [_random_object(i, rng) for i in range(objects)]
    for i, thing in enumerate(_spread(placed, rng)):
        placed[i] = thing
        body = world.add_body(name=thing.name, pos=thing.pose[:3, 3], quat=mujoco_quaternion(thing.pose[:3, :3]))
        material = _material(spec, thing.name, rng)
        half = thing.size / 2
        size = {"box": half, "cylinder": [half[0], half[2], 0], "sphere": [half[0], 0, 0]}[thing.shape]
        body.add_geom(type=SHAPES[thing.shape], size=size, material=material, group=SCENE_GROUP)
    return spec, placed


def random_cameras(rng: np.random.Generator, width: int, height: int) -> TrueCameras:
    """Two exterior cameras on either side, and one on the wrist behind the fingers, of unlike focal lengths."""
    exterior = {}
    for name, side in (("exterior_1", 1.0), ("exterior_2", -1.0)):
        azimuth, elevation = side * rng.uniform(0.5, 1.9), rng.uniform(0.25, 0.75)
        toward = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
        target = np.array([rng.uniform(0.2, 0.4), rng.uniform(-0.1, 0.1), rng.uniform(0.2, 0.35)])
        position = target + rng.uniform(0.8, 1.3) * toward
        exterior[name] = _camera(rng, width, height, looking_at(position, target, rng.normal(0, 0.04)), 0.75, 1.1)
    hand_eye = np.eye(4)
    turn = Rotation.from_euler("xyz", rng.normal(0, 0.08, 3)) * Rotation.from_euler("x", -rng.uniform(0.0, 0.2))
    # As on DROID's arm: the fingers open to the left and to the right of the picture.
    around = Rotation.from_euler("z", -np.pi / 2 + rng.normal(0, 0.1))
    hand_eye[:3, :3] = (around * turn).as_matrix()
    hand_eye[:3, 3] = around.apply([0.0, -rng.uniform(0.08, 0.1), rng.uniform(0.01, 0.04)])
    return TrueCameras(exterior, _camera(rng, width, height, hand_eye, 0.6, 0.8))


def _camera(
    rng: np.random.Generator, width: int, height: int, pose: FloatArray, shortest: float, longest: float
) -> Camera:
    """Focal length in picture widths; square pixels and a centred principal point, as datasets mostly have."""
    focal = width * rng.uniform(shortest, longest)
    return Camera(width, height, focal, focal, width / 2, height / 2, pose)


def _surroundings(spec: Any, rng: np.random.Generator) -> None:
    """A table under robot and things, a floor, two walls far behind, and two or three lights."""
    world, box = spec.worldbody, mujoco.mjtGeom.mjGEOM_BOX
    walls = {
        "table": ([0.35, 0, -0.02], [0.75, 0.8, 0.02]),
        "floor": ([0, 0, -0.85], [4, 4, 0.05]),
        "wall_x": ([-1.6, 0, 0.5], [0.05, 4, 1.6]),
        "wall_left": ([0, 2.4, 0.5], [4, 0.05, 1.6]),
        "wall_right": ([0, -2.4, 0.5], [4, 0.05, 1.6]),
    }
    for name, (position, half) in walls.items():
        material = _material(spec, name, rng)
        world.add_geom(name=name, type=box, pos=position, size=half, material=material, group=SCENE_GROUP)
    for _ in range(int(rng.integers(2, 4))):
        place = np.array([rng.uniform(-1, 2), rng.uniform(-1.5, 1.5), rng.uniform(1.5, 2.5)])
        strength = rng.uniform(0.25, 0.5)
        toward = np.array([0.4, 0, 0]) - place
        world.add_light(pos=place, dir=toward / np.linalg.norm(toward), diffuse=[strength] * 3, castshadow=False)
    spec.visual.headlight.ambient = [0.35] * 3
    spec.visual.headlight.diffuse = [0.2] * 3


def _material(spec: Any, name: str, rng: np.random.Generator) -> str:
    """A checked or speckled texture in two colours."""
    low, high = sorted(rng.uniform(0.15, 0.85, 2))
    first, second = rng.dirichlet(np.ones(3)) * 1.2 * low + 0.1, rng.dirichlet(np.ones(3)) * 1.2 * high + 0.2
    builtin = mujoco.mjtBuiltin.mjBUILTIN_CHECKER if rng.random() < 0.5 else mujoco.mjtBuiltin.mjBUILTIN_FLAT
    texture = spec.add_texture(
        name=f"{name}_texture", type=mujoco.mjtTexture.mjTEXTURE_CUBE, builtin=builtin, width=128, height=128,
        rgb1=np.clip(first, 0, 1), rgb2=np.clip(second, 0, 1), mark=mujoco.mjtMark.mjMARK_RANDOM,
        markrgb=rng.uniform(0, 1, 3), random=float(rng.uniform(0.005, 0.03)),
    )  # fmt: skip
    material = spec.add_material(name=f"{name}_material", specular=0.1, shininess=0.1)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture.name
    return str(material.name)


def _random_object(number: int, rng: np.random.Generator) -> TrueObject:
    shape = str(rng.choice(list(SHAPES)))
    size = rng.uniform(0.04, 0.09, 3)
    if shape == "sphere":
        size[:] = size[0]
    if shape == "cylinder":
        size[1] = size[0]
    return TrueObject(f"thing_{number}", shape, size, np.eye(4))


def _spread(things: list[TrueObject], rng: np.random.Generator) -> list[TrueObject]:
    """The same on the table, turned about the vertical, none near another."""
    taken: list[FloatArray] = []
    out = []
    for thing in things:
        for _ in range(1000):
            spot = rng.uniform(TABLE[:2], TABLE[2:])
            if all(np.linalg.norm(spot - other) > APART for other in taken):
                break
        taken.append(spot)
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("z", rng.uniform(-np.pi, np.pi)).as_matrix()
        pose[:3, 3] = [*spot, thing.size[2] / 2]
        out.append(TrueObject(thing.name, thing.shape, thing.size, pose))
    return out
