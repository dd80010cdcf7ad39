"""The robot as points: fast enough to try tens of thousands of cameras."""

from __future__ import annotations

import numpy as np

from arena.contracts import FloatArray
from real2sim.silhouette import RobotSilhouette


def surface_points(
    robot: RobotSilhouette, joint_position: FloatArray, gripper_position: FloatArray, count: int, seed: int = 0
) -> FloatArray:
    """`(T, N, 3)` m in the base frame: the same about `count` points of the robot's surface, evenly over its area, at
    joints `(T, 7)` rad and gripper positions `(T,)`.
    """
    model = robot.model
    geoms = [g for g in range(model.ngeom) if model.geom_group[g] == robot.visual_group and model.geom_dataid[g] >= 0]
    corners = [_triangles(model, int(model.geom_dataid[g])) for g in geoms]
    areas = [0.5 * np.linalg.norm(np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]), axis=1) for c in corners]
    rng = np.random.default_rng(seed)
    total = sum(area.sum() for area in areas)
    shares = [int(np.ceil(count * area.sum() / total)) for area in areas]
    local = [_drawn(rng, c, area, n) for c, area, n in zip(corners, areas, shares, strict=True)]
    out = []
    for joints, gripper in zip(joint_position, gripper_position, strict=True):
        robot.pose(joints, float(gripper))
        placed = [
            points @ robot.data.geom_xmat[g].reshape(3, 3).T + robot.data.geom_xpos[g]
            for g, points in zip(geoms, local, strict=True)
        ]
        out.append(np.concatenate(placed))
    return np.stack(out)


def _triangles(model: object, mesh: int) -> FloatArray:
    """`(F, 3, 3)`, in the geom's frame."""
    first, faces = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]  # type: ignore[attr-defined]
    start = model.mesh_vertadr[mesh]  # type: ignore[attr-defined]
    return np.asarray(model.mesh_vert[start + model.mesh_face[first : first + faces]])  # type: ignore[attr-defined]


def _drawn(rng: np.random.Generator, corners: FloatArray, area: FloatArray, count: int) -> FloatArray:
    chosen = corners[rng.choice(len(area), count, p=area / area.sum())]
    weight = rng.dirichlet(np.ones(3), count)
    return np.asarray((chosen * weight[:, :, None]).sum(1))
