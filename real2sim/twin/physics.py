"""A twin's physics in MuJoCo: the support surface, the things on it as free bodies, and a maintained robot model.

Contacts are real: nothing is welded to a gripper. A thing collides by its convex parts and is drawn by its mesh.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, InvalidInput
from real2sim.engine import mujoco, mujoco_quaternion
from real2sim.robot_kind import Robot
from real2sim.twin.arm import OTHER_BITS, PREFIX, attach_robot
from real2sim.twin.mesh import Mesh
from real2sim.twin.objects import Guess, TwinObject
from real2sim.twin.support import SupportPlane

TIMESTEP = 0.002
TABLE_THICKNESS, TABLE_MARGIN = 0.04, 0.1
"""Metres. The margin is what a table may be larger than the part of it that cameras saw."""
FLOOR_BELOW = 0.8
"""Metres under the support surface, where what falls off comes to rest."""
SETTLE_SECONDS, SETTLE_DISTANCE, SETTLE_ANGLE = 2.0, 0.005, 5.0
"""A thing that was seen at rest moves at most this far, in m and degrees, when physics takes over."""
ROLLING = 0.002
"""Metres, MuJoCo's rolling friction: a ball that was seen at rest stays there on a table level within 3 degrees."""
_TINY = 1e-9
"""Cubic metres: a convex part that MuJoCo has no inertia for."""


@dataclass(frozen=True)
class Settled:
    """What physics did to one thing within the settle test: how far it moved in m, and turned in degrees."""

    name: str
    distance: float
    angle: float

    @property
    def accepted(self) -> bool:
        return self.distance <= SETTLE_DISTANCE and self.angle <= SETTLE_ANGLE


class TwinPhysics:
    """One simulation of a scene: things start where they were seen, and the robot's base is the base frame."""

    def __init__(self, plane: SupportPlane, objects: Sequence[TwinObject], robot: Robot | None = None) -> None:
        self.objects = tuple(objects)
        self.model = _build(plane, self.objects, robot)
        self.data = mujoco.MjData(self.model)
        self.reset()

    def reset(self) -> None:
        """Everything at rest as it was seen, the robot's joints at zero."""
        mujoco.mj_resetData(self.model, self.data)
        mujoco.mj_forward(self.model, self.data)

    def drawn(self, seed: int) -> TwinPhysics:
        """Another simulation of the scene, in which what no picture shows, the things' masses and frictions, is drawn
        from its range, evenly in its logarithm."""
        rng = np.random.default_rng([seed, 17])
        other = copy.copy(self)
        other.model = copy.copy(self.model)
        for thing in self.objects:
            if not thing.solid:
                continue
            mass, friction = _drawn(thing.mass, rng), _drawn(thing.friction, rng)
            body = other.model.body(thing.name)
            ratio = mass / body.mass[0]
            body.mass[:] *= ratio
            body.inertia[:] *= ratio
            parts = other.model.geom_bodyid == body.id
            other.model.geom_friction[parts, 0] = friction
        other.data = mujoco.MjData(other.model)
        mujoco.mj_setConst(other.model, other.data)
        other.reset()
        return other

    def set_joints(self, position: FloatArray, prefix: str = PREFIX) -> None:
        """The robot's first `len(position)` joints, in rad or m, at once and at rest. Raises `InvalidInput` for more
        joints than it has."""
        joints = [j for j in range(self.model.njnt) if self.model.joint(j).name.startswith(prefix)]
        if len(position) > len(joints):
            raise InvalidInput(f"{len(position)} joint positions for a robot of {len(joints)} joints")
        for joint, value in zip(joints, position, strict=False):
            self.data.qpos[self.model.jnt_qposadr[joint]] = value
        mujoco.mj_forward(self.model, self.data)

    def place(self, body_to_base: Mapping[str, FloatArray]) -> None:
        """Things put somewhere `(4, 4)` at once; marks, which nothing moves, stay. What touches is known after the next
        step or `set_joints`."""
        movable = {thing.name for thing in self.objects if thing.solid}
        for name in body_to_base.keys() & movable:
            pose, place = body_to_base[name], self.model.joint(name).qposadr[0]
            self.data.qpos[place : place + 7] = np.concatenate([pose[:3, 3], mujoco_quaternion(pose[:3, :3])])

    def step(self, seconds: float) -> None:
        for _ in range(round(seconds / self.model.opt.timestep)):
            mujoco.mj_step(self.model, self.data)

    def body_to_base(self) -> dict[str, FloatArray]:
        """Where each thing is now, `(4, 4)`: what `TwinRenderer` draws it by."""
        return {thing.name: self._pose(thing.name) for thing in self.objects}

    def _pose(self, name: str) -> FloatArray:
        body, pose = self.data.body(name), np.eye(4)
        pose[:3, :3], pose[:3, 3] = body.xmat.reshape(3, 3), body.xpos
        return pose


def _drawn(guess: Guess, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(guess.low), np.log(guess.high))))


