"""How few votes, and which single voter, would swap two neighbours in a ranking.

Every vote's effect on the gap between two policies is approximated by one Newton step (its influence), the most
influential ones are taken away (Broderick, Giordano and Meager 2020, arXiv 2011.14999) or the most effective vote is
added again and again; the number is then found by fitting anew, so that what is reported has been seen to swap them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from arena.contracts import FloatArray
from arena.ranking.ballots import CHOICES, Codes, numbered
from arena.ranking.davidson import estimate_near
from arena.ranking.fit import Fit
from arena.ranking.sandwich import Chunk, cluster_chunks

LEAST_SHARE = 0.25
"""A voter whose one-step effect is less than this share of a gap is not tried: a step is at most that far off, since
the voters' own weight in the fit is (see `MOST_LEVERAGE`)."""
VOTERS_TRIED = 3


@dataclass(frozen=True)
class Swap:
    """What would put `lower` above `upper`, its neighbour in the order. None: nothing of the kind was found.

    `removed` is how many votes to take away, `added` how many to add (each of them `by`: left, right, winner), both
    confirmed by a fit without or with them; `voter` is one whose `voter_votes` votes alone hold the order up.
    """

    upper: str
    lower: str
    gap: float
    removed: int | None
    added: int | None
    by: tuple[str, str, str] | None
    voter: str | None
    voter_votes: int

    @property
    def votes(self) -> int | None:
        """The fewest votes that swap them."""
        return min((number for number in (self.removed, self.added) if number is not None), default=None)


def swaps(fit: Fit) -> list[Swap]:
    """For each two neighbours in the order of a group, best first."""
    pairs = [pair for members in fit.data.groups for pair in _neighbours(fit, members)]
    if not pairs or not len(fit.data.ballots):
        return []
    voters = _voters(fit, pairs)
    return [_swap(fit, upper, lower, tried) for (upper, lower), tried in zip(pairs, voters, strict=True)]


def _neighbours(fit: Fit, members: tuple[int, ...]) -> list[tuple[int, int]]:
    order = sorted(members, key=lambda i: -fit.strength[i])
    return list(pairwise(order))


def _swap(fit: Fit, upper: int, lower: int, voters: list[int]) -> Swap:
    names = fit.data.ballots.policies
    swapped = _Refit(fit, upper, lower)
    added, by = _added(fit, swapped, upper, lower)
    voter = next((v for v in voters if swapped(swapped.without(v))), None)
    return Swap(
        names[upper],
        names[lower],
        gap=float(fit.strength[upper] - fit.strength[lower]),
        removed=_removed(fit, swapped, upper, lower),
        added=added,
        by=by,
        voter=None if voter is None else fit.data.ballots.voter.values[voter],
        voter_votes=0 if voter is None else int((fit.data.ballots.voter.codes == voter).sum()),
    )


@dataclass(frozen=True)
class _Refit:
    """Whether counts `(N, 3)` would put `lower` above `upper`."""

    fit: Fit
    upper: int
    lower: int

    def __call__(self, counts: FloatArray) -> bool:
        at = estimate_near(self.fit.data.design, counts, self.fit.found)
        return bool(at[self.lower] > at[self.upper])

    def without(self, voter: int) -> FloatArray:
        cells = self.fit.data.cells
        gone = cells.summed(self.fit.data.ballots.voter.codes == voter)
        # Sums of the same weights in another order may differ in their last digit.
        return np.maximum(cells.counts - gone, 0.0)


def _effects(fit: Fit, upper: int, lower: int) -> FloatArray:
    """`(N, 3)`: how much one more vote for left, for right or a tie adds to the gap, in each cell, to first order."""
    expected = fit.found.expected
    d, h = fit.data.design.linear(fit.found.bread[upper] - fit.found.bread[lower])
    lead = np.array([0.5, -0.5, 0.0]) - expected.lead[:, None]
    tied = np.array([0.0, 0.0, 1.0]) - expected.tied[:, None]
    effects = d[:, None] * lead + h[:, None] * tied
    # Without ties in the votes the model has none.
    return effects if fit.data.design.tie.shape[1] else np.asarray(effects * [1.0, 1.0, 0.0])


