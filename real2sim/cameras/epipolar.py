"""How far matched features are from the epipolar lines that a camera on the moving flange would give them.

The distance is Sampson's (Hartley and Zisserman 2004, section 11.4.3), in pixels at 160 columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena.contracts import FloatArray
from real2sim.cameras.matching import Matches

Linear = tuple[FloatArray, FloatArray]
"""Values `(N,)` and their derivatives `(N, P)`."""
NUMBERS, LENS = 7, 6
"""Of a camera, and the focal length's place among them."""
PER_PAIR, REFINE_MATCHES = 12, 10_000
NARROWING = (3.0, 1.5, 1.0, *(0.5,) * 8)
FINAL_TOLERANCE = 0.2
"""Pixels at 160 columns, of the least squares: what is off by more has little say."""
MOST_ROUNDS = 40
LONGEST_STEP, SETTLED, DAMPING = 0.2, 1e-6, 1e-6
DIFFERENCE = 1e-5
"""Of the numbers that derivatives are taken by."""
INLIER = 1.0
"""Pixels at 160 columns."""


def explained(off: FloatArray) -> float:
    """How much of the matches, whose distances in pixels at 160 columns are `off`, is explained, and not by chance.

    Of matches that are wrong by chance within a pixel, half are within half a pixel; so `1 - 2 * median` is how much of
    the share within a pixel is not chance.
    """
    near = np.abs(off) < INLIER
    if not near.any():
        return 0.0
    return float(near.mean() * max(0.0, 1 - 2 * float(np.median(np.abs(off[near])))))


class EpipolarProblem:
    """A camera is seven numbers: rotation vector to the flange's frame, position in m, log focal length in widths."""

    def __init__(
        self, matches: Matches, flange_to_base: FloatArray, width: int, height: int, aspect: float = 1.0
    ) -> None:
        self.matches, self.width = matches, width
        first, second = flange_to_base[matches.first], flange_to_base[matches.second]
        self.motion = torch.from_numpy(np.linalg.inv(second) @ first).float()
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

    def distances(self, cameras: Tensor, chosen: Tensor, motion: Tensor | None = None) -> Tensor:
        """`(C, N)` Sampson distances in pixels at 160 columns, signed, of `cameras` `(C, 7)`, in their precision.

        `motion` `(N, 4, 4)` is the flange's from the first frame to the second of the `chosen` matches, where it is not
        the recorded one.
        """
        rotation, position = _rotation(cameras[:, :3]), cameras[:, 3:6]
        scale = cameras[:, LENS].exp()
        motion = (self.motion[chosen] if motion is None else motion).to(cameras)
        rays = self.rays[chosen].to(cameras)
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

    def refined(self, start: FloatArray, known: float | None, count: int = REFINE_MATCHES) -> FloatArray:
        """The camera of least distances of `count` matches near `start`; its lens is kept where it is `known`."""
        chosen = torch.from_numpy(self.draw(np.random.default_rng(0), count))
        return robust_fit(lambda camera: self.linear(camera, chosen), start, [] if known is None else [LENS])

    def linear(self, camera: FloatArray, chosen: Tensor) -> Linear:
        """Distances `(N,)` of one camera and their derivatives `(N, 7)`."""
        return differences(lambda numbers: self.off(numbers, chosen), camera)

    def off(self, camera: FloatArray, chosen: Tensor, motion: Tensor | None = None) -> FloatArray:
        """`(N,)`: `distances` of one camera, in double precision."""
        with torch.no_grad():
            return np.asarray(self.distances(torch.from_numpy(camera[None]), chosen, motion)[0])


def differences(function: Callable[[FloatArray], FloatArray], at: FloatArray) -> Linear:
    """`(N,)` and `(N, P)`: a function of `(P,)` numbers and its derivatives, by central differences."""
    slope = [(function(at + step) - function(at - step)) / (2 * DIFFERENCE) for step in DIFFERENCE * np.eye(len(at))]
    return function(at), np.stack(slope, axis=1)


def robust_fit(linear: Callable[[FloatArray], Linear], start: FloatArray, fixed: Sequence[int] = ()) -> FloatArray:
    """The numbers `(P,)` near `start` of least distances: Gauss-Newton with Cauchy weights, ever narrower.

    `linear` gives distances `(N,)` in pixels at 160 columns and their derivatives `(N, P)`; `fixed` numbers are kept.
    """
    numbers = start.copy()
    for tolerance in (*NARROWING, *(FINAL_TOLERANCE,) * MOST_ROUNDS):
        off, slope = linear(numbers)
        slope[:, fixed] = 0.0
        weight = np.where(np.abs(off) < 6 * tolerance, 1 / (1 + (off / tolerance) ** 2) ** 2, 0.0)
        damping = DAMPING * np.eye(len(numbers)) * max(weight.sum(), 1.0)
        step = -np.linalg.solve(slope.T @ (weight[:, None] * slope) + damping, slope.T @ (weight * off))
        numbers = numbers + np.clip(step, -LONGEST_STEP, LONGEST_STEP)
        if tolerance == FINAL_TOLERANCE and np.abs(step).max() < SETTLED:
            break
    return numbers


def _rotation(vector: Tensor) -> Tensor:
    """`(C, 3)` rotation vectors to `(C, 3, 3)`."""
    zero = torch.zeros_like(vector[:, 0])
    x, y, z = vector.unbind(1)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)
    return torch.matrix_exp(cross)
