"""A start from nothing: cameras all around the robot, scored by where its points would change the picture.

Random cameras first, then the cross-entropy method (Rubinstein and Kroese 2004) from the best of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray
from real2sim.camera import Camera, nearest_rotation
from real2sim.silhouette import looking_at

CELL = 4
"""Pixels of 160 that a cell of the coarse picture is wide."""
DISTANCE, ELEVATION, FOCAL = (0.45, 2.2), (-0.1, 1.25), (0.35, 1.4)
"""Metres, rad, picture widths: the cameras that are tried. A ZED 2, which DROID films with, has 0.41 widths."""
AT_ONCE = 200
RANDOM, ELITE, ROUNDS, EACH = 16_000, 40, 8, 900
STEP = np.array([0.12, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12])
"""First spread of a round, in m, rad and log focal length; it halves every other round."""

Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""Least and most along each axis, in m."""
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Evidence:
    """What a start is found from: `points` `(T, N, 3)` m of the robot, and `changed` `(T, h, w)`, shares in [0, 1] of
    each coarse cell that differ from the plate. `everywhere` `(E, M, 3)` are points of the robot in frames spread over
    the whole film, for where it mostly stands. `width` and `height` are the picture's, in pixels; `aspect` is that of
    its pixels, `fy / fx`. Cameras look at `workspace`, in m.
    """

    points: FloatArray
    changed: FloatArray
    everywhere: FloatArray
    width: int
    height: int
    workspace: Box
    aspect: float = 1.0

    @classmethod
    def of(
        cls,
        points: FloatArray,
        changed: NDArray[np.bool_],
        everywhere: FloatArray,
        workspace: Box,
        aspect: float = 1.0,
    ) -> Evidence:
        count, height, width = changed.shape
        cell = max(1, round(width * CELL / 160))
        rows, columns = height // cell, width // cell
        shares = changed[:, : rows * cell, : columns * cell].reshape(count, rows, cell, columns, cell).mean((2, 4))
        return cls(points, shares, everywhere, width, height, workspace, aspect)

    def thinned(self) -> Evidence:
        """Fewer frames and points: enough to tell which cameras are worth a closer look."""
        return replace(
            self, points=self.points[::2, ::2], changed=self.changed[::2], everywhere=self.everywhere[::2, ::2]
        )


def find_starts(
    evidence: Evidence, seed: int, best: int = 3, focal: float | None = None, progress: Progress | None = None
) -> list[tuple[float, Camera]]:
    """The `best` cameras and their scores, in [0, 1], highest first; unlike each other. `focal` in pixels, if known."""
    rng = np.random.default_rng([seed, 11])
    poses, focals = random_cameras(rng, RANDOM, evidence.width, evidence.workspace)
    if focal is not None:
        focals[:] = focal
    scores = score(evidence.thinned(), poses, focals, progress)
    order = np.argsort(-scores)
    families = _unlike(poses, order, best)
    found = [_refined(rng, evidence, poses[i], focals[i], focal is None) for i in families]
    return sorted(found, key=lambda each: -each[0])


def score(evidence: Evidence, poses: FloatArray, focals: FloatArray, progress: Progress | None = None) -> FloatArray:
    """`(B,)`: mean over frames of how well cameras `(B, 4, 4)` explain what changed, intersection over union.

    Where the robot stands in most frames, it is the plate that shows it, and a frame differs where it has left.
    """
    out = np.zeros(len(poses))
    for begin in range(0, len(poses), AT_ONCE):
        if progress is not None:
            progress(begin, len(poses), "cameras tried")
        batch = slice(begin, begin + AT_ONCE)
        robot = _occupied(evidence, evidence.points, poses[batch], focals[batch])
        usual = _occupied(evidence, evidence.everywhere, poses[batch], focals[batch]).mean(1, keepdims=True) > 0.5
        expected = robot ^ usual
        both = (expected * evidence.changed).sum((2, 3))
        either = expected.sum((2, 3)) + evidence.changed.sum((1, 2))[None] - both
        out[batch] = (both / np.maximum(either, 1e-9)).mean(1)
    return out


def _occupied(evidence: Evidence, points: FloatArray, poses: FloatArray, focals: FloatArray) -> NDArray[np.bool_]:
    """`(B, T, h, w)`: the coarse cells that points `(T, N, 3)` fall into, for each camera."""
    rows, columns = evidence.changed.shape[1:]
    cell = evidence.width / columns
    pixels, inside = _projected(evidence, points, poses, focals)
    row, column = (pixels[..., 1] / cell).astype(np.int32), (pixels[..., 0] / cell).astype(np.int32)
    inside &= (row < rows) & (column < columns)
    size, frames = len(pixels), len(points)
    flat = (np.arange(size)[:, None, None] * frames + np.arange(frames)[None, :, None]) * rows * columns
    robot = np.zeros(size * frames * rows * columns, dtype=bool)
    robot[(flat + row * columns + column)[inside]] = True
    return robot.reshape(size, frames, rows, columns)


