"""Who beat whom how often: what a ranking sums up, before any model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray, InvalidInput
from arena.ranking.ballots import TIE, Ballots


@dataclass(frozen=True)
class WinMatrix:
    """`wins` `(K, K)`: how often the row's policy beat the column's; `ties` `(K, K)` is symmetric. Votes as cast."""

    policies: tuple[str, ...]
    wins: NDArray[np.int64]
    ties: NDArray[np.int64]

    @property
    def met(self) -> NDArray[np.int64]:
        """`(K, K)`: comparisons of the two."""
        return np.asarray(self.wins + self.wins.T + self.ties)

    @property
    def share(self) -> FloatArray:
        """`(K, K)` in [0, 1]: what the row took of their comparisons, ties as half; NaN where the two never met."""
        met = self.met
        return np.where(met > 0, (self.wins + self.ties / 2) / np.maximum(met, 1), np.nan)


def win_matrix(ballots: Ballots, order: Sequence[str]) -> WinMatrix:
    """The counts of `ballots` with policies in `order`. Raises `InvalidInput` where `order` is not theirs."""
    if sorted(order) != sorted(ballots.policies):
        raise InvalidInput("a win matrix needs each policy of its votes once")
    at = np.array([list(order).index(name) for name in ballots.policies], dtype=np.int64)
    size = len(order)
    left, right = at[ballots.left], at[ballots.right]
    tied = ballots.choice >= TIE
    won = np.where(ballots.choice == 0, left * size + right, right * size + left)
    wins = np.bincount(won[~tied], minlength=size * size).reshape(size, size)
    ties = np.bincount((left * size + right)[tied], minlength=size * size).reshape(size, size)
    return WinMatrix(tuple(order), wins, ties + ties.T)
