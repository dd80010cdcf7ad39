"""Episodes' numbers as a declaration says they are: shared by clips and by LeRobot datasets of unknown columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arena.contracts import ActionChunk, ActionSpace, FloatArray, Kinematics
from arena.episodes.declaration import ActionDeclaration, Declaration, StateDeclaration
from arena.episodes.errors import UndeclaredLayout
from arena.geometry import euler_xyz_to_matrix, matrix_to_euler_xyz


@dataclass(frozen=True)
class Numbers:
    """One episode's numbers in this project's units: `(T, 6)`, `(T, 1)`, `(T, 7)` or None, and the actions."""

    cartesian_position: FloatArray
    gripper_position: FloatArray
    joint_position: FloatArray | None
    action: ActionChunk | None


def declared_numbers(
    path: Path,
    declaration: Declaration,
    arrays: Mapping[str, FloatArray],
    fps: float,
    kinematics: Kinematics | None = None,
) -> Numbers:
    """Pick, scale and, where declared, sum up the columns of `arrays`, which came from `path`.

    Raises `BadAnnotation` or `InvalidStates` where they do not fit the declaration, and `UndeclaredLayout` where only
    joints are declared and there is no `kinematics` to turn them into poses.
    """
    state = declaration.state
    joints = state.joint_position.take(path, arrays, 7) if state.joint_position else None
    gripper = state.gripper_position.take(path, arrays)
    reached = None
    if state.kind == "integrated" and state.delta is not None:
        poses = integrate(np.array(state.origin), state.delta.take(path, arrays, 6), state)
        cartesian, reached = poses[:-1], poses[1:]
    elif state.cartesian_position is not None:
        cartesian = state.cartesian_position.take(path, arrays, 6)
    elif joints is not None and kinematics is not None:
        cartesian = kinematics.forward(joints)
    else:
        raise UndeclaredLayout(f"{path}: only joints are declared, and there are no kinematics to get poses from them")
    action = _action(path, declaration.action, arrays, fps, reached, gripper) if declaration.action else None
    return Numbers(cartesian, gripper, joints, action)


def integrate(origin: FloatArray, deltas: FloatArray, state: StateDeclaration) -> FloatArray:
    """`(T + 1, 6)` poses from `origin` `(6,)` on; row `t` of the `(T, 6)` deltas leads from pose `t` to the next."""
    poses = np.empty((len(deltas) + 1, 6))
    poses[0] = origin
    if state.rotation == "euler_difference":
        poses[1:] = origin + np.cumsum(deltas, axis=0)
        poses[:, 3:] = (poses[:, 3:] + np.pi) % (2 * np.pi) - np.pi
        return poses
    poses[1:, :3] = origin[:3] + np.cumsum(deltas[:, :3], axis=0)
    matrix = euler_xyz_to_matrix(origin[3:])
    for row, turn in enumerate(euler_xyz_to_matrix(deltas[:, 3:])):
        matrix = turn @ matrix
        poses[row + 1, 3:] = matrix_to_euler_xyz(matrix)
    return poses


def _action(
    path: Path,
    action: ActionDeclaration,
    arrays: Mapping[str, FloatArray],
    fps: float,
    reached: FloatArray | None,
    gripper: FloatArray,
) -> ActionChunk:
    if action.arm is not None and action.gripper is not None:
        arm = action.arm.take(path, arrays, action.space.width - 1)
        return ActionChunk(np.concatenate([arm, action.gripper.take(path, arrays)], axis=1), action.space, fps)
    if reached is None:  # the declaration's parser lets no other case through
        raise UndeclaredLayout(f"{path}: [action] is integrated, but [state] is not")
    return ActionChunk(np.concatenate([reached, gripper], axis=1), ActionSpace.CARTESIAN_POSITION, fps)