def _projected(
    evidence: Evidence, points: FloatArray, poses: FloatArray, focals: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Pixels `(B, T, N, 2)` and which of them are in the picture."""
    rotation, position = poses[:, :3, :3].astype(np.float32), poses[:, :3, 3].astype(np.float32)
    flat = points.reshape(-1, 3).astype(np.float32)
    seen = np.matmul(flat[None], rotation) - np.matmul(position[:, None], rotation)
    depth = seen[..., 2:]
    middle = np.array([evidence.width / 2, evidence.height / 2], np.float32)
    stretch = np.array([1.0, evidence.aspect], np.float32)
    pixels = seen[..., :2] / np.maximum(depth, 1e-3) * focals[:, None, None].astype(np.float32) * stretch + middle
    limit = np.array([evidence.width, evidence.height], np.float32)
    inside = (depth[..., 0] > 0.05) & (pixels >= 0).all(-1) & (pixels < limit).all(-1)
    shape = (len(poses), *points.shape[:2])
    return np.where(inside[..., None], pixels, 0).reshape(*shape, 2), inside.reshape(shape)


def random_cameras(rng: np.random.Generator, count: int, width: int, workspace: Box) -> tuple[FloatArray, FloatArray]:
    """Poses `(B, 4, 4)` and focal lengths `(B,)` in pixels, all around where the robot works, looking at it."""
    targets = np.stack([rng.uniform(*span, count) for span in workspace], axis=1)
    azimuth, elevation = rng.uniform(-np.pi, np.pi, count), rng.uniform(*ELEVATION, count)
    toward = np.stack(
        [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], axis=1
    )
    positions = targets + rng.uniform(*DISTANCE, count)[:, None] * toward
    rolls = rng.normal(0, 0.08, count)
    poses = np.stack([looking_at(p, t, r) for p, t, r in zip(positions, targets, rolls, strict=True)])
    # Lenses differ by ratios: as many wide ones as long ones.
    return poses, width * np.exp(rng.uniform(np.log(FOCAL[0]), np.log(FOCAL[1]), count))


def _unlike(poses: FloatArray, order: NDArray[np.intp], best: int) -> list[int]:
    """The first cameras of `order` that stand apart or look elsewhere."""
    kept: list[int] = []
    for i in order:
        apart = all(np.linalg.norm(poses[i, :3, 3] - poses[j, :3, 3]) > 0.4 for j in kept)
        if apart:
            kept.append(int(i))
        if len(kept) == best:
            break
    return kept


def _refined(
    rng: np.random.Generator, evidence: Evidence, pose: FloatArray, focal: float, free_focal: bool
) -> tuple[float, Camera]:
    """The best camera near one, by ever smaller steps from the best few of the last round."""
    poses, focals = pose[None], np.array([focal])
    for turn in range(ROUNDS):
        spread = STEP * 0.5 ** (turn / 2)
        parents = rng.integers(len(poses), size=EACH)
        moved = np.stack([_moved(rng, poses[i], spread) for i in parents])
        stretch = np.exp(rng.normal(0, spread[6], EACH)) if free_focal else np.ones(EACH)
        # A longer lens from further away looks alike: step along that valley, not across it.
        ahead = np.clip(focals[parents] * stretch, *(evidence.width * np.array(FOCAL)))
        stretch = ahead / focals[parents]
        moved[:, :3, 3] -= moved[:, :3, 2] * (stretch - 1)[:, None] * _range(evidence, moved)
        poses, focals = np.concatenate([poses, moved]), np.concatenate([focals, ahead])
        seen = evidence.thinned() if turn < ROUNDS // 2 else evidence
        value = score(seen, poses, focals)
        top = np.argsort(-value)[:ELITE]
        poses, focals, value = poses[top], focals[top], value[top]
    fx, fy, pose = float(focals[0]), float(focals[0] * evidence.aspect), poses[0].copy()
    pose[:3, :3] = nearest_rotation(pose[:3, :3])
    camera = Camera(evidence.width, evidence.height, fx, fy, evidence.width / 2, evidence.height / 2, pose)
    return float(value[0]), camera


def _range(evidence: Evidence, poses: FloatArray) -> FloatArray:
    """`(B, 1)`: how far ahead the robot's middle is, in m."""
    middle = evidence.points.mean((0, 1))
    return np.asarray(np.einsum("bi,bi->b", middle - poses[:, :3, 3], poses[:, :3, 2])[:, None])


def _moved(rng: np.random.Generator, pose: FloatArray, spread: FloatArray) -> FloatArray:
    out = pose.copy()
    out[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec(rng.normal(0, spread[3:6])).as_matrix()
    out[:3, 3] = pose[:3, 3] + rng.normal(0, spread[:3])
    return out
