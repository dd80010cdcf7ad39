"""A robot's kinematics, from its own model file: what turns joint actions into the Cartesian ones that worlds take."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, InvalidInput
from real2sim.engine import mujoco

FLANGE_OFFSET = 0.107
"""Metres from the Panda's `link7` to its flange, along link7's z axis."""
_DEAD_WEIGHT = ("asset", "actuator", "geom", "camera")
"""What of a robot's MJCF its kinematics do not need: reading the meshes would take seconds."""


class PandaKinematics:
    """The Franka Panda's forward kinematics, from robosuite's MJCF (`arena.contracts.Kinematics`).

    The end effector is the flange, oriented as `link7`: what DROID records as Cartesian position, with the robot's
    base as frame. Raises `InvalidInput` where robosuite's files are not installed.
    """

    def __init__(self) -> None:
        self._model = mujoco.MjModel.from_xml_string(_skeleton(panda_mjcf()))
        self._data = mujoco.MjData(self._model)
        self._last_link = self._model.body("link7").id

    def forward(self, joint_position: FloatArray) -> FloatArray:
        """`(N, 7)` rad to `(N, 6)` float64: m, and extrinsic-xyz Euler angles in rad. Joint limits are not enforced.

        Raises `InvalidInput` for any other shape, and for NaN or infinite numbers.
        """
        position, flange_to_base = self.forward_matrix(joint_position)
        if len(position) == 0:
            return np.zeros((0, 6))
        return np.concatenate([position, Rotation.from_matrix(flange_to_base).as_euler("xyz")], axis=1)

    def forward_matrix(self, joint_position: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The same as positions `(N, 3)` and rotation matrices `flange_to_base` `(N, 3, 3)`, without singularities."""
        joints = np.asarray(joint_position, dtype=np.float64)
        if joints.ndim != 2 or joints.shape[1] != 7:
            raise InvalidInput(f"the Panda's joint positions must have shape (N, 7), not {joints.shape}")
        if not np.isfinite(joints).all():
            raise InvalidInput("the Panda's joint positions hold NaN or infinite numbers")
        position, rotation = np.empty((len(joints), 3)), np.empty((len(joints), 3, 3))
        for row, q in enumerate(joints):
            self._data.qpos[:] = q
            mujoco.mj_kinematics(self._model, self._data)
            rotation[row] = self._data.xmat[self._last_link].reshape(3, 3)
            position[row] = self._data.xpos[self._last_link] + FLANGE_OFFSET * rotation[row][:, 2]
        return position, rotation


def panda_mjcf() -> Path:
    """robosuite's Panda. robosuite itself is not imported: its own dependencies hold numpy below 2."""
    spec = importlib.util.find_spec("robosuite")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(root) / "models" / "assets" / "robots" / "panda" / "robot.xml"
        if path.is_file():
            return path
    raise InvalidInput(
        "the Panda's model is missing (models/assets/robots/panda/robot.xml of robosuite): "
        "pip install --no-deps robosuite==1.5.2"
    )


def _skeleton(path: Path) -> str:
    """The MJCF at `path` reduced to its bodies and joints."""
    tree = ElementTree.parse(path).getroot()
    for parent in list(tree.iter()):
        for tag in _DEAD_WEIGHT:
            for child in parent.findall(tag):
                parent.remove(child)
    return ElementTree.tostring(tree, encoding="unicode")
