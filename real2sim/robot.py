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
ITERATIONS, DAMPING = 50, 1e-4
"""Of the inverse kinematics; the damping is in m^2 and rad^2."""
REACHED = (5e-3, 0.03)
"""m and rad that may be left of a pose: states of a world model are no robot's, and some are a little out of reach."""
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

    def inverse(self, cartesian_position: FloatArray, start: FloatArray) -> FloatArray:
        """`(N, 6)` poses along a path to `(N, 7)` rad, each from the one before it, the first from `start` `(7,)`.

        Damped least squares (Nakamura and Hanafusa, 1986), so that the elbow moves no more than it has to. Raises
        `InvalidInput` for a pose that is not reached to within `REACHED` from there.
        """
        found = np.empty((len(cartesian_position), 7))
        joints = np.array(start, dtype=np.float64)
        for row, pose in enumerate(np.asarray(cartesian_position, dtype=np.float64)):
            joints, error = self._solve(pose, joints)
            if np.linalg.norm(error[:3]) > REACHED[0] or np.linalg.norm(error[3:]) > REACHED[1]:
                left = f"{100 * np.linalg.norm(error[:3]):.1f} cm and {np.linalg.norm(error[3:]):.2f} rad are left"
                raise InvalidInput(f"the Panda does not reach pose {row} from its joints before it: {left}")
            found[row] = joints
        return found

    def _solve(self, pose: FloatArray, joints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Joints `(7,)` near the given ones for a pose `(6,)`, and what is left of the error in m and rad."""
        wanted = Rotation.from_euler("xyz", pose[3:])
        translation, turn = np.empty((3, 7)), np.empty((3, 7))
        for _ in range(ITERATIONS):
            position, flange_to_base = self.forward_matrix(joints[None])
            rotation = (wanted * Rotation.from_matrix(flange_to_base[0]).inv()).as_rotvec()
            error = np.concatenate([pose[:3] - position[0], rotation])
            if np.abs(error).max() < 1e-5:
                break
            mujoco.mj_comPos(self._model, self._data)
            mujoco.mj_jac(self._model, self._data, translation, turn, position[0], self._last_link)
            jacobian = np.concatenate([translation, turn])
            joints = joints + jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + DAMPING * np.eye(6), error)
        return joints, error


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
