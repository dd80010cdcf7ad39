"""A ranking kept while votes come in: one more vote costs a few Newton steps on pooled counts, whatever the number
of votes.

What is kept: counts of each cell, and each voter's gradient and leverage at a reference fit, whose sums make the
sandwich. A vote changes one row of these. The estimate and the bread are always those of all votes; gradients are
taken at the reference, which is made anew once the estimate has moved `DRIFT` away from it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from arena.contracts import Choice, InvalidInput, Vote
from arena.ranking.ballots import CHOICES, TIE, Ballots, Cells, Codes, Column
from arena.ranking.davidson import Design, Estimate, estimate, estimate_at, estimate_near, expected_at
from arena.ranking.fit import Data, Fit, groups_of, prepare, summed_up
from arena.ranking.ranks import Level, Places, one_look_of, places
from arena.ranking.sandwich import Sums, assemble, cluster_chunks, own_leverage, residuals

DRIFT = 0.01
"""Logits. A gradient moves by less than 1% of what a vote says when the estimate moves this far."""
ROOM = 1.25
"""How much longer an array is made than it has to be."""


class LiveRanking:
    """A fit that takes one vote after another. Errors are clustered by voter; there are no covariates.

    `fit` is that of all votes so far, at once. A new policy, the first tie and the first swapped sides change the
    model: then everything is fitted anew.
    """

    def __init__(self, ballots: Ballots, *, left_bias: bool = True) -> None:
        self._left_bias = left_bias
        self._start(ballots)

    @property
    def fit(self) -> Fit:
        return self._fit

    def places(self) -> Places:
        """Intervals and what is told apart. How far pairs reach was simulated at the last reference."""
        return places(self._fit, self._level)

    def add(self, vote: Vote) -> Fit:
        """The fit with one more vote. Raises `InvalidInput` for a policy that meets itself."""
        if vote.left == vote.right:
            raise InvalidInput(f"{vote.left} was compared with itself in scene {vote.scene_id!r} by {vote.voter}")
        if self._changes_the_model(vote):
            self._start(_with(self._ballots(), vote))
            return self._fit
        voter = self._voter(vote.voter)
        cell = self._cell(self._policy[vote.left], self._policy[vote.right])
        choice = CHOICES.index(vote.choice)
        outcome = min(choice, TIE)
        self._rows.append(self._left_of(cell), self._right_of(cell), choice, voter, cell, outcome)
        self._counts[cell, outcome] += 1
        self._count_voter(cell, outcome, voter)
        self._refit()
        return self._fit

    def _start(self, ballots: Ballots) -> None:
        if ballots.weight is not None:
            raise InvalidInput("a live ranking counts every vote for 1: weigh the votes and fit them again instead")
        data = prepare(ballots, left_bias=self._left_bias, cluster_by="voter")
        self._policy = {name: i for i, name in enumerate(ballots.policies)}
        self._voters = list(ballots.voter.values)
        self._voter_at = {name: i for i, name in enumerate(self._voters)}
        # Voters are clusters under their own codes, so that a voter keeps a row.
        data = replace(data, cluster=ballots.voter.codes)
        cells, size = data.cells, data.design.size
        self._cell_at = {int(key): i for i, key in enumerate(cells.left * size + cells.right)}
        self._counts = cells.counts.copy()
        self._rows = _Rows.of(data)
        self._data = data
        self._refer(estimate(data.design, self._counts))

    def _refer(self, found: Estimate) -> None:
        """Take all gradients at a fit."""
        data = self._current()
        self._reference = found
        self._own = own_leverage(data.design, found)
        chunks = list(cluster_chunks(data.design, data.cells, found, data.cluster))
        width = data.design.parameters
        room = int(ROOM * len(self._voters)) + 16
        self._gradient, self._leverage = np.zeros((room, width)), np.zeros((room, width))
        for chunk in chunks:
            rows = slice(chunk.first, chunk.first + len(chunk.gradient))
            self._gradient[rows], self._leverage[rows] = chunk.gradient, chunk.leverage
        used = len(self._voters)
        self._sums = Sums.empty(width)
        self._sums.add(self._gradient[:used], self._leverage[:used])
        self._sum_up(found)
        self._level: Level = one_look_of(self._fit)

    def _count_voter(self, cell: int, outcome: int, voter: int) -> None:
        """Put one vote into its voter's row, at the reference."""
        design, reference = self._design(), self._reference
        if cell >= len(reference.expected.lead):
            # A pair that had not met at the reference.
            reference = replace(reference, expected=expected_at(design, reference.parameters))
            self._reference, self._own = reference, own_leverage(design, reference)
        row = slice(voter, voter + 1)
        self._sums.add(self._gradient[row], self._leverage[row], -1.0)
        lead, tied = residuals(reference, np.array([cell]), np.array([outcome]))
        on_d, on_h = np.zeros(len(design.left)), np.zeros(len(design.left))
        on_d[cell], on_h[cell] = lead[0], tied[0]
        self._gradient[voter] += design.gather(on_d, on_h)
        self._leverage[voter, design.left[cell]] += self._own[0][cell]
        self._leverage[voter, design.right[cell]] += self._own[1][cell]
        self._leverage[voter, design.size :] += 1.0 / self._rows.count
        self._sums.add(self._gradient[row], self._leverage[row])

    def _refit(self) -> None:
        parameters = estimate_near(self._design(), self._counts, self._fit.found)
        found = estimate_at(self._design(), self._counts, parameters)
        if np.abs(found.parameters - self._reference.parameters).max() > DRIFT:
            self._refer(found)
        else:
            self._sum_up(found)

    def _sum_up(self, found: Estimate) -> None:
        data = self._current()
        self._fit = summed_up(data, found, assemble(data.design, found, self._sums))

    def _changes_the_model(self, vote: Vote) -> bool:
        known = vote.left in self._policy and vote.right in self._policy
        first_tie = vote.choice in (Choice.TIE, Choice.BOTH_BAD) and not self._design().tie.shape[1]
        return not known or first_tie or (self._left_bias and not self._design().side.shape[1])

    def _voter(self, name: str) -> int:
        """The voter's row, made where there is none."""
        if name not in self._voter_at:
            self._voter_at[name] = len(self._voters)
            self._voters.append(name)
            if len(self._voters) > len(self._gradient):
                more = np.zeros((len(self._gradient), self._gradient.shape[1]))
                self._gradient = np.concatenate([self._gradient, more])
                self._leverage = np.concatenate([self._leverage, more])
            self._sums.add(np.zeros((1, self._gradient.shape[1])), np.zeros((1, self._gradient.shape[1])))
        return self._voter_at[name]

    def _cell(self, left: int, right: int) -> int:
        """The pair's cell, made where there is none."""
        key = left * self._design().size + right
        if key not in self._cell_at:
            self._cell_at[key] = len(self._counts)
            self._counts = np.concatenate([self._counts, np.zeros((1, 3))])
            old = self._data.design
            lefts, rights, levels = np.append(old.left, left), np.append(old.right, right), np.append(old.level, 0)
            design = Design(old.size, lefts, rights, levels, old.side, old.tie)
            groups = groups_of(design.left, design.right, design.size)
            self._data = replace(self._data, design=design, groups=groups)
        return self._cell_at[key]

    def _design(self) -> Design:
        return self._data.design

    def _left_of(self, cell: int) -> int:
        return int(self._design().left[cell])

    def _right_of(self, cell: int) -> int:
        return int(self._design().right[cell])

    def _current(self) -> Data:
        """All votes so far, as views."""
        design, rows = self._design(), self._rows.view()
        cells = Cells(design.left, design.right, design.level, self._counts, rows[4], rows[5])
        return replace(self._data, ballots=self._ballots(), cells=cells, cluster=rows[3])

    def _ballots(self) -> Ballots:
        left, right, choice, voter, *_ = self._rows.view()
        names = self._data.ballots.policies
        return Ballots(names, left, right, choice.astype(np.int8), Column(tuple(self._voters), voter))


