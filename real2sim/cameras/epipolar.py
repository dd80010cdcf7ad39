"""How far matched features are from the epipolar lines that a camera on the moving flange would give them.

The distance is Sampson's (Hartley and Zisserman 2004, section 11.4.3), in pixels at 160 columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray
from real2sim.cameras.matching import Matches
from real2sim.compiled import compiled

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
AT_ONCE = 64
"""Cameras whose distances are held at a time."""
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
        self.everything = np.arange(len(matches))
        self.motion = self.motions(flange_to_base, self.everything)
        rays = (matches.pixels - [width / 2, height / 2]) / [width, width * aspect]
        self.rays = rays.reshape(-1, 4).T

    def motions(self, flange_to_base: FloatArray, chosen: NDArray[np.int64]) -> FloatArray:
        """`(12, N)`: from the first flange to the second of the `chosen` matches, the matrix's upper rows in order."""
        first, second = self.matches.first[chosen], self.matches.second[chosen]
        motion = np.linalg.inv(flange_to_base)[second] @ flange_to_base[first]
        return motion[:, :3].reshape(-1, 12).T

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """At most `count` matches, alike from all pairs."""
        order = rng.permutation(len(self.matches))
        pair = self.matches.first[order] * 1_000_003 + self.matches.second[order]
        by_pair = order[np.argsort(pair, kind="stable")]
        _, begin, size = np.unique(np.sort(pair), return_index=True, return_counts=True)
        rank = np.arange(len(by_pair)) - np.repeat(begin, size)
        chosen = by_pair[rank < PER_PAIR]
        return rng.permutation(chosen)[:count]

    def distances(self, cameras: FloatArray, chosen: NDArray[np.int64], motion: FloatArray | None = None) -> FloatArray:
        """`(C, N)` Sampson distances in pixels at 160 columns, signed, of `cameras` `(C, 7)`.

        `motion` is what `motions` says of the `chosen` matches, where the flange's is not the recorded one.
        """
        turns = Rotation.from_rotvec(cameras[:, :3]).as_matrix()
        motion = self.motion[:, chosen] if motion is None else motion
        off = np.empty((len(cameras), len(chosen)))
        _sampson(
            turns, np.ascontiguousarray(cameras[:, 3:6]), np.exp(cameras[:, LENS]), np.ascontiguousarray(motion),
            np.ascontiguousarray(self.rays[:, chosen]), off,
        )  # fmt: skip
        return off

    def score(self, cameras: FloatArray, chosen: NDArray[np.int64], tolerance: float) -> FloatArray:
        """`(C,)`: the mean over matches of a bell of the distance."""
        parts = np.array_split(cameras, math.ceil(len(cameras) / AT_ONCE))
        return np.concatenate(
            [np.exp(-((self.distances(part, chosen) / tolerance) ** 2)).mean(axis=1) for part in parts]
        )

    def refined(self, start: FloatArray, known: float | None, count: int = REFINE_MATCHES) -> FloatArray:
        """The camera of least distances of `count` matches near `start`; its lens is kept where it is `known`."""
        chosen = self.draw(np.random.default_rng(0), count)
        return robust_fit(lambda camera: self.linear(camera, chosen), start, [] if known is None else [LENS])

    def linear(self, camera: FloatArray, chosen: NDArray[np.int64], motion: FloatArray | None = None) -> Linear:
        """Distances `(N,)` of one camera and their derivatives `(N, 7)`."""
        return differences(lambda cameras: self.distances(cameras, chosen, motion), camera)


@compiled
def _sampson(
    turns: FloatArray, positions: FloatArray, scales: FloatArray, motion: FloatArray, rays: FloatArray, off: FloatArray
) -> None:
    """Writes `off` `(C, N)`. Cameras are `turns` `(C, 3, 3)` and `positions` `(C, 3)` on the flange and `scales`
    `(C,)`, focal lengths in widths; a match is a column of `motion` `(12, N)` and of `rays` `(4, N)`.

    Vectors `a` and `k` are in the first flange's frame, all others in the second's; slopes are along a camera's axes.
    """
    for c in range(off.shape[0]):
        x, p, scale = turns[c], positions[c], scales[c]
        for n in range(off.shape[1]):
            g = motion[:, n]
            au, av, bu, bv = rays[0, n] / scale, rays[1, n] / scale, rays[2, n] / scale, rays[3, n] / scale
            a0, a1, a2 = (x[0, 0] * au + x[0, 1] * av + x[0, 2], x[1, 0] * au + x[1, 1] * av + x[1, 2],
                          x[2, 0] * au + x[2, 1] * av + x[2, 2])  # fmt: skip
            b0, b1, b2 = (x[0, 0] * bu + x[0, 1] * bv + x[0, 2], x[1, 0] * bu + x[1, 1] * bv + x[1, 2],
                          x[2, 0] * bu + x[2, 1] * bv + x[2, 2])  # fmt: skip
            r0, r1, r2 = (g[0] * a0 + g[1] * a1 + g[2] * a2, g[4] * a0 + g[5] * a1 + g[6] * a2,
                          g[8] * a0 + g[9] * a1 + g[10] * a2)  # fmt: skip
            t0 = g[0] * p[0] + g[1] * p[1] + g[2] * p[2] + g[3] - p[0]
            t1 = g[4] * p[0] + g[5] * p[1] + g[6] * p[2] + g[7] - p[1]
            t2 = g[8] * p[0] + g[9] * p[1] + g[10] * p[2] + g[11] - p[2]
            # The epipolar lines: in the second picture E a, in the first E' b.
            l0, l1, l2 = t1 * r2 - t2 * r1, t2 * r0 - t0 * r2, t0 * r1 - t1 * r0
            m0, m1, m2 = b1 * t2 - b2 * t1, b2 * t0 - b0 * t2, b0 * t1 - b1 * t0
            k0, k1, k2 = (g[0] * m0 + g[4] * m1 + g[8] * m2, g[1] * m0 + g[5] * m1 + g[9] * m2,
                          g[2] * m0 + g[6] * m1 + g[10] * m2)  # fmt: skip
            slope = (
                (x[0, 0] * l0 + x[1, 0] * l1 + x[2, 0] * l2) ** 2 + (x[0, 1] * l0 + x[1, 1] * l1 + x[2, 1] * l2) ** 2
                + (x[0, 0] * k0 + x[1, 0] * k1 + x[2, 0] * k2) ** 2 + (x[0, 1] * k0 + x[1, 1] * k1 + x[2, 1] * k2) ** 2
            )  # fmt: skip
            off[c, n] = (l0 * b0 + l1 * b1 + l2 * b2) / math.sqrt(max(slope, 1e-18)) * scale * 160


def differences(function: Callable[[FloatArray], FloatArray], at: FloatArray) -> Linear:
    """`(N,)` and `(N, P)`: a function of `(P,)` numbers and its derivatives, by central differences. It is asked for
    many at once: `(K, P)` to `(K, N)`."""
    steps = DIFFERENCE * np.eye(len(at))
    here, ahead, behind = np.split(function(np.concatenate([at[None], at + steps, at - steps])), [1, 1 + len(at)])
    return here[0], (ahead - behind).T / (2 * DIFFERENCE)


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
