"""The wrist camera's pose on the flange, and its focal length, from features of the still scene and kinematics.

For a camera that is rigidly on the flange, every pair of frames has a relative pose that the arm's joints tell but for
one unknown transform, the same for all pairs. So thousands of matched features, most of a pair's possibly wrong, decide
over seven numbers: a global search over them, and robust least squares of the Sampson distance (Hartley and Zisserman
2004, section 11.4.3). The scale is the robot's own, since its flange moves by known metres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from arena.contracts import FloatArray, InvalidInput
from real2sim.camera import Camera
from real2sim.cameras.certainty import clustered_errors
from real2sim.cameras.matching import Matches
from real2sim.robot_kind import Mount

Progress = Callable[[int, int, str], None]

STILL_PIXELS, STILL_SHARE = 1.5, 0.5
"""A feature that most of its partners show at the same pixel, though the camera moved, is of the gripper."""
MOVED_METRES, MOVED_RADIANS = 0.03, 0.1
"""What the flange moves at least between two frames that say something."""
LEAST_PAIRS, LEAST_MATCHES = 20, 200
PER_PAIR, SEARCH_MATCHES, REFINE_MATCHES = 12, 4000, 10_000
WIDEST_TILT, LONGEST_ARM = np.radians(75.0), 0.25
"""Between the optical axis and the flange's z axis, which points to the fingers; metres from flange to camera."""
FOCALS = (0.4, 1.4)
"""In picture widths."""
FIRST_DRAW = 12_000
APART = 0.35
"""Rad between the random cameras that families begin with."""
STAGES = ((32, 5, 120, 1000), (12, 4, 250, 1000), (4, 5, 375, 4000))
"""Of the search: families that are kept, rounds, cameras drawn around each in a round, and matches that judge them.
Coarsely, wide lenses look best, so the right family must not be asked to be among the first few from the start."""
LEAST_KEPT, KEPT_SHARE = 12, 12
"""Of the cameras drawn in a round, the family's next ones are made of the best twelfth, and of no fewer than these."""
TOLERANCES = (8.0, 0.6)
"""Pixels that a match may be off by in the search, first and last, at 160 columns."""
FINAL_TOLERANCE = 0.2
"""Pixels at 160 columns, of the least squares: what is off by more has little say."""


@dataclass(frozen=True)
class HandEye:
    """`camera_to_flange` `(4, 4)` and `focal` in pixels, by how many of the matches bear them out.

    `share` of the matches within `unit` pixels (a pixel at 160 columns) of their epipolar lines; `median_pixels` is the
    distance of those. `position_error` in m and `rotation_error` in rad are standard errors. `inliers` `(M,)` are the
    matches that were counted.
    """

    camera_to_flange: FloatArray
    focal: float
    share: float
    median_pixels: float
    unit: float
    position_error: float
    rotation_error: float
    matches: Matches
    inliers: NDArray[np.bool_]


def without_gripper(matches: Matches, flange_to_base: FloatArray) -> Matches:
    """What is left where features that stay put in the picture are taken out, and pairs between which little moved.

    `flange_to_base` is `(T, 4, 4)`.
    """
    a, b = flange_to_base[matches.first], flange_to_base[matches.second]
    far = np.linalg.norm(a[:, :3, 3] - b[:, :3, 3], axis=1) > MOVED_METRES
    turned = Rotation.from_matrix(np.swapaxes(a[:, :3, :3], 1, 2) @ b[:, :3, :3]).magnitude() > MOVED_RADIANS
    moving = matches.subset(far | turned)
    if not len(moving):
        return moving
    still = np.linalg.norm(moving.pixels[:, 0] - moving.pixels[:, 1], axis=1) < STILL_PIXELS
    count = int(moving.feature.max()) + 1
    seen, stood = np.zeros(count), np.zeros(count)
    for side in range(2):
        np.add.at(seen, moving.feature[:, side], 1)
        np.add.at(stood, moving.feature[:, side], still)
    gripper = stood > np.maximum(1, STILL_SHARE * seen * 0.5)
    kept = ~(still | gripper[moving.feature[:, 0]] | gripper[moving.feature[:, 1]])
    return moving.subset(kept)


