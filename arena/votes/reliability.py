"""How far each voter can be believed, and what their votes weigh. Nobody's votes vanish: a weight and its reasons are
always told.

Three rules, in order:

1. *Attention.* Pairs with a known answer and repetitions with swapped sides give each voter a reliability
   `r = (PRIOR_RIGHT + right) / (PRIOR_CHECKS + checks)`; their votes weigh `((2 r - 1) / (2 r0 - 1))^2`, at most 1,
   `r0` being the prior's: who answers as a coin would weighs nothing.
2. *Rigging.* A voter who favours (or disfavours) one policy beyond what all others think of it is tested by a betting
   score: for each of their votes with it, `1 + bet (outcome - expected)` multiplies their stake (Shafer, 2021: "Testing
   by betting"). Where honest, the stake has mean 1 whatever the number of votes, so a stake of `policies / ALPHA` is
   seen with a chance of at most `ALPHA` for each voter. Votes of a flagged voter on that policy weigh nothing.
3. *Caps.* No voter weighs more than `MAX_SHARE` of all votes, or `FAIR_SHARES` times the mean where voters are few;
   nor more on one policy than `FAIR_SHARES` times what its voters have cast on it on average. Rule 2 looks at what is
   expected under this second cap, since a few accounts that vote on hardly anything else would make themselves usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from arena.contracts import FloatArray
from arena.votes.standing import strengths, wins_table

PRIOR_RIGHT, PRIOR_CHECKS = 9.0, 10.0
ALPHA = 0.01
BETS = (0.25, 0.5, 0.75)
"""Shares of what may be staked; each is tried in both directions, and the stakes' mean counts."""
MAX_SHARE, FAIR_SHARES = 0.01, 4.0
ROUNDS = 4


@dataclass(frozen=True)
class Votes:
    """`M` votes on `K` policies by `V` voters: indices, and the left policy's score (1, 1/2 or 0)."""

    policies: tuple[str, ...]
    voters: tuple[str, ...]
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    score: FloatArray
    voter: NDArray[np.intp]

    def without(self, rows: NDArray[np.bool_]) -> Votes:
        keep = ~rows
        return replace(
            self, left=self.left[keep], right=self.right[keep], score=self.score[keep], voter=self.voter[keep]
        )


@dataclass(frozen=True)
class Checks:
    """`(V,)` each: answers to pairs whose answer is known, or to repetitions, and how many of them were right."""

    asked: FloatArray
    right: FloatArray

    @classmethod
    def none(cls, voters: int) -> Checks:
        return cls(np.zeros(voters), np.zeros(voters))


@dataclass(frozen=True)
class Reliability:
    """What is known of the voters.

    `attention` `(V,)` in [0, 1] is rule 1's weight; `stakes` `(V, K)` are rule 2's; `flagged` `(V, K)` says who rigs
    what; `left_share` `(V,)` is how often the left one won, ties as half; `agreement` `(V,)` how much better than a
    coin, in nats a vote, the other voters' ranking foretells theirs.
    """

    attention: FloatArray
    stakes: FloatArray
    flagged: NDArray[np.bool_]
    left_share: FloatArray
    agreement: FloatArray
    weights: FloatArray
    """`(M,)` of each vote, by all three rules."""

    def reasons(self, votes: Votes, voter: int) -> tuple[str, ...]:
        """Why a voter's votes do not weigh 1."""
        found = []
        if self.attention[voter] < 1:
            found.append(f"checks: {self.attention[voter]:.2f}")
        found += [
            f"favours or disfavours {votes.policies[k]} beyond what others think of it "
            f"(stake {self.stakes[voter, k]:.3g})"
            for k in np.flatnonzero(self.flagged[voter])
        ]
        return tuple(found)


def reliability(votes: Votes, checks: Checks) -> Reliability:
    """Apply the three rules to all votes."""
    attention = _attention(checks)
    flagged = np.zeros((len(votes.voters), len(votes.policies)), dtype=bool)
    crowding = _crowding(votes)
    for _ in range(ROUNDS):
        # What riggers say must not decide what is expected of them.
        weight = attention[votes.voter] * ~_rigged(votes, flagged) * crowding
        expected = _expected(votes, weight)
        stakes = _stakes(votes, expected)
        found = stakes >= len(votes.policies) / ALPHA
        if (found <= flagged).all():
            break
        flagged = flagged | found
    weight = attention[votes.voter] * ~_rigged(votes, flagged) * crowding
    count = np.maximum(np.bincount(votes.voter, minlength=len(votes.voters)), 1)
    left_share = np.bincount(votes.voter, weights=votes.score, minlength=len(votes.voters)) / count
    gain = _log_likelihood(votes.score, expected) - np.log(0.5)
    agreement = np.bincount(votes.voter, weights=gain, minlength=len(votes.voters)) / count
    return Reliability(attention, stakes, flagged, left_share, agreement, _capped(votes, weight))


def _attention(checks: Checks) -> FloatArray:
    right = (PRIOR_RIGHT + checks.right) / (PRIOR_CHECKS + checks.asked)
    start = PRIOR_RIGHT / PRIOR_CHECKS
    return np.asarray(np.minimum((np.maximum(2 * right - 1, 0) / (2 * start - 1)) ** 2, 1.0))