def _removed(fit: Fit, swapped: _Refit, upper: int, lower: int) -> int | None:
    """Take away votes in the order of their influence until the two swap."""
    weight = fit.data.cells.weight
    if weight is not None:
        return _rows_removed(fit, swapped, weight * _effects(fit, upper, lower)[_cells_of(fit)], upper, lower)
    counts = fit.data.cells.counts
    effects = _effects(fit, upper, lower).ravel()
    helpful = np.flatnonzero((effects > 0) & (counts.ravel() > 0))
    order = helpful[np.argsort(-effects[helpful], kind="stable")]
    upto = np.cumsum(counts.ravel()[order])
    if not len(order):
        return None
    reached = np.cumsum(counts.ravel()[order] * effects[order])
    gap = fit.strength[upper] - fit.strength[lower]
    place = min(int(np.searchsorted(reached, gap)), len(order) - 1)
    guess = int(upto[place] - max(reached[place] - gap, 0.0) // effects[order[place]])

    def fewer(number: int) -> bool:
        taken = np.clip(number - (upto - counts.ravel()[order]), 0, counts.ravel()[order])
        left = counts.copy().ravel()
        left[order] -= taken
        return swapped(left.reshape(-1, 3))

    return _least(fewer, guess, int(upto[-1]))


def _cells_of(fit: Fit) -> tuple[Codes, Codes]:
    return fit.data.cells.of_vote, fit.data.cells.outcome


def _rows_removed(fit: Fit, swapped: _Refit, effect: FloatArray, upper: int, lower: int) -> int | None:
    """The same vote by vote, where they weigh differently. `effect` `(M,)` is each vote's on the gap."""
    cells = fit.data.cells
    order = np.argsort(-effect, kind="stable")[: int((effect > 0).sum())]
    if not len(order):
        return None
    gap = fit.strength[upper] - fit.strength[lower]
    guess = int(np.searchsorted(np.cumsum(effect[order]), gap)) + 1

    def fewer(number: int) -> bool:
        return swapped(np.maximum(cells.counts - cells.summed(order[:number]), 0.0))

    return _least(fewer, guess, len(order))


def _added(fit: Fit, swapped: _Refit, upper: int, lower: int) -> tuple[int | None, tuple[str, str, str] | None]:
    """Add the vote with the largest effect of all pairs that have met, again and again."""
    data, counts = fit.data, fit.data.cells.counts
    effects = _effects(fit, upper, lower)
    cell, outcome = np.unravel_index(int(effects.argmin()), effects.shape)
    if effects[cell, outcome] >= 0:
        return None, None

    def more(number: int) -> bool:
        raised = counts.copy()
        raised[cell, outcome] += number
        return swapped(raised)

    guess = int(np.ceil((fit.strength[upper] - fit.strength[lower]) / -effects[cell, outcome]))
    left, right = (data.ballots.policies[side[cell]] for side in (data.cells.left, data.cells.right))
    by = (left, right, CHOICES[outcome].value)
    return _least(more, max(guess, 1), int(counts.sum())), by


def _least(swaps: Callable[[int], bool], guess: int, most: int) -> int | None:
    """The least number up to `most` that swaps, to within 2%, or None. Numbers below it were tried around `guess`."""
    low, high = 0, min(max(guess, 1), most)
    while not swaps(high):
        if high >= most:
            return None
        low, high = high, min(most, high + max(1, high // 2))
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        # First close to the guess, which is usually good.
        if low == 0:
            middle = max(middle, high - max(1, high // 8))
        low, high = (low, middle) if swaps(middle) else (middle, high)
    return high


def _voters(fit: Fit, pairs: list[tuple[int, int]]) -> list[list[int]]:
    """For each pair the voters who hold its order up most, by one step, if they could matter at all."""
    voter = fit.data.ballots.voter.codes
    present = np.unique(voter)
    on_gap = np.stack([fit.found.bread[upper] - fit.found.bread[lower] for upper, lower in pairs], axis=1)
    gaps = np.array([fit.strength[upper] - fit.strength[lower] for upper, lower in pairs])
    best: list[tuple[FloatArray, Codes]] = []
    for chunk in cluster_chunks(fit.data.design, fit.data.cells, fit.found, numbered(voter)):
        best.append(_most(chunk, on_gap))
    effect, who = (np.concatenate(parts) for parts in zip(*best, strict=True))
    out = []
    for column, gap in enumerate(gaps):
        order = np.argsort(-effect[:, column], kind="stable")[:VOTERS_TRIED]
        out.append([int(present[who[i, column]]) for i in order if effect[i, column] >= LEAST_SHARE * gap])
    return out


def _most(chunk: Chunk, on_gap: FloatArray) -> tuple[FloatArray, Codes]:
    """The largest effects on each gap in a chunk and whose they are, `(VOTERS_TRIED or fewer, pairs)` each."""
    effect = chunk.gradient @ on_gap
    keep = min(VOTERS_TRIED, len(effect))
    rows = np.argpartition(-effect, keep - 1, axis=0)[:keep]
    return np.take_along_axis(effect, rows, axis=0), chunk.first + rows