def solve_hand_eye(
    matches: Matches,
    flange_to_base: FloatArray,
    width: int,
    height: int,
    *,
    seed: int = 0,
    focal: float | None = None,
    aspect: float = 1.0,
    mounts: Sequence[Mount] = (),
    progress: Progress | None = None,
) -> HandEye:
    """The camera on the flange from its film's matches and where the flange was, `flange_to_base` `(T, 4, 4)`.

    The principal point is the picture's middle; `focal` in pixels across, where it is known; `aspect` is that of its
    pixels, `fy / fx`. `mounts` are where such a robot's cameras mostly are: beginnings besides those that a global
    search finds, with no other advantage. Raises `InvalidInput` where too few features of the scene were matched.
    """  # fmt: skip
    problem = _Problem(_enough(matches, flange_to_base), flange_to_base, width, height, aspect)
    known = None if focal is None else np.log(focal / width)
    starts = _search(problem, np.random.default_rng([seed, 11]), known, progress)
    starts += [_as_numbers(mount, known) for mount in mounts]
    # Only the finest tolerance tells a family that is nearly right from the right one. All pairs have a like say: what
    # the hand dwells on, and perhaps moves, has most of the matches.
    found = np.stack([problem.refined(start, known) for start in starts])
    judges = problem.draw(np.random.default_rng([seed, 12]), len(problem.matches))
    best = found[int(problem.score(found, judges, FINAL_TOLERANCE * 2).argmax())]
    return problem.measured(best, known)


def check_hand_eye(matches: Matches, flange_to_base: FloatArray, camera: Camera) -> tuple[HandEye, HandEye]:
    """How the film bears out a `camera` whose pose on the flange the dataset gives, and the best one near it.

    Both keep its focal length. Raises `InvalidInput` as `solve_hand_eye` does.
    """
    usable, aspect = _enough(matches, flange_to_base), camera.fy / camera.fx
    aside = np.array([camera.cx - camera.width / 2, camera.cy - camera.height / 2])
    centred = replace(usable, pixels=usable.pixels - aside)
    problem = _Problem(centred, flange_to_base, camera.width, camera.height, aspect)
    known = float(np.log(camera.fx / camera.width))
    given = _as_numbers(Mount(camera.camera_to_base, camera.fx / camera.width), known)
    return problem.measured(given, known), problem.measured(problem.refined(given, known), known)


def _enough(matches: Matches, flange_to_base: FloatArray) -> Matches:
    usable = without_gripper(matches, flange_to_base)
    pairs = len({*zip(usable.first.tolist(), usable.second.tolist(), strict=True)})
    if len(usable) < LEAST_MATCHES or pairs < LEAST_PAIRS:
        raise InvalidInput(
            f"the wrist camera's frames share too little: {len(usable)} features in {pairs} pairs, {LEAST_MATCHES} in "
            f"{LEAST_PAIRS} are needed; give an episode that moves over a textured scene"
        )
    return usable


def _as_numbers(mount: Mount, known: float | None) -> FloatArray:
    turn = Rotation.from_matrix(mount.camera_to_flange[:3, :3]).as_rotvec()
    focal = np.log(mount.focal_widths) if known is None else known
    return np.concatenate([turn, mount.camera_to_flange[:3, 3], [focal]])


