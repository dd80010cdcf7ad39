"""Votes as arrays: what every method of ranking works on, a million rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.contracts import Choice, FloatArray, InvalidInput, Vote

Codes = NDArray[np.int64]

CHOICES = (Choice.LEFT, Choice.RIGHT, Choice.TIE, Choice.BOTH_BAD)
"""A choice's code is its place here."""
LEFT, RIGHT, TIE, BOTH_BAD = range(len(CHOICES))
FEW_VOTERS = 10
"""With fewer voters than this the scenes are what was sampled, and errors are clustered by scene."""

MAX_LEVELS = 50
"""Values of a covariate: each has a left-side bias and a tie rate of its own."""


@dataclass(frozen=True)
class Column:
    """`M` values: row `i` has `values[codes[i]]`. `codes` is `(M,)`; values that no row has are allowed."""

    values: tuple[str, ...]
    codes: Codes

    @classmethod
    def of(cls, items: Sequence[str], values: Iterable[str] = ()) -> Column:
        """Coded with `values` and those of `items`, sorted, so that the order of rows changes nothing."""
        known = tuple(sorted({*values, *items}))
        place = {value: code for code, value in enumerate(known)}
        return cls(known, np.fromiter((place[item] for item in items), np.int64, len(items)))

    def taken(self, rows: NDArray[np.bool_]) -> Column:
        return Column(self.values, self.codes[rows])


@dataclass(frozen=True)
class Ballots:
    """`M` votes on `K` policies. `left`, `right` are `(M,)` places in `policies`, `choice` `(M,)` places in
    `CHOICES`.

    `covariates` are further columns by name. `scene` is None where nobody said. `weight` `(M,)`, above 0 and at
    most 1, is what each vote counts for (`arena.votes.reliability`); None where all count for 1.
    """

    policies: tuple[str, ...]
    left: Codes
    right: Codes
    choice: NDArray[np.int8]
    voter: Column
    scene: Column | None = None
    covariates: Mapping[str, Column] = field(default_factory=dict)
    weight: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.choice)

    @classmethod
    def of(cls, votes: Sequence[Vote], policies: Iterable[str] = ()) -> Ballots:
        """`policies` are known beside those that were voted on. Raises `InvalidInput` for one that meets itself."""
        for vote in votes:
            if vote.left == vote.right:
                raise InvalidInput(f"{vote.left} was compared with itself in scene {vote.scene_id!r} by {vote.voter}")
        sides = Column.of(list(chain((v.left for v in votes), (v.right for v in votes))), policies)
        return cls(
            sides.values,
            sides.codes[: len(votes)],
            sides.codes[len(votes) :],
            np.fromiter((CHOICES.index(vote.choice) for vote in votes), np.int8, len(votes)),
            Column.of([vote.voter for vote in votes]),
            Column.of([vote.scene_id for vote in votes]),
        )

    def weighed(self, weights: Sequence[float] | FloatArray) -> Ballots:
        """The same votes counting for `weights` `(M,)`; those that count for nothing are left out, their policies not.

        Raises `InvalidInput` for weights of another number, or outside of 0 to 1: nobody counts for more than one.
        """
        weight = np.asarray(weights, dtype=float)
        if weight.shape != (len(self),) or not ((weight >= 0) & (weight <= 1)).all():
            raise InvalidInput(f"{len(self)} votes need as many weights from 0 to 1")
        return replace(self, weight=weight).taken(weight > 0)

    def clusters(self, by: str = "auto") -> tuple[str, Codes]:
        """What was sampled (`voter`, `scene` or `vote`) and each vote's cluster `(M,)`, numbered from 0 without gaps.

        `auto`: voters, unless they are few and fewer than the scenes. Raises `InvalidInput` for `scene` without
        scenes.
        """
        if by == "auto":
            by = self._sampled()
        if by == "vote":
            return by, np.arange(len(self))
        column = self.voter if by == "voter" else self.scene
        if column is None:
            raise InvalidInput("errors cannot be clustered by scene: the votes have no column scene")
        return by, numbered(column.codes)

    def _sampled(self) -> str:
        voters = len(np.unique(self.voter.codes))
        scenes = 0 if self.scene is None else len(np.unique(self.scene.codes))
        if voters >= FEW_VOTERS or voters > max(scenes, 1):
            return "voter"
        return "scene" if scenes > 1 else "vote"

    def levels(self, covariates: Sequence[str]) -> tuple[list[tuple[int, ...]], Codes]:
        """The distinct combinations of values of `covariates`, as codes, and which of them each vote has `(M,)`.

        Raises `InvalidInput` for a covariate that is no column or has too many values.
        """
        if not covariates:
            return [()], np.zeros(len(self), dtype=np.int64)
        columns = [self.column(name) for name in covariates]
        for name, column in zip(covariates, columns, strict=True):
            if len(column.values) > MAX_LEVELS:
                raise InvalidInput(
                    f"covariate {name} has {len(column.values)} values: at most {MAX_LEVELS} can be told apart"
                )
        sizes = tuple(max(len(column.values), 1) for column in columns)
        flat = np.ravel_multi_index([column.codes for column in columns], sizes)
        present, level = np.unique(flat, return_inverse=True)
        combinations = np.stack(np.unravel_index(present, sizes), axis=1)
        return [tuple(row) for row in combinations.tolist()], level.astype(np.int64)

    def column(self, name: str) -> Column:
        if name == "scene" and self.scene is not None:
            return self.scene
        if name not in self.covariates:
            known = [*self.covariates, *(["scene"] if self.scene is not None else [])]
            raise InvalidInput(f"no covariate {name!r}: there is {', '.join(sorted(known)) or 'none'}")
        return self.covariates[name]

    def taken(self, rows: NDArray[np.bool_]) -> Ballots:
        """The votes of a mask `(M,)`, on the same policies."""
        return Ballots(
            self.policies,
            self.left[rows],
            self.right[rows],
            self.choice[rows],
            self.voter.taken(rows),
            None if self.scene is None else self.scene.taken(rows),
            {name: column.taken(rows) for name, column in self.covariates.items()},
            None if self.weight is None else self.weight[rows],
        )


