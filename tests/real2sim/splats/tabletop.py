"""A table with things on it, rendered by MuJoCo from known cameras: photographs whose truth is known."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, Frames
from real2sim.camera import Camera
from real2sim.engine import mujoco
from tests.real2sim.splats.scenes import looking

WIDTH, HEIGHT, FOCAL = 160, 96, 120.0
BOX, CAN = (0.48, 0.12), (0.42, -0.18)
"""Where they stand on the table's plane z = 0, in metres."""
BOX_HALF, CAN_RADIUS, CAN_HALF = (0.03, 0.05, 0.04), 0.035, 0.05
XML = f"""
<mujoco>
  <visual><map znear="0.01" zfar="20"/><quality offsamples="4" shadowsize="2048"/>
    <headlight ambient="0.45 0.45 0.45" diffuse="0.3 0.3 0.3" specular="0 0 0"/></visual>
  <asset>
    <texture name="sky" type="skybox" builtin="flat" rgb1="0.6 0.65 0.7" width="64" height="384"/>
    <texture name="wood" type="2d" builtin="gradient" rgb1="0.75 0.55 0.35" rgb2="0.45 0.3 0.2" mark="random"
      markrgb="0.25 0.2 0.15" random="0.01" width="256" height="256"/>
    <texture name="tiles" type="2d" builtin="checker" rgb1="0.5 0.5 0.45" rgb2="0.35 0.38 0.4" width="128"
      height="128"/>
    <texture name="stripes" type="cube" builtin="checker" rgb1="0.8 0.15 0.1" rgb2="0.9 0.8 0.3" width="64"
      height="64"/>
    <material name="wood" texture="wood" texrepeat="2 2"/>
    <material name="tiles" texture="tiles" texrepeat="6 6"/>
    <material name="stripes" texture="stripes"/>
  </asset>
  <worldbody>
    <light pos="0.3 -0.5 1.8" dir="0.1 0.3 -1" diffuse="0.5 0.5 0.5" specular="0 0 0"/>
    <geom name="floor" type="box" size="3 3 0.01" pos="0 0 -0.7" material="tiles"/>
    <geom name="wall" type="box" size="0.02 3 2" pos="1.6 0 0.5" rgba="0.55 0.6 0.65 1"/>
    <geom name="side" type="box" size="3 0.02 2" pos="0 1.7 0.5" material="tiles"/>
    <geom name="other" type="box" size="3 0.02 2" pos="0 -1.7 0.5" rgba="0.7 0.68 0.6 1"/>
    <geom name="back" type="box" size="0.02 3 2" pos="-1.4 0 0.5" rgba="0.6 0.55 0.5 1"/>
    <geom name="table" type="box" size="0.4 0.5 0.02" pos="0.5 0 -0.02" material="wood"/>
    <body name="box" pos="{BOX[0]} {BOX[1]} {BOX_HALF[2]}">
      <geom name="box" type="box" size="{BOX_HALF[0]} {BOX_HALF[1]} {BOX_HALF[2]}" material="stripes"/></body>
    <body name="can" pos="{CAN[0]} {CAN[1]} {CAN_HALF}">
      <geom name="can" type="cylinder" size="{CAN_RADIUS} {CAN_HALF}" rgba="0.15 0.35 0.8 1"/></body>
    <geom name="bowl" type="ellipsoid" size="0.06 0.06 0.03" pos="0.62 -0.05 0.03" rgba="0.2 0.6 0.3 1"/>
    <camera name="any" pos="0 0 1"/>
  </worldbody>
</mujoco>
"""


def camera_at(eye: tuple[float, float, float], at: tuple[float, float, float] = (0.5, 0.0, 0.0)) -> Camera:
    return looking(eye, at, width=WIDTH, height=HEIGHT, fx=FOCAL, fy=FOCAL, cx=WIDTH / 2, cy=HEIGHT / 2)


def exterior_cameras() -> list[Camera]:
    return [camera_at((0.1, 0.7, 0.55)), camera_at((0.05, -0.65, 0.5))]


def wrist_cameras(count: int = 32) -> list[Camera]:
    """A path over the table, as a wrist camera has it: 15 to 45 cm above, looking down at a slant."""
    cameras = []
    for t in np.linspace(0, 2 * np.pi, count, endpoint=False):
        eye = (0.42 + 0.16 * np.sin(t), 0.24 * np.sin(2 * t + 0.4), 0.3 + 0.12 * np.cos(t))
        cameras.append(camera_at(eye, at=(0.5 + 0.08 * np.cos(t), 0.12 * np.sin(t), 0.0)))
    return cameras


@cache
def _simulation() -> tuple[Any, Any]:
    model = mujoco.MjModel.from_xml_string(XML)
    return model, mujoco.MjData(model)


def photograph(cameras: list[Camera]) -> tuple[Frames, FloatArray, FloatArray]:
    """Frames `(C, H, W, 3)`, depths `(C, H, W)` m along the axis, and geom ids `(C, H, W)`, all from MuJoCo."""
    model, data = _simulation()
    model.cam_fovy[0] = np.degrees(2 * np.arctan(HEIGHT / 2 / FOCAL))
    frames, depths, geoms = [], [], []
    with mujoco.Renderer(model, HEIGHT, WIDTH) as renderer:
        for camera in cameras:
            pose = camera.camera_to_base
            model.cam_pos[0] = pose[:3, 3]
            model.cam_quat[0] = Rotation.from_matrix(pose[:3, :3] @ np.diag([1, -1, -1])).as_quat(scalar_first=True)
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera="any")
            frames.append(renderer.render())
            renderer.enable_depth_rendering()
            depths.append(renderer.render().astype(np.float64))
            renderer.disable_depth_rendering()
            renderer.enable_segmentation_rendering()
            geoms.append(renderer.render()[..., 0])
            renderer.disable_segmentation_rendering()
    return np.stack(frames), np.stack(depths), np.stack(geoms)


def geom_id(name: str) -> int:
    """What `photograph`'s geom ids say of a geom."""
    return int(_simulation()[0].geom(name).id)