class _Problem:
    """A camera is seven numbers: rotation vector to the flange's frame, position in m, log focal length in widths."""

    def __init__(
        self, matches: Matches, flange_to_base: FloatArray, width: int, height: int, aspect: float = 1.0
    ) -> None:
        self.matches, self.width, self.unit = matches, width, width / 160.0
        first, second = flange_to_base[matches.first], flange_to_base[matches.second]
        motion = np.linalg.inv(second) @ first
        self.motion = torch.from_numpy(motion).float()
        self.rays = torch.from_numpy((matches.pixels - [width / 2, height / 2]) / [width, width * aspect]).float()

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """At most `count` matches, alike from all pairs."""
        order = rng.permutation(len(self.matches))
        pair = self.matches.first[order] * 1_000_003 + self.matches.second[order]
        by_pair = order[np.argsort(pair, kind="stable")]
        _, begin, size = np.unique(np.sort(pair), return_index=True, return_counts=True)
        rank = np.arange(len(by_pair)) - np.repeat(begin, size)
        chosen = by_pair[rank < PER_PAIR]
        return rng.permutation(chosen)[:count]

    def distances(self, cameras: Tensor, chosen: Tensor) -> Tensor:
        """`(C, N)` Sampson distances in pixels at 160 columns, signed, of `cameras` `(C, 7)`, in their precision."""
        rotation, position = _rotation(cameras[:, :3]), cameras[:, 3:6]
        scale = cameras[:, 6].exp()
        motion, rays = self.motion[chosen].to(cameras), self.rays[chosen].to(cameras)
        a = torch.cat([rays[:, 0], torch.ones(len(chosen), 1, dtype=rays.dtype)], dim=1)
        b = torch.cat([rays[:, 1], torch.ones(len(chosen), 1, dtype=rays.dtype)], dim=1)
        shrink = torch.stack([1 / scale, 1 / scale, torch.ones_like(scale)], dim=1)
        # In the camera's frame: R = X' G X, and the translation of the second camera to the first.
        turned = torch.einsum("nij,cjk->cnik", motion[:, :3, :3], rotation)
        moved = torch.einsum("nij,cj->cni", motion[:, :3, :3], position) + motion[:, :3, 3] - position[:, None]
        rotated = torch.einsum("cji,cnjk->cnik", rotation, turned)
        t = torch.einsum("cji,cnj->cni", rotation, moved)
        ray_a, ray_b = a * shrink[:, None], b * shrink[:, None]
        line_b = torch.cross(t, torch.einsum("cnij,cnj->cni", rotated, ray_a), dim=-1)  # E a
        line_a = torch.einsum("cnji,cnj->cni", rotated, torch.cross(ray_b, t, dim=-1))  # E' b
        value = (line_b * ray_b).sum(-1)
        slope = (line_a[..., :2] ** 2).sum(-1) + (line_b[..., :2] ** 2).sum(-1)
        return value / slope.clamp(min=1e-18).sqrt() * scale[:, None] * 160

    def score(self, cameras: FloatArray, chosen: NDArray[np.int64], tolerance: float) -> FloatArray:
        """`(C,)`: the mean over matches of a bell of the distance."""
        scores = []
        with torch.no_grad():
            for part in torch.split(torch.from_numpy(cameras).float(), 64):
                off = self.distances(part, torch.from_numpy(chosen))
                scores.append(torch.exp(-((off / tolerance) ** 2)).mean(1))
        return torch.cat(scores).numpy()

    def refined(self, start: FloatArray, known: float | None) -> FloatArray:
        """Gauss-Newton with Cauchy weights, ever narrower."""
        camera, chosen = start.copy(), torch.from_numpy(self.draw(np.random.default_rng(0), REFINE_MATCHES))
        for tolerance in (3.0, 1.5, 1.0, *(0.5,) * 8, *(FINAL_TOLERANCE,) * 40):
            off, slope = self._linear(camera, chosen)
            weight = np.where(np.abs(off) < 6 * tolerance, 1 / (1 + (off / tolerance) ** 2) ** 2, 0.0)
            if known is not None:
                slope[:, 6] = 0.0
            normal = slope.T @ (weight[:, None] * slope) + 1e-6 * np.eye(7) * max(weight.sum(), 1.0)
            step = -np.linalg.solve(normal, slope.T @ (weight * off))
            camera = camera + np.clip(step, -0.2, 0.2)
            if tolerance == FINAL_TOLERANCE and np.abs(step).max() < 1e-6:
                break
        return camera

    def _linear(self, camera: FloatArray, chosen: Tensor) -> tuple[FloatArray, FloatArray]:
        """Distances `(N,)` and their derivatives `(N, 7)`, by central differences."""
        step = 1e-5
        around = torch.from_numpy(camera + step * np.concatenate([np.zeros((1, 7)), np.eye(7), -np.eye(7)]))
        with torch.no_grad():
            off = torch.cat([self.distances(each[None], chosen) for each in around]).numpy()
        return off[0], ((off[1:8] - off[8:]) / (2 * step)).T

    def measured(self, camera: FloatArray, known: float | None) -> HandEye:
        off, slope = self._linear(camera, torch.arange(len(self.matches)))
        inliers = np.abs(off) < 1.0
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec(camera[:3]).as_matrix()
        pose[:3, 3] = camera[3:6]
        error = self._standard_errors(off, slope, inliers, known)
        return HandEye(
            camera_to_flange=pose,
            focal=float(np.exp(camera[6]) * self.width),
            share=float(inliers.mean()),
            median_pixels=float(np.median(np.abs(off[inliers]))) * self.unit if inliers.any() else float("inf"),
            unit=self.unit,
            position_error=float(np.linalg.norm(error[3:6])),
            rotation_error=float(np.linalg.norm(error[:3])),
            matches=self.matches,
            inliers=inliers,
        )

    def _standard_errors(
        self, off: FloatArray, slope: FloatArray, inliers: NDArray[np.bool_], known: float | None
    ) -> FloatArray:
        free = slice(0, 7 if known is None else 6)
        frames = np.stack([self.matches.first, self.matches.second], axis=1)[inliers]
        error = clustered_errors(slope[inliers][:, None, free], off[inliers][:, None], frames)
        return np.pad(error, (0, 7 - len(error)))