def _expected(votes: Votes, weight: FloatArray) -> FloatArray:
    """`(M,)` scores that the ranking of all other votes gives to the left policy; a vote's own says nothing of it."""
    wins = wins_table(len(votes.policies), votes.left, votes.right, votes.score, weight)
    strength, covariance = strengths(wins)
    chance = expit(strength[votes.left] - strength[votes.right])
    # Leaving a vote out moves the strengths by one Newton step (as in generalised cross-validation).
    spread = covariance[votes.left, votes.left] + covariance[votes.right, votes.right]
    spread = spread - 2 * covariance[votes.left, votes.right]
    leverage = np.minimum(weight * chance * (1 - chance) * spread, 0.9)
    moved = strength[votes.left] - strength[votes.right]
    moved = moved - weight * spread * (votes.score - chance) / (1 - leverage)
    return np.asarray(np.clip(expit(moved), 0.02, 0.98))


def _stakes(votes: Votes, expected: FloatArray) -> FloatArray:
    """`(V, K)`: the mean stake over all bets that a voter favours, or disfavours, a policy."""
    voters, policies = len(votes.voters), len(votes.policies)
    target = np.concatenate([votes.voter * policies + votes.left, votes.voter * policies + votes.right])
    surprise = votes.score - expected
    surprise = np.concatenate([surprise, -surprise])
    chance = np.concatenate([expected, 1 - expected])
    total = np.zeros(voters * policies)
    for bet in BETS:
        # A stake cannot fall below zero: the most that may be bet is what the worst outcome leaves.
        for room, sign in ((1 / chance, 1.0), (1 / (1 - chance), -1.0)):
            gain = np.log1p(bet * room * sign * surprise)
            logs = np.bincount(target, weights=gain, minlength=voters * policies)
            total += np.exp(np.minimum(logs, 500.0)) / (2 * len(BETS))
    return np.asarray(total.reshape(voters, policies))


def _rigged(votes: Votes, flagged: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`(M,)`: votes of flagged voters on what they are flagged for."""
    return np.asarray(flagged[votes.voter, votes.left] | flagged[votes.voter, votes.right])


def _crowding(votes: Votes) -> FloatArray:
    """`(M,)` in (0, 1]: how much of each vote is left when nobody crowds a policy with votes (rule 3)."""
    voters, policies = len(votes.voters), len(votes.policies)
    sides = [votes.voter * policies + votes.left, votes.voter * policies + votes.right]
    count = np.bincount(np.concatenate(sides), minlength=voters * policies).reshape(voters, policies)
    mean = count.sum(axis=0) / np.maximum((count > 0).sum(axis=0), 1)
    # Means are of all voters' policies where one policy's own are few, or are mostly by those who crowd it.
    usual = np.minimum(mean, np.median(mean)) if policies else mean
    left = np.minimum(1.0, FAIR_SHARES * np.maximum(usual, 1.0) / np.maximum(count, 1)).ravel()
    return np.asarray(np.minimum(left[sides[0]], left[sides[1]]))


def _capped(votes: Votes, weight: FloatArray) -> FloatArray:
    """Scale down voters whose votes together weigh more than the cap; the cap is of what is left after that."""
    voters = len(votes.voters)
    total = np.bincount(votes.voter, weights=weight, minlength=voters).astype(float)
    share = max(MAX_SHARE, FAIR_SHARES / max(int((total > 0).sum()), 1))
    limit = _water_level(total, share)
    return np.asarray(weight * np.minimum(1.0, limit / np.maximum(total, 1e-12))[votes.voter])


def _water_level(total: FloatArray, share: float) -> float:
    """The largest limit such that nobody, cut down to it, has more than `share` of the sum of what all have then."""
    if share >= 1 or not len(total):
        return float("inf")
    ordered = np.sort(total)[::-1]
    below = np.concatenate([np.cumsum(ordered[::-1])[::-1][1:], [0.0]])
    for count, (largest, rest) in enumerate(zip(ordered, below, strict=True)):
        # With `count` voters cut to the limit and the others as they are, is the next one below it?
        if count * share < 1:
            limit = share * (largest + rest) / (1 - count * share)
            if largest <= limit:
                return float(limit) if count else float("inf")
    return float(ordered[-1])


def _log_likelihood(score: FloatArray, chance: FloatArray) -> FloatArray:
    return np.asarray(score * np.log(chance) + (1 - score) * np.log(1 - chance))


def as_votes(rows: Sequence[tuple[str, str, float, str]]) -> Votes:
    """From (left, right, left's score, voter) rows."""
    policies = tuple(sorted({name for left, right, _, _ in rows for name in (left, right)}))
    voters = tuple(sorted({voter for *_, voter in rows}))
    at, who = {name: i for i, name in enumerate(policies)}, {name: i for i, name in enumerate(voters)}
    return Votes(
        policies, voters,
        np.array([at[left] for left, *_ in rows], dtype=np.intp),
        np.array([at[right] for _, right, *_ in rows], dtype=np.intp),
        np.array([score for _, _, score, _ in rows], dtype=float),
        np.array([who[voter] for *_, voter in rows], dtype=np.intp),
    )  # fmt: skip
