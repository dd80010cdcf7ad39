"""Votes whose truth is known: Davidson's model, voters who differ, and voters who press any key."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arena.ranking.ballots import Ballots, Cells, Column
from arena.ranking.davidson import Expected, design_of, estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Crowd:
    """Who votes on what. `random` is the share of voters who press left, right and tie alike.

    `spread` is the standard deviation (logits) of a voter's own opinion of each policy around the truth.
    """

    strengths: tuple[float, ...]
    voters: int = 60
    each: int = 25
    bias: float = 0.3
    tie: float = 0.0
    random: float = 0.0
    spread: float = 0.0

    @property
    def size(self) -> int:
        return len(self.strengths)

    def votes(self, seed: int, voters: int | None = None) -> Ballots:
        """Each voter's votes come one after another, on pairs at random."""
        rng = np.random.default_rng(seed)
        voters = voters or self.voters
        count = voters * self.each
        voter = np.repeat(np.arange(voters), self.each)
        left = rng.integers(self.size, size=count)
        right = (left + rng.integers(1, self.size, size=count)) % self.size
        own = np.array(self.strengths) + self.spread * rng.standard_normal((voters, self.size))
        chance = outcome_chances(own[voter, left] - own[voter, right] + self.bias, self.tie)
        pressing = rng.random(voters) < self.random
        chance[pressing[voter]] = 1 / 3
        choice = (rng.random(count)[:, None] > chance.cumsum(1)[:, :2]).sum(1).astype(np.int8)
        names = tuple(f"p{i}" for i in range(self.size))
        return Ballots(names, left, right, choice, Column(tuple(f"v{i:05d}" for i in range(voters)), voter))

    def target(self, seed: int = 0, drawn: int = 4000) -> Floats:
        """`(K,)`: what endless votes of this crowd would be fitted with, and so what an interval is of.

        Where all voters follow the model, the truth. Otherwise the strengths that the model gives to the crowd's mean
        probabilities (White 1982): random voters pull all together.
        """
        left, right = np.array(list(itertools.permutations(range(self.size), 2))).T
        rng = np.random.default_rng(seed)
        noise = self.spread * rng.standard_normal((drawn if self.spread else 1, self.size))
        own = np.array(self.strengths) + noise
        chance = outcome_chances((own[:, left] - own[:, right] + self.bias).ravel(), self.tie)
        mean = chance.reshape(len(own), len(left), 3).mean(0)
        mean = (1 - self.random) * mean + self.random / 3
        level = np.zeros_like(left)
        cells = Cells(left, right, level, 1e8 * mean, level[:0], level[:0])
        ones = np.ones((1, 1))
        strength = estimate(design_of(cells, self.size, ones, ones), cells.counts).parameters[: self.size]
        return np.asarray(strength - strength.mean())


def outcome_chances(d: Floats, tie: float) -> Floats:
    """`(N, 3)`: of left, right, tie."""
    expected = Expected.at(d, np.full_like(d, tie), ties=True)
    decided = 1 - expected.tied
    return np.stack([decided / 2 + expected.lead, decided / 2 - expected.lead, expected.tied], axis=1)
