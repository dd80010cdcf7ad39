"""The cameras that look at the stand-in robot, and how their pictures are made quickly on a CPU.

In software, OpenGL spends its time on vertices, and the Sawyer's meshes have 65,000 triangles behind 2,000 pixels.
So the pictures are made from copies of the meshes without the detail that is far smaller than a pixel
(20 ms for three 96x64 views instead of 33); the physics keeps the full ones.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from arena.contracts import Frames
from real2sim.camera import Camera
from real2sim.engine import mujoco
from real2sim.meshes import simplify
from real2sim.silhouette import OPENCV_TO_OPENGL, looking_at

_FREE_CAMERAS = MappingProxyType({"exterior_1": -50.0, "exterior_2": -130.0})
"""Azimuths in degrees. The stock corner cameras are far away, and some hang upside down."""
_MODEL_CAMERAS = MappingProxyType({"wrist": "gripperPOV"})
"""`gripperPOV` sees both fingers and what is under them; `behindGripper` is inside a link at many resets."""
CAMERAS = (*_FREE_CAMERAS, *_MODEL_CAMERAS)
_LOOK_AT = (0.0, 0.74, 0.09)
_DISTANCE, _ELEVATION = 0.8, -38.0
DETAIL_PIXELS = 0.3
"""Of the robot's meshes, what is smaller than this many pixels of the exterior cameras is left out."""


class CameraRig:
    """Renders any simulation of one task: the meshes and textures are uploaded once and shared.

    Shadows, reflections and multisampling are off: at the default size they cost more than the picture.
    `detail` is in pixels; 0 keeps the meshes whole.
    """

    def __init__(self, model: Any, height: int, width: int, detail: float = DETAIL_PIXELS) -> None:
        pictured = _for_pictures(model, height, width, detail)
        self._renderer = mujoco.Renderer(pictured, height, width)
        for flag in ("SHADOW", "REFLECTION", "HAZE", "FOG"):
            self._renderer.scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = False
        self._option = mujoco.MjvOption()
        self._cameras = {name: _free_camera(azimuth) for name, azimuth in _FREE_CAMERAS.items()}
        self._cameras |= {name: _model_camera(model, stock) for name, stock in _MODEL_CAMERAS.items()}
        # Renderers that are left to the garbage collector at exit outlive EGL and print tracebacks.
        self.close = weakref.finalize(self, self._renderer.close)

    def render(self, model: Any, data: Any, cameras: Collection[str] = CAMERAS) -> dict[str, Frames]:
        """What the cameras see of a MuJoCo simulation, `(H, W, 3)` each. `model` is of the task of this rig's."""
        return {name: self._render(model, data, camera) for name, camera in self._cameras.items() if name in cameras}

    def _render(self, model: Any, data: Any, camera: Any) -> Frames:
        every = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(model, data, self._option, None, camera, every, self._renderer.scene)
        frame: Frames = self._renderer.render()
        return frame


def mounts() -> Mapping[str, str]:
    """Each camera and how it is mounted, for cards and reports."""
    place = f"free, {_DISTANCE} m from {_LOOK_AT}, elevation {_ELEVATION:g}, azimuth"
    free = {name: f"{place} {azimuth:g} degrees" for name, azimuth in _FREE_CAMERAS.items()}
    return free | {name: f"hand, {stock}" for name, stock in _MODEL_CAMERAS.items()}


def calibration(model: Any, height: int, width: int) -> dict[str, Camera]:
    """What a calibrated rig's dataset says of its cameras: those that stand still in the base frame, and the wrist's on
    its mount, which goes with the hand and stays level."""
    pixels = height / 2 / np.tan(np.radians(model.vis.global_.fovy) / 2)
    cameras = {}
    for name, azimuth in _FREE_CAMERAS.items():
        turn, rise = np.radians([azimuth, _ELEVATION])
        forward = np.array([np.cos(rise) * np.cos(turn), np.cos(rise) * np.sin(turn), np.sin(rise)])
        pose = looking_at(_LOOK_AT - _DISTANCE * forward, np.array(_LOOK_AT))
        cameras[name] = Camera(width, height, pixels, pixels, width / 2, height / 2, pose)
    for name, stock in _MODEL_CAMERAS.items():
        camera, pose = model.camera(stock), np.eye(4)
        pose[:3, :3], pose[:3, 3] = camera.mat0.reshape(3, 3) @ OPENCV_TO_OPENGL, camera.pos0
        pixels = height / 2 / np.tan(np.radians(camera.fovy[0]) / 2)
        cameras[name] = Camera(width, height, pixels, pixels, width / 2, height / 2, pose)
    return cameras


def _free_camera(azimuth: float) -> Any:
    camera = mujoco.MjvCamera()
    camera.lookat[:] = _LOOK_AT
    camera.distance, camera.azimuth, camera.elevation = _DISTANCE, azimuth, _ELEVATION
    return camera


def _model_camera(model: Any, name: str) -> Any:
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
    camera.fixedcamid = model.camera(name).id
    return camera


def _for_pictures(model: Any, height: int, width: int, detail: float) -> Any:
    """A copy of the model to make pictures from: the rendering context takes its meshes and settings from there."""
    pictured = copy.copy(model)
    pictured.vis.quality.offsamples = 0
    pictured.vis.quality.shadowsize = 0
    pictured.vis.global_.offheight, pictured.vis.global_.offwidth = height, width
    pixel = 2.0 * _DISTANCE * np.tan(np.radians(model.vis.global_.fovy / 2.0)) / height
    robot = model.body("base").id
    meshes = {
        int(model.geom_dataid[geom])
        for geom in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_MESH)
        if model.body_rootid[model.geom_bodyid[geom]] == robot
    }
    if detail > 0:
        pictured.vis.quality.numslices, pictured.vis.quality.numstacks = 16, 8  # of spheres; half of MuJoCo's
        for mesh in meshes:
            simplify(pictured, mesh, detail * pixel)
    return pictured
