"""A twin in the browser (viser): its Gaussians, things, cameras and the arm's place, to look around in."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import torch

from arena.contracts import FloatArray, InvalidInput
from real2sim.camera import Camera
from real2sim.engine import mujoco_quaternion
from real2sim.mount import mount_poses, wrist_camera_at
from real2sim.robot_parts import color_of
from real2sim.robots import robot_named
from real2sim.silhouette import RobotSilhouette
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.library import covariances
from real2sim.twin.bundle import Twin
from real2sim.twin.paint import base_colors
from real2sim.twin.pictures import kinematics_of

FRUSTUM = 0.08
"""Metres."""
MOST_PORT = 65_535


def serve(twin: Twin, host: str, port: int) -> Any:
    """The running viser server; its `stop()` ends it. Raises `InvalidInput` where viser is not installed, and for an
    address that is none of this machine's."""
    try:
        import viser
    except ImportError as error:
        raise InvalidInput("looking at twins needs viser: pip install 'dreamarena[view]'") from error
    _check_address(host, port)
    server = viser.ViserServer(host=host, port=port, label=f"twin of {twin.beginning.episode_id}", verbose=False)
    _add_splats(server, "background", twin.background, np.eye(4))
    for thing in twin.objects:
        _add_splats(server, f"things/{thing.name}/splats", twin.splats[thing.name], thing.body_to_base)
        server.scene.add_mesh_simple(
            f"things/{thing.name}/mesh", thing.mesh.vertices.astype(np.float32), thing.mesh.triangles.astype(np.uint32),
            wireframe=True, visible=False, **_placed(thing.body_to_base),
        )  # fmt: skip
    for name, camera in twin.exterior.items():
        _add_camera(server, name, camera)
    if twin.wrist is not None:
        mount = mount_poses(twin.beginning.joint_position[None], kinematics_of(twin))[0]
        _add_camera(server, "wrist", wrist_camera_at(twin.wrist, mount))
    _add_robot(server, twin)
    server.scene.set_up_direction(tuple(twin.plane.normal))
    server.initial_camera.position = tuple(np.array([1.3, 1.0, 0.9]))
    server.initial_camera.look_at = (0.4, 0.0, 0.1)
    return server


def _check_address(host: str, port: int) -> None:
    """viser listens in a thread of its own, whose errors nobody is told. For a port that is taken it takes another."""
    if not 0 <= port <= MOST_PORT:
        raise InvalidInput(f"{port} is no port: give one up to {MOST_PORT}")
    try:
        socket.create_server((host, 0)).close()
    except OSError as error:
        raise InvalidInput(f"{host} is no address of this machine: {error.strerror or error}") from error


def _add_splats(server: Any, name: str, splats: Gaussians, pose: FloatArray) -> None:
    spread, _ = covariances(splats.quaternions, splats.scales, compute_preci=False)
    server.scene.add_gaussian_splats(
        name,
        centers=splats.means.numpy(),
        covariances=spread.numpy(),
        rgbs=base_colors(splats).clamp(0, 1).numpy(),
        opacities=torch.sigmoid(splats.opacity_logits)[:, None].numpy(),
        **_placed(pose),
    )


def _add_camera(server: Any, name: str, camera: Camera) -> None:
    field = 2 * np.arctan(camera.height / 2 / camera.fy)
    server.scene.add_camera_frustum(
        f"cameras/{name}", float(field), camera.width / camera.height, scale=FRUSTUM, **_placed(camera.camera_to_base)
    )


def _add_robot(server: Any, twin: Twin) -> None:
    """The arm's meshes as the episode began."""
    robot = RobotSilhouette(16, 16, robot_named(twin.beginning.robot), colors=twin.robot_colors)
    try:
        robot.pose(twin.beginning.joint_position, twin.beginning.gripper_position)
        model, data = robot.model, robot.data
        for geom in np.flatnonzero((model.geom_group == robot.visual_group) & (model.geom_dataid >= 0)).tolist():
            mesh = model.geom_dataid[geom]
            vertex, face = model.mesh_vertadr[mesh], model.mesh_faceadr[mesh]
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = data.geom_xmat[geom].reshape(3, 3), data.geom_xpos[geom]
            server.scene.add_mesh_simple(
                f"robot/{geom}",
                model.mesh_vert[vertex : vertex + model.mesh_vertnum[mesh]].astype(np.float32),
                model.mesh_face[face : face + model.mesh_facenum[mesh]].astype(np.uint32),
                color=tuple(int(255 * value) for value in color_of(model, geom)),
                **_placed(pose),
            )
    finally:
        robot.close()


def _placed(pose: FloatArray) -> dict[str, Any]:
    return {"wxyz": np.asarray(mujoco_quaternion(pose[:3, :3])), "position": np.asarray(pose[:3, 3])}
