"""Where a trial is in a world model's latent space, measured against demonstrations.

After SRPO (arXiv 2511.15605), which scores a failed attempt by the L2 distance of its trajectory's embedding to
those of successful ones. Here the comparison is by frame, so that it also says how far along the demonstrations an
attempt came: the position of the demonstration frames nearest to its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arena.contracts import FloatArray

COMPONENTS = 32
MAX_FRAMES = 1000
"""From which the principal components are found: a Gram matrix of this size takes a second."""
WHITENING = 0.5
"""Power of the standard deviation that coordinates are divided by: 1 is full whitening, which raises noise to the rank
of signal; 0 leaves the robot's arm, which moves most pixels, to outweigh the object."""
NEIGHBOURS = 5
SMOOTHING = 3
"""Frames: one blurred frame must not decide."""
END_SHARE = 4
"""The last quarter of a trial is its end."""

FEATURES = ("peak progress", "end progress", "end distance", "best distance", "last frames' distance", "path distance")


@dataclass(frozen=True)
class LatentSpace:
    """Partly whitened principal components: `mean` `(D,)`, orthonormal `basis` `(D, K)`, `scale` `(K,)`."""

    mean: FloatArray
    basis: FloatArray
    scale: FloatArray

    @classmethod
    def fit(cls, embeddings: Sequence[FloatArray], seed: int) -> LatentSpace:
        """From `(T_i, D)` embeddings of trials, by the eigenvectors of their Gram matrix."""
        frames = np.concatenate(embeddings).astype(np.float64)
        if len(frames) > MAX_FRAMES:
            frames = frames[np.random.default_rng(seed).choice(len(frames), MAX_FRAMES, replace=False)]
        mean = frames.mean(axis=0)
        centred = frames - mean
        values, vectors = np.linalg.eigh(centred @ centred.T / len(frames))
        kept = np.flatnonzero(values > 1e-9 * values[-1])[-COMPONENTS:][::-1]
        basis = centred.T @ vectors[:, kept] / np.sqrt(values[kept] * len(frames))
        return cls(*(a.astype(np.float32) for a in (mean, basis, values[kept] ** (-WHITENING / 2))))

    def project(self, embedding: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`(T, D)` to coordinates `(T, K)` and the length `(T,)` of what they leave out, on the last one's scale."""
        centred = embedding - self.mean
        coordinates = centred @ self.basis
        rest = (centred**2).sum(axis=1) - (coordinates**2).sum(axis=1)
        return coordinates * self.scale, np.sqrt(np.maximum(rest, 0)) * self.scale[-1]


@dataclass(frozen=True)
class Demonstrations:
    """Demonstrations of one task in a latent space.

    `frames` is `(M, K)`, all of them; `position` `(M,)` in [0, 1] says how far along its demonstration each
    is; `ends` is `(N, K)`, one for each demonstration; `spread` is the length that end distances are measured in.
    """

    frames: FloatArray
    position: FloatArray
    ends: FloatArray
    spread: float

    @classmethod
    def of(cls, trajectories: Sequence[FloatArray]) -> Demonstrations:
        """From `N` trajectories `(T_i, K)`."""
        ends = np.stack([_end(trajectory) for trajectory in trajectories])
        distance = _distances(ends, ends)
        np.fill_diagonal(distance, np.inf)
        # What a demonstration still moves near its end is the least that its end can be told apart by.
        tails = [np.linalg.norm(_end(each) - each[int(0.9 * (len(each) - 1))]) for each in trajectories]
        apart = distance.min(axis=1) if len(ends) > 1 else np.zeros(1)
        return cls(
            np.concatenate(trajectories),
            np.concatenate([np.linspace(0, 1, len(each)) for each in trajectories]),
            ends,
            float(max(np.median(apart), np.median(tails), 1e-6)),
        )

    def progress(self, trajectory: FloatArray) -> FloatArray:
        """`(T, K)` to `(T,)` in [0, 1]: mean position of the nearest demonstration frames, smoothed over time."""
        neighbours = min(NEIGHBOURS, len(self.frames))
        nearest = np.argpartition(_distances(trajectory, self.frames), neighbours - 1, axis=1)[:, :neighbours]
        return _smoothed(self.position[nearest].mean(axis=1)[:, None])[:, 0]

    def features(self, trajectory: FloatArray) -> FloatArray:
        """`(T, K)` to `(6,)`: `FEATURES`, the distances as logarithms of multiples of `spread`."""
        progress, nearest = self.progress(trajectory), _distances(trajectory, self.frames).min(axis=1)
        to_ends = np.sort(_distances(_end(trajectory)[None], self.ends)[0])[:3].mean()
        best = _distances(_smoothed(trajectory), self.ends).min()
        lengths = np.array([to_ends, best, nearest[-SMOOTHING:].mean(), nearest.mean()])
        end = np.median(progress[-max(1, len(progress) // END_SHARE) :])
        return np.concatenate([[progress.max(), end], np.log(np.maximum(lengths / self.spread, 1e-3))])


def novelty(coordinates: FloatArray, rest: FloatArray, seen: FloatArray) -> float:
    """How far `(T, K)` coordinates are on average from all in `seen` `(M, K)`, counting the `rest` `(T,)`."""
    return float(np.hypot(_distances(coordinates, seen).min(axis=1), rest).mean())


def _end(trajectory: FloatArray) -> FloatArray:
    return np.asarray(trajectory[-SMOOTHING:].mean(axis=0))


def _smoothed(series: FloatArray) -> FloatArray:
    """`(T, K)`: mean of each row and the two before it."""
    return np.stack([series[max(0, t + 1 - SMOOTHING) : t + 1].mean(axis=0) for t in range(len(series))])


def _distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """`(A, K)` and `(B, K)` to `(A, B)` by one matrix product."""
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * (a @ b.T)
    return np.asarray(np.sqrt(np.maximum(squared, 0)))
