"""How far the turns between a wrist camera's frames are from what joints and hand-eye say: each pair for itself."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray
from real2sim.cameras.handeye import HandEye

LEAST_MATCHES = 30
NEAR = 4.0
"""Pixels at 160 columns from its epipolar line: nearer matches are asked."""
TOLERANCE = 0.4
"""Pixels at 160 columns: what is off by more has little say."""
CERTAIN = np.radians(0.5)
"""Standard error of a pair's turn: pairs that say it less well, as of a plane nearby, are left out."""
ROUNDS, STEP = 12, 1e-5


def rotation_residuals(
    fit: HandEye, flange_to_base: FloatArray, width: int, height: int, aspect: float = 1.0
) -> FloatArray:
    """`(P,)` rad: of each pair of frames whose features alone say how the camera turned, by how much kinematics differ.

    `flange_to_base` is `(T, 4, 4)`; the film is `width` by `height` pixels of `aspect`, `fy / fx`. A pair's
    turn and the direction of its shift are fitted to its matches (Sampson's distance, robustly) from where kinematics
    put them.
    """
    matches = fit.matches
    rays = (matches.pixels - [width / 2, height / 2]) / [fit.focal, fit.focal * aspect]
    rays = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], axis=-1)
    cameras = flange_to_base @ fit.camera_to_flange
    pair = matches.first * len(flange_to_base) + matches.second
    order = np.argsort(pair, kind="stable")
    residuals = []
    for chosen in np.split(order, 1 + np.nonzero(np.diff(pair[order]))[0]):
        if len(chosen) < LEAST_MATCHES:
            continue
        first, second = matches.first[chosen[0]], matches.second[chosen[0]]
        motion = np.linalg.inv(cameras[second]) @ cameras[first]
        turn, error = _turned(rays[chosen], motion, fit.focal * 160 / width)
        if error < CERTAIN:
            residuals.append(turn)
    return np.array(residuals)


def _turned(rays: FloatArray, motion: FloatArray, scale: float) -> tuple[float, float]:
    """The angle that a pair's own turn differs by from `motion` `(4, 4)`, and its standard error, in rad; `rays`
    `(N, 2, 3)`, and distances are `scale` pixels to a rad."""
    toward = motion[:3, 3] / max(float(np.linalg.norm(motion[:3, 3])), 1e-9)
    aside = np.linalg.svd(toward[None])[2][1:]

    def distances(x: FloatArray) -> FloatArray:
        shift = toward + x[3:] @ aside
        essential = _cross(shift) @ Rotation.from_rotvec(x[:3]).as_matrix() @ motion[:3, :3]
        line_b, line_a = rays[:, 0] @ essential.T, rays[:, 1] @ essential
        value = (line_b * rays[:, 1]).sum(1)
        slope = (line_b[:, :2] ** 2).sum(1) + (line_a[:, :2] ** 2).sum(1)
        return np.asarray(value / np.sqrt(slope + 1e-18) * scale)

    x = np.zeros(5)
    rays = rays[np.abs(distances(x)) < NEAR]
    if len(rays) < LEAST_MATCHES:
        return np.inf, np.inf
    for _ in range(ROUNDS):
        off = distances(x)
        slope = np.stack(
            [(distances(x + step) - distances(x - step)) / (2 * STEP) for step in STEP * np.eye(5)], axis=1
        )
        weight = 1 / (1 + (off / TOLERANCE) ** 2) ** 2
        normal = slope.T @ (weight[:, None] * slope) + 1e-6 * np.eye(5)
        x = x - np.clip(np.linalg.solve(normal, slope.T @ (weight * off)), -0.05, 0.05)
    spread = np.sqrt((weight * off**2).sum() / max(weight.sum(), 1e-9))
    error = spread * np.sqrt(np.linalg.inv(normal)[:3, :3].trace())
    return float(np.linalg.norm(x[:3])), float(error)


def _cross(v: FloatArray) -> FloatArray:
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
