"""Pictures of a model from any `Camera`: how MuJoCo's cameras are made to follow ours, and the robot's silhouette."""

from __future__ import annotations

import atexit
import copy
import weakref
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, Frames
from real2sim.camera import Camera
from real2sim.engine import mujoco
from real2sim.joints import JointSetter
from real2sim.meshes import simplify
from real2sim.robot_files import load_robot
from real2sim.robot_kind import Robot
from real2sim.robot_parts import RGB, paint, parts_of
from real2sim.robots import PANDA, robot_named

EYE = "eye"
NEAR, FAR = 0.02, 20.0
"""Metres that are drawn."""
PIXEL = 1e-3
"""Metres of sensor that a pixel is said to be: MuJoCo gives intrinsics in metres."""
OPENCV_TO_OPENGL = np.diag([1.0, -1.0, -1.0])
AROUND_ROBOT = 2
"""Pixels around the drawn robot that are not trusted to show the scene."""
BOARD_FLAGS = ("SHADOW", "REFLECTION", "HAZE", "FOG", "SKYBOX")


def with_margin(robot: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The drawn robot `(H, W)` with what is around it: where a picture is not trusted to show the scene."""
    return np.asarray(binary_dilation(robot, iterations=AROUND_ROBOT))


class Eye:
    """One camera in a model that can be put anywhere, with any intrinsics. `add_eye` adds it to a spec.

    Only geoms of `groups` are drawn, sites where `sites` says so, and no joints.
    """

    def __init__(self, model: Any, width: int, height: int, groups: tuple[int, ...], sites: bool = False) -> None:
        self.width, self.height = width, height
        self._model, self._id = model, model.camera(EYE).id
        model.stat.extent = 1.0
        model.vis.map.znear, model.vis.map.zfar = NEAR, FAR
        # MuJoCo draws nothing larger than the model says.
        model.vis.global_.offwidth = max(width, model.vis.global_.offwidth)
        model.vis.global_.offheight = max(height, model.vis.global_.offheight)
        self._renderer = mujoco.Renderer(model, height, width)
        for flag in BOARD_FLAGS:
            self._renderer.scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = False
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = [int(group in groups) for group in range(6)]
        self._option.sitegroup[1:] = 0
        self._option.sitegroup[0] = int(sites)
        # Renderers that are left to the garbage collector at exit outlive EGL and print tracebacks. What is registered
        # last runs first: EGL's own end was registered when the renderer was made.
        self.close = weakref.finalize(self, self._renderer.close)
        atexit.register(self.close)

    def colour(self, data: Any, camera: Camera) -> Frames:
        """`(H, W, 3)`. Kinematics have to be those of `data`'s joints."""
        self._look(data, camera)
        self._renderer.disable_depth_rendering()
        frame: Frames = self._renderer.render().copy()
        return frame

    def depth(self, data: Any, camera: Camera) -> NDArray[np.float32]:
        """`(H, W)` metres along the optical axis, infinite where nothing is."""
        self._look(data, camera)
        self._renderer.enable_depth_rendering()
        depth = self._renderer.render().copy()
        depth[depth > 0.99 * FAR] = np.inf
        return np.asarray(depth)

    def geoms(self, data: Any, camera: Camera) -> NDArray[np.int32]:
        """`(H, W)`: the geom that each pixel shows, -1 where nothing is."""
        self._renderer.enable_segmentation_rendering()
        self._look(data, camera)
        found = self._renderer.render()
        self._renderer.disable_segmentation_rendering()
        return np.where(found[..., 1] == mujoco.mjtObj.mjOBJ_GEOM, found[..., 0], -1).astype(np.int32)

    def _look(self, data: Any, camera: Camera) -> None:
        if (camera.width, camera.height) != (self.width, self.height):
            camera = camera.resized(self.width, self.height)
        model, at = self._model, self._id
        model.cam_sensorsize[at] = [PIXEL * self.width, PIXEL * self.height]
        # MuJoCo's principal point is an offset from the picture's middle, to the left and upwards.
        offset = [self.width / 2 - camera.cx, camera.cy - self.height / 2]
        model.cam_intrinsic[at] = PIXEL * np.array([camera.fx, camera.fy, *offset])
        pose = np.asarray(camera.camera_to_base)
        data.cam_xpos[at] = pose[:3, 3]
        data.cam_xmat[at] = (pose[:3, :3] @ OPENCV_TO_OPENGL).ravel()
        self._renderer.update_scene(data, EYE, self._option)


def add_eye(spec: Any) -> None:
    """Give a spec the camera that `Eye` moves."""
    spec.worldbody.add_camera(name=EYE, sensor_size=[PIXEL, PIXEL], focal_length=[PIXEL, PIXEL], resolution=[1, 1])


class RobotSilhouette:
    """A robot alone, in its base frame, from any camera of one picture size."""

    def __init__(
        self,
        width: int,
        height: int,
        robot: Robot = PANDA,
        detail: float = 0.0,
        colors: Mapping[str, RGB] = MappingProxyType({}),
    ) -> None:
        """Of its meshes, what is smaller than `detail` m is left out; parts that `colors` names are painted."""
        self.model = copy.copy(_compiled(robot.name))
        self.parts = _parts(robot.name)
        paint(self.model, self.parts, colors)
        for mesh in range(self.model.nmesh if detail else 0):
            simplify(self.model, mesh, detail)
        self.data = mujoco.MjData(self.model)
        self.width, self.height = width, height
        self.kind = robot
        self.visual_group = robot.visual_group
        self._set = JointSetter(self.model, robot)
        self._eye = Eye(self.model, width, height, (robot.visual_group,), robot.sites)

    def depth(self, camera: Camera, joint_position: FloatArray, gripper_position: float) -> NDArray[np.float32]:
        """`(H, W)` metres along the optical axis, infinite beside the robot. `joint_position` is `(7,)` in rad."""
        self.pose(joint_position, gripper_position)
        return self._eye.depth(self.data, camera)

    def masks(self, camera: Camera, joint_position: FloatArray, gripper_position: FloatArray) -> NDArray[np.bool_]:
        """`(K, H, W)`: where the robot is drawn at joints `(K, 7)` rad and gripper positions `(K,)`."""
        poses = zip(joint_position, gripper_position, strict=True)
        return np.stack([np.isfinite(self.depth(camera, joints, float(gripper))) for joints, gripper in poses])

    def picture(
        self, camera: Camera, joint_position: FloatArray, gripper_position: float
    ) -> tuple[Frames, NDArray[np.float32]]:
        """The robot's meshes as MuJoCo lights them, `(H, W, 3)` uint8, with the depth that `depth` gives."""
        depth = self.depth(camera, joint_position, gripper_position)
        return self._eye.colour(self.data, camera), depth

    def links(
        self, camera: Camera, joint_position: FloatArray, gripper_position: float
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """`depth`, and `(H, W)` the body of the model that each pixel shows, -1 beside the robot."""
        depth, geoms = self.geoms(camera, joint_position, gripper_position)
        return depth, np.where(geoms >= 0, self.model.geom_bodyid[np.maximum(geoms, 0)], -1).astype(np.int32)

    def geoms(
        self, camera: Camera, joint_position: FloatArray, gripper_position: float
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """`depth`, and `(H, W)` the geom of the model that each pixel shows, -1 beside the robot."""
        depth = self.depth(camera, joint_position, gripper_position)
        return depth, np.where(np.isfinite(depth), self._eye.geoms(self.data, camera), -1).astype(np.int32)

    def pose(self, joint_position: FloatArray, gripper_position: float) -> None:
        """Move the robot without drawing it: `data` then holds where its geoms are."""
        self._set(self.data, joint_position, gripper_position)
        mujoco.mj_kinematics(self.model, self.data)

    def close(self) -> None:
        self._eye.close()


@cache
def _compiled(name: str) -> Any:
    """A robot's model with an eye in it: reading its meshes takes seconds."""
    spec = load_robot(robot_named(name).files())
    add_eye(spec)
    return spec.compile()


@cache
def _parts(name: str) -> tuple[str, ...]:
    """Of the model before it is painted."""
    return parts_of(_compiled(name))


def looking_at(position: FloatArray, target: FloatArray, roll: float = 0.0) -> FloatArray:
    """`(4, 4)` `camera_to_base` of a camera that looks from one point of the base frame at another, upright, then
    turned by `roll` rad about its axis.
    """
    forward = np.asarray(target, dtype=np.float64) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    if np.linalg.norm(right) < 1e-6:
        right = np.array([0.0, -1.0, 0.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, :3] = pose[:3, :3] @ Rotation.from_euler("z", roll).as_matrix()
    pose[:3, 3] = position
    return pose