def _search(
    problem: _Problem, rng: np.random.Generator, known: float | None, progress: Progress | None
) -> list[FloatArray]:
    """The best camera of each of the last families (cross-entropy method, successive halving)."""
    chosen = problem.draw(rng, SEARCH_MATCHES)
    cameras = _random_cameras(rng, FIRST_DRAW, known)
    few = chosen[: STAGES[0][3]]
    families = _apart(cameras, problem.score(cameras, few, TOLERANCES[0]), STAGES[0][0])
    wide = np.array([0.25, 0.25, 0.25, 0.07, 0.07, 0.07, 0.25 if known is None else 0.0])
    spreads = [wide] * len(families)
    rounds, done = sum(stage[1] for stage in STAGES), 0
    for count, more, draws, judges in STAGES:
        scores = problem.score(np.stack(families), chosen, _tolerance(done / rounds))
        kept = np.argsort(scores)[::-1][:count]
        families, spreads = [families[index] for index in kept], [spreads[index] for index in kept]
        for step in range(done, done + more):
            if progress is not None:
                progress(step, rounds, "searching")
            tolerance = _tolerance(step / (rounds - 1))
            for index, (middle, spread) in enumerate(zip(families, spreads, strict=True)):
                drawn = _near(rng, middle, spread, draws)
                order = np.argsort(problem.score(drawn, chosen[:judges], tolerance))[::-1]
                best = drawn[order[: max(LEAST_KEPT, draws // KEPT_SHARE)]]
                families[index], spreads[index] = best.mean(0), np.maximum(best.std(0), 0.4 * spread)
        done += more
    return families


def _tolerance(share: float) -> float:
    """Pixels at 160 columns when `share` of the search is done."""
    return float(TOLERANCES[0] * (TOLERANCES[1] / TOLERANCES[0]) ** share)


def _apart(cameras: FloatArray, scores: FloatArray, count: int) -> list[FloatArray]:
    """The best cameras of which no two look alike, at most `count`."""
    found: list[FloatArray] = []
    for index in np.argsort(scores)[::-1]:
        if all(_angle(cameras[index], other) > APART for other in found):
            found.append(cameras[index])
        if len(found) == count:
            break
    return found


def _random_cameras(rng: np.random.Generator, count: int, known: float | None) -> FloatArray:
    tilt = np.arccos(rng.uniform(np.cos(WIDEST_TILT), 1, count))
    toward, roll = rng.uniform(-np.pi, np.pi, (2, count))
    turn = Rotation.from_rotvec(np.stack([tilt * np.cos(toward), tilt * np.sin(toward), np.zeros(count)], axis=1))
    position = rng.uniform(-0.12, 0.12, (count, 3))
    focal = np.log(rng.uniform(*FOCALS, count)) if known is None else np.full(count, known)
    return np.concatenate(
        [(turn * Rotation.from_euler("z", roll[:, None])).as_rotvec(), position, focal[:, None]], axis=1
    )


def _near(rng: np.random.Generator, middle: FloatArray, spread: FloatArray, count: int) -> FloatArray:
    drawn = middle + spread * rng.standard_normal((count, 7))
    drawn[0] = middle
    drawn[:, 3:6] = drawn[:, 3:6].clip(-LONGEST_ARM, LONGEST_ARM)
    drawn[:, 6] = drawn[:, 6].clip(*np.log(FOCALS))
    return drawn


def _angle(a: FloatArray, b: FloatArray) -> float:
    return float((Rotation.from_rotvec(a[:3]).inv() * Rotation.from_rotvec(b[:3])).magnitude())


def _rotation(vector: Tensor) -> Tensor:
    """`(C, 3)` rotation vectors to `(C, 3, 3)`."""
    zero = torch.zeros_like(vector[:, 0])
    x, y, z = vector.unbind(1)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)
    return torch.matrix_exp(cross)