class _Rows:
    """Left, right, choice, voter, cell and outcome of each vote, in an array `(6, M)` with room to grow."""

    def __init__(self, values: NDArray[np.int64]) -> None:
        self._values = values
        self.count = values.shape[1]

    @classmethod
    def of(cls, data: Data) -> _Rows:
        ballots, cells = data.ballots, data.cells
        rows = (ballots.left, ballots.right, ballots.choice, ballots.voter.codes, cells.of_vote, cells.outcome)
        return cls(np.stack([np.asarray(row, dtype=np.int64) for row in rows]))

    def append(self, *row: int) -> None:
        if self.count == self._values.shape[1]:
            more = np.zeros((6, int(self.count * (ROOM - 1)) + 64), dtype=np.int64)
            self._values = np.concatenate([self._values, more], axis=1)
        self._values[:, self.count] = row
        self.count += 1

    def view(self) -> tuple[Codes, ...]:
        return tuple(self._values[:, : self.count])


def _with(ballots: Ballots, vote: Vote) -> Ballots:
    """The votes with one more, on policies and by a voter that may be new."""
    policies = tuple(sorted({*ballots.policies, vote.left, vote.right}))
    place = np.array([policies.index(name) for name in ballots.policies], dtype=np.int64)
    voters = tuple(dict.fromkeys([*ballots.voter.values, vote.voter]))
    return Ballots(
        policies,
        np.append(place[ballots.left], policies.index(vote.left)),
        np.append(place[ballots.right], policies.index(vote.right)),
        np.append(ballots.choice, CHOICES.index(vote.choice)).astype(np.int8),
        Column(voters, np.append(ballots.voter.codes, voters.index(vote.voter))),
    )