def settle(physics: TwinPhysics, seconds: float = SETTLE_SECONDS) -> list[Settled]:
    """Let time pass and say how far each thing went from where it was seen, at its worst moment.

    Raises `InvalidInput` where the simulation itself breaks (positions that are not finite).
    """
    physics.reset()
    before = physics.body_to_base()
    worst = dict.fromkeys(before, (0.0, 0.0))
    for _ in range(round(seconds / 0.05)):
        physics.step(0.05)
        for name, pose in physics.body_to_base().items():
            if not np.isfinite(pose).all():
                raise InvalidInput(f"the physics of {name!r} breaks down: its mesh or mass is unusable")
            moved = float(np.linalg.norm(pose[:3, 3] - before[name][:3, 3]))
            turned = np.degrees(Rotation.from_matrix(pose[:3, :3] @ before[name][:3, :3].T).magnitude())
            worst[name] = max(worst[name][0], moved), max(worst[name][1], float(turned))
    return [Settled(name, *numbers) for name, numbers in worst.items()]


def _build(plane: SupportPlane, objects: Sequence[TwinObject], robot: Robot | None) -> Any:
    """The compiled model. Elliptic friction cones, because pyramids let grasped things creep; several contacts between
    two convex meshes, because a block that touches a table in one point rocks."""
    spec = mujoco.MjSpec()
    spec.option.enableflags |= mujoco.mjtEnableBit.mjENBL_MULTICCD
    spec.option.timestep = TIMESTEP
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    _add_surface(spec, plane)
    for thing in objects:
        _add_object(spec, thing)
    if robot is not None:
        attach_robot(spec, robot)
    try:
        return spec.compile()
    except ValueError as error:
        raise InvalidInput(f"the twin's physics cannot be built: {str(error).splitlines()[0]}") from error


def _add_surface(spec: Any, plane: SupportPlane) -> None:
    low, high = plane.outline.min(axis=0), plane.outline.max(axis=0)
    middle, half = (low + high) / 2, (high - low) / 2 + TABLE_MARGIN
    top = np.append(middle, (plane.height - middle @ plane.normal[:2]) / plane.normal[2])
    spec.worldbody.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[*half, TABLE_THICKNESS / 2],
        pos=top - TABLE_THICKNESS / 2 * plane.normal,
        quat=mujoco_quaternion(_tilted(plane.normal)),
        conaffinity=OTHER_BITS,
    )
    spec.worldbody.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[5, 5, 0.1],
        pos=[0, 0, top[2] - FLOOR_BELOW],
        conaffinity=OTHER_BITS,
    )


def _add_object(spec: Any, thing: TwinObject) -> None:
    """A free body whose parts have the thing's mass by volume. Their friction holds on whatever they touch."""
    body = spec.worldbody.add_body(
        name=thing.name, pos=thing.body_to_base[:3, 3], quat=mujoco_quaternion(thing.body_to_base[:3, :3])
    )
    if not thing.solid:
        return
    body.add_freejoint(name=thing.name)
    for index, (form, share) in enumerate(_forms(spec, thing)):
        body.add_geom(
            name=f"{thing.name}/part_{index}",
            **form,
            mass=thing.mass.value * share,
            friction=[thing.friction.value, 0.005, ROLLING],
            condim=6,
            conaffinity=OTHER_BITS,
            priority=1,
            group=3,
        )
    body.add_geom(
        name=f"{thing.name}/mesh",
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=_add_mesh(spec, f"{thing.name}/mesh", thing.mesh),
        mass=0,
        contype=0,
        conaffinity=0,
        group=1,
    )


def _forms(spec: Any, thing: TwinObject) -> list[tuple[dict[str, Any], float]]:
    """What a thing collides as, each with its share of the volume."""
    x, y, z = thing.size / 2
    if thing.shape is not None:
        kind, size = {
            "box": (mujoco.mjtGeom.mjGEOM_BOX, [x, y, z]),
            "cylinder": (mujoco.mjtGeom.mjGEOM_CYLINDER, [(x + y) / 2, z, 0]),
            "ellipsoid": (mujoco.mjtGeom.mjGEOM_ELLIPSOID, [x, y, z]),
        }[thing.shape]
        return [({"type": kind, "size": size}, 1.0)]
    parts = [part for part in thing.parts if part.volume > _TINY] or [thing.mesh]
    total = sum(part.volume for part in parts)
    return [
        ({"type": mujoco.mjtGeom.mjGEOM_MESH, "meshname": _add_mesh(spec, f"{thing.name}/part_{index}", part)},
         part.volume / total)
        for index, part in enumerate(parts)
    ]  # fmt: skip


def _add_mesh(spec: Any, name: str, mesh: Mesh) -> str:
    spec.add_mesh(
        name=name,
        uservert=mesh.vertices.astype(np.float32).ravel(),
        userface=mesh.triangles.astype(np.int32).ravel(),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX,
    )
    return name


def _tilted(normal: FloatArray) -> FloatArray:
    """`(3, 3)`: the smallest rotation that takes z to `normal`."""
    return np.asarray(Rotation.align_vectors(normal[None], np.array([[0.0, 0.0, 1.0]]))[0].as_matrix())
