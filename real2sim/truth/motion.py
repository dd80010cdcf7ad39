"""A smooth motion of the arm above the table, as a teleoperator's would be: from place to place with pauses."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from arena.contracts import FloatArray
from real2sim.engine import mujoco
from real2sim.joints import JointSetter
from real2sim.robot import PandaKinematics

HOME = np.array([0.0, -np.pi / 5, 0.0, -4 * np.pi / 5, 0.0, 3 * np.pi / 5, 0.0])
"""Where DROID's episodes begin."""
SPREAD = np.array([0.55, 0.35, 0.35, 0.4, 0.3, 0.4, 0.6])
"""Standard deviations in rad around home that waypoints are drawn with."""
REACH = ((0.28, 0.72), (-0.4, 0.4), (0.16, 0.6))
"""Where the flange may be, in m: the fingers reach 0.15 m beyond."""
SECONDS_APART = 1.8
TRIES = 4000


def random_motion(rng: np.random.Generator, model: Any, frames: int, fps: float) -> tuple[FloatArray, FloatArray]:
    """`(T, 7)` rad and `(T,)` gripper positions. The robot of `model` touches nothing at any frame."""
    count = max(3, round(frames / fps / SECONDS_APART) + 1)
    free = _Free(model)
    while True:
        waypoints = _waypoints(rng, count, free)
        at = np.linspace(0, frames - 1, count)
        joints = CubicSpline(at, waypoints, bc_type="clamped")(np.arange(frames))
        if all(free(q) for q in joints):
            break
    closed = rng.random(count) < 0.4
    gripper = np.interp(np.arange(frames), at, closed.astype(float))
    return joints, gripper


def _waypoints(rng: np.random.Generator, count: int, free: _Free) -> FloatArray:
    kinematics = PandaKinematics()
    found = [HOME]
    for _ in range(TRIES):
        if len(found) == count:
            break
        q = HOME + SPREAD * rng.standard_normal(7)
        position, to_base = kinematics.forward_matrix(q[None])
        inside = all(low < value < high for value, (low, high) in zip(position[0], REACH, strict=True))
        # The hand looks down, within 50 degrees.
        if inside and to_base[0, 2, 2] < -0.64 and free(q):
            found.append(q)
    return np.array(found)


class _Free:
    """Whether the robot touches nothing, itself included."""

    def __init__(self, model: Any) -> None:
        self._model, self._data, self._set = model, mujoco.MjData(model), JointSetter(model)

    def __call__(self, joint_position: FloatArray) -> bool:
        self._set(self._data, joint_position, 0.0)
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_collision(self._model, self._data)
        return not any(contact.dist < -0.002 and self._robots(contact) for contact in self._data.contact)

    def _robots(self, contact: Any) -> bool:
        """Whether a contact is to be avoided: things touch the table, and the gripper's linkage overlaps itself."""
        return self._part(contact.geom[0]) != self._part(contact.geom[1]) or self._part(contact.geom[0]) == "arm"

    def _part(self, geom: int) -> str:
        body = self._model.body(self._model.geom(int(geom)).bodyid[0]).name
        if body == "world" or body.startswith("thing"):
            return "surroundings"
        return "arm" if body.startswith("link") or body == "base" else "gripper"
