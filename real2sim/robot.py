"""A robot's kinematics, from its own model file: what turns joint actions into the Cartesian ones that worlds take."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, InvalidInput
from real2sim.engine import mujoco
from real2sim.robot_files import RobotFiles, load_robot
from real2sim.robot_kind import Robot
from real2sim.robots import FLANGE_OFFSET, PANDA

__all__ = ["FLANGE_OFFSET", "ArmKinematics", "PandaKinematics"]

INVERSE_STEPS, INVERSE_TOLERANCE = 40, 1e-5
"""Inverse kinematics end after so many steps, or when no part of the error is larger, in m and rad."""
REACHED = (5e-3, 0.03)
"""m and rad that may be left of a pose: states of a world model are no robot's, and some are a little out of reach."""


class ArmKinematics:
    """Forward and inverse kinematics of an arm of seven joints, from its own file (`arena.contracts.Kinematics`).

    The end effector is the robot's tool: what its datasets record as Cartesian position, with the robot's base as
    frame. Raises `InvalidInput` where the robot's files are not installed.
    """

    def __init__(self, robot: Robot) -> None:
        self.robot, self._name = robot, robot.name
        self._model = _skeleton(robot)
        self._data = mujoco.MjData(self._model)
        self._body, self._tool = self._model.body(robot.tool_body).id, robot.tool
        joints = [self._model.joint(name) for name in robot.joints]
        self._places = np.array([joint.qposadr[0] for joint in joints])
        self._dofs = np.array([joint.dofadr[0] for joint in joints])
        # MuJoCo gives a joint without limits the range from 0 to 0.
        limited = np.array([bool(self._model.jnt_limited[joint.id]) for joint in joints])
        low, high = np.array([joint.range for joint in joints]).T
        self._low, self._high = np.where(limited, low, -np.inf), np.where(limited, high, np.inf)

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
            raise InvalidInput(f"the {self._name}'s joint positions must have shape (N, 7), not {joints.shape}")
        if not np.isfinite(joints).all():
            raise InvalidInput(f"the {self._name}'s joint positions hold NaN or infinite numbers")
        position, rotation = np.empty((len(joints), 3)), np.empty((len(joints), 3, 3))
        for row, q in enumerate(joints):
            self._data.qpos[self._places] = q
            mujoco.mj_kinematics(self._model, self._data)
            body = self._data.xmat[self._body].reshape(3, 3)
            rotation[row] = body @ self._tool[:3, :3]
            position[row] = self._data.xpos[self._body] + body @ self._tool[:3, 3]
        return position, rotation

    def inverse(self, cartesian_position: FloatArray, start: FloatArray) -> FloatArray:
        """`(N, 6)` poses along a path to `(N, 7)` rad, each from the one before it, the first from `start` `(7,)`.

        Raises `InvalidInput` for a pose that is not reached to within `REACHED` from there.
        """
        found = np.empty((len(cartesian_position), 7))
        joints: FloatArray = np.array(start, dtype=np.float64)
        for row, pose in enumerate(np.asarray(cartesian_position, dtype=np.float64)):
            joints = self.nearest(pose, joints)
            error = self._error(joints, pose[:3], Rotation.from_euler("xyz", pose[3:]))
            if (
                np.linalg.norm(error[:3]) > REACHED[0]
                or np.linalg.norm(error[3:]) > REACHED[1] * self.robot.turn_weight
            ):
                turn = np.linalg.norm(error[3:]) / self.robot.turn_weight
                left = f"{100 * np.linalg.norm(error[:3]):.1f} cm and {turn:.2f} rad are left"
                raise InvalidInput(f"the {self._name} does not reach pose {row} from its joints before it: {left}")
            found[row] = joints
        return found

    def nearest(self, cartesian_position: FloatArray, start: FloatArray) -> FloatArray:
        """`(7,)` rad near `start` `(7,)` whose tool is at `cartesian_position` `(6,)`, by damped least squares
        within the joints' limits (Levenberg and Marquardt's method, as Sugihara 2011 uses it for arms).

        Where it cannot be reached, the joints come as near as they can. Of the arm's spare freedom, they stay near
        `start`.
        """
        goal = np.asarray(cartesian_position, dtype=np.float64)
        turn = Rotation.from_euler("xyz", goal[3:])
        joints = np.clip(np.asarray(start, dtype=np.float64), self._low, self._high)
        error = self._error(joints, goal[:3], turn)
        damping = 1e-3
        for _ in range(INVERSE_STEPS):
            if np.abs(error).max() < INVERSE_TOLERANCE:
                break
            jacobian = self._jacobian(joints)
            square = jacobian.T @ jacobian + damping * np.eye(7)
            trial = np.clip(joints + np.linalg.solve(square, jacobian.T @ error), self._low, self._high)
            remaining = self._error(trial, goal[:3], turn)
            if np.linalg.norm(remaining) < np.linalg.norm(error):
                joints, error, damping = trial, remaining, max(damping / 5, 1e-9)
            else:
                damping *= 10
        return joints

    def _error(self, joints: FloatArray, position: FloatArray, turn: Rotation) -> FloatArray:
        """`(6,)`, m and weighted rad, in the base frame: how far it still is. Leaves the model at `joints`."""
        at, rotation = self.forward_matrix(joints[None])
        missing = (turn * Rotation.from_matrix(rotation[0]).inv()).as_rotvec()
        return np.concatenate([position - at[0], self.robot.turn_weight * missing])

    def _jacobian(self, joints: FloatArray) -> FloatArray:
        """`(6, 7)`, of the tool's position and rotation."""
        at, _ = self.forward_matrix(joints[None])
        mujoco.mj_comPos(self._model, self._data)
        jacobian = np.zeros((6, self._model.nv))
        mujoco.mj_jac(self._model, self._data, jacobian[:3], jacobian[3:], at[0], self._body)
        jacobian[3:] *= self.robot.turn_weight
        return jacobian[:, self._dofs]


class PandaKinematics(ArmKinematics):
    """The Franka Panda's. Its end effector is the flange, oriented as `link7`: what DROID records."""

    def __init__(self) -> None:
        super().__init__(PANDA)


def _skeleton(robot: Robot) -> Any:
    """The arm's model reduced to bodies and joints: reading the meshes would take seconds."""
    files = robot.files()
    spec = load_robot(RobotFiles(files.model, stand=files.stand))
    for each in [*spec.geoms, *spec.meshes]:
        each.delete()
    # Parts whose masses were those of their meshes.
    spec.compiler.boundmass = spec.compiler.boundinertia = 1e-6
    return spec.compile()
