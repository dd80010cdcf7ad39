"""What a judge is familiar with: pictures, and what its network makes of them, near those that it learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from arena.contracts import FloatArray
from arena.judges.latents import LatentSpace, novelty

COARSE = (8, 12)
"""Of a picture only so many places are looked at here: where things are, not what they are exactly."""
MAX_SEEN = 2000
QUANTILE, SLACK = 0.99, 1.25
"""A limit is so much more than what nearly every calibration film stays below."""


@dataclass(frozen=True)
class Familiar:
    """A space of vectors, those that were `seen` `(M, K)` in it, and from which distance to them on one is strange."""

    space: LatentSpace
    seen: FloatArray
    limit: float = float("inf")

    @classmethod
    def of(cls, films: Sequence[FloatArray], seed: int) -> Familiar:
        """From a `(T_i, D)` for each training film. Kept in the precision in which it is stored."""
        space = LatentSpace.fit(films, seed)
        space = LatentSpace(_rounded(space.mean), _rounded(space.basis), _rounded(space.scale))
        rows = np.concatenate([space.project(film)[0] for film in films])
        if len(rows) > MAX_SEEN:
            rows = rows[np.sort(np.random.default_rng(seed).choice(len(rows), MAX_SEEN, replace=False))]
        return cls(space, _rounded(rows))

    def strangeness(self, film: FloatArray) -> float:
        """`(T, D)` to how far the strangest frame is from what was seen, in multiples of the limit.

        Not the mean: pictures may fall apart late, and frames that are repeated must change nothing.
        """
        coordinates, rest = self.space.project(film)
        frames = [novelty(coordinates[t : t + 1], rest[t : t + 1], self.seen) for t in range(len(film))]
        return max(frames) / self.limit

    def limited(self, films: Sequence[FloatArray]) -> Familiar:
        """With the limit that films from where it will be used call for."""
        return replace(self, limit=limit_of([replace(self, limit=1.0).strangeness(film) for film in films]))


def limit_of(values: Sequence[float]) -> float:
    """What is more than `values`, all of which are taken to be ordinary."""
    return SLACK * float(np.quantile(values, QUANTILE))


def looks(frames: Tensor) -> FloatArray:
    """`(T, V, 3, H, W)` in [0, 1] to `(T, V * 3 * 8 * 12)`: the coarse pictures."""
    return np.asarray(F.adaptive_avg_pool2d(frames.flatten(0, 1), COARSE).reshape(len(frames), -1).numpy())


def _rounded(array: FloatArray) -> FloatArray:
    return array.astype(np.float16).astype(np.float32)