@dataclass(frozen=True)
class Cells:
    """Votes pooled: `N` distinct (left, right, level) with `counts` `(N, 3)` of left wins, right wins and ties.

    Votes in a cell have one likelihood, so nothing is lost. `of_vote` `(M,)` is each vote's cell and `outcome`
    `(M,)` its column of `counts`. Both-bad is a tie: neither policy was better. `weight` is the votes'.
    """

    left: Codes
    right: Codes
    level: Codes
    counts: NDArray[np.float64]
    of_vote: Codes
    outcome: Codes
    weight: FloatArray | None = None

    def summed(self, rows: NDArray[Any] | slice, weight: FloatArray | None = None) -> FloatArray:
        """`(N, 3)` counts of only the votes `rows` (indices or a mask), each times `weight` (one for each row)."""
        if self.weight is not None:
            weight = self.weight[rows] if weight is None else weight * self.weight[rows]
        key = self.of_vote[rows] * 3 + self.outcome[rows]
        return np.bincount(key, weight, minlength=3 * len(self.left)).reshape(-1, 3).astype(float)


def pool(ballots: Ballots, level: Codes, levels: int) -> Cells:
    """The cells of votes whose combination of covariates is `level` `(M,)`, one of `levels`."""
    size = max(len(ballots.policies), 1)
    key = (ballots.left * size + ballots.right) * levels + level
    present, of_vote = np.unique(key, return_inverse=True)
    outcome = np.minimum(ballots.choice, TIE).astype(np.int64)
    key = of_vote * 3 + outcome
    counts = np.bincount(key, ballots.weight, 3 * len(present)).reshape(-1, 3).astype(float)
    pair = present // levels
    return Cells(
        pair // size, pair % size, present % levels, counts, of_vote.astype(np.int64), outcome, ballots.weight
    )  # fmt: skip


def numbered(labels: Codes) -> Codes:
    """The same partition with labels from 0 without gaps."""
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)
