"""Where a wrist camera is: on the flange, or level where the flange is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from arena.contracts import FloatArray
from real2sim.camera import Camera
from real2sim.robot import ArmKinematics

WRIST = "wrist"
"""The name of the camera that goes with the arm. All others stand still."""


def flange_poses(joint_position: FloatArray, kinematics: ArmKinematics) -> FloatArray:
    """`(T, 4, 4)`, the flange in the base frame, of joints `(T, 7)` in rad."""
    position, rotation = kinematics.forward_matrix(np.asarray(joint_position, dtype=np.float64))
    poses = np.tile(np.eye(4), (len(position), 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = rotation, position
    return poses


def mount_poses(joint_position: FloatArray, kinematics: ArmKinematics) -> FloatArray:
    """`(T, 4, 4)`, what the wrist camera is fixed to in the base frame, of joints `(T, 7)` in rad: the flange, or where
    the flange is, level."""
    poses = flange_poses(joint_position, kinematics)
    if kinematics.robot.level_camera:
        poses[:, :3, :3] = np.eye(3)
    return poses


def wrist_camera_at(wrist: Camera, mount_to_base: FloatArray) -> Camera:
    """The wrist camera, whose pose is that on its mount, in the base frame."""
    return replace(wrist, camera_to_base=mount_to_base @ wrist.camera_to_base)
