"""All votes so far, kept in memory and read on from the store: who leads, and how far each voter can be believed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from arena.contracts import Choice, Vote
from arena.store import CastVote, OfferRecord, Store
from arena.votes.contest import Contest
from arena.votes.drawing import Standing
from arena.votes.reliability import Checks, Reliability, Votes, as_votes, reliability
from arena.votes.rules import Kind
from arena.votes.standing import strengths, wins_table

SCORES = {Choice.LEFT: 1.0, Choice.RIGHT: 0.0, Choice.TIE: 0.5, Choice.BOTH_BAD: 0.5}


@dataclass(frozen=True)
class Voter:
    """What the admin page shows of a voter. `weight` is the mean of their votes'."""

    id: str
    votes: int
    weight: float
    checks: int
    right: int
    left_share: float
    agreement: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Weighed:
    """Comparisons with what each weighs, in the order cast, and what is known of their voters."""

    votes: tuple[Vote, ...]
    weights: tuple[float, ...]
    rollouts: tuple[tuple[str, str], ...]
    """Ids of what each voter saw on the left and on the right."""
    voters: tuple[Voter, ...]


class Tally:
    """Votes of one store. `refreshed` seconds old at most; safe to share between threads."""

    def __init__(
        self,
        store: Store,
        contest: Callable[[], Contest],
        refreshed: float = 2.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._contest, self._refreshed, self._clock = store, contest, refreshed, clock
        self._lock = threading.Lock()
        self._rows: list[tuple[int, OfferRecord, CastVote]] = []
        self._forgotten = 0
        self._standing: tuple[float, Contest, int, Standing] | None = None

    def standing(self) -> Standing:
        """Of the contest's policies, from the votes that count."""
        with self._lock:
            contest, now = self._contest(), self._clock()
            if self._standing is not None:
                taken, of, count, standing = self._standing
                if of is contest and now - taken < self._refreshed:
                    return standing
                self._read_on()
                if of is contest and count == len(self._rows):
                    self._standing = (now, of, count, standing)
                    return standing
            else:
                self._read_on()
            standing = _standing(contest.policies, self._rows)
            self._standing = (now, contest, len(self._rows), standing)
            return standing

    def weighed(self) -> Weighed:
        """The comparisons as the leaderboard counts them."""
        with self._lock:
            self._read_on()
            rows = list(self._rows)
        comparisons = [(offer, vote) for _, offer, vote in rows if offer.kind == Kind.COMPARISON]
        if not comparisons:
            return Weighed((), (), (), ())
        votes = as_votes([(o.left_policy, o.right_policy, SCORES[Choice(v.choice)], v.voter) for o, v in comparisons])
        checks = checks_of(rows, votes.voters)
        known = reliability(votes, checks)
        cast = tuple(
            Vote(o.left_policy, o.right_policy, Choice(v.choice), v.voter, o.scene_id, v.seconds)
            for o, v in comparisons
        )
        seen = tuple((offer.left_rollout, offer.right_rollout) for offer, _ in comparisons)
        return Weighed(cast, tuple(known.weights.tolist()), seen, _voters(votes, known, checks))

    def _read_on(self) -> None:
        forgotten = self._store.voting.forgotten()
        if forgotten != self._forgotten:
            self._rows, self._forgotten = [], forgotten
        self._rows += self._store.voting.votes(after=self._rows[-1][0] if self._rows else 0)


def checks_of(rows: Sequence[tuple[int, OfferRecord, CastVote]], voters: Sequence[str]) -> Checks:
    """How each voter did on pairs whose answer is known, and on repetitions of their own pairs."""
    at = {voter: i for i, voter in enumerate(voters)}
    checks = Checks.none(len(voters))
    said = {offer.id: vote.choice for _, offer, vote in rows}
    for _, offer, vote in rows:
        if vote.voter not in at:
            continue
        expected = offer.expected
        if offer.kind == Kind.REPEAT and offer.repeats in said:
            expected = Choice(said[offer.repeats]).swapped.value
        if expected is not None:
            checks.asked[at[vote.voter]] += 1
            checks.right[at[vote.voter]] += vote.choice == expected
    return checks


def _standing(policies: tuple[str, ...], rows: Sequence[tuple[int, OfferRecord, CastVote]]) -> Standing:
    at = {policy: i for i, policy in enumerate(policies)}
    counted = [
        (at[o.left_policy], at[o.right_policy], SCORES[Choice(v.choice)])
        for _, o, v in rows
        if o.kind == Kind.COMPARISON and o.left_policy in at and o.right_policy in at
    ]
    left = np.array([row[0] for row in counted], dtype=np.intp)
    right = np.array([row[1] for row in counted], dtype=np.intp)
    score = np.array([row[2] for row in counted], dtype=float)
    wins = wins_table(len(policies), left, right, score, np.ones(len(counted)))
    strength, covariance = strengths(wins)
    return Standing(policies, strength, covariance, (wins + wins.T).sum(axis=1).astype(np.intp))


def _voters(votes: Votes, known: Reliability, checks: Checks) -> tuple[Voter, ...]:
    count = np.bincount(votes.voter, minlength=len(votes.voters))
    weight = np.bincount(votes.voter, weights=known.weights, minlength=len(votes.voters)) / np.maximum(count, 1)
    return tuple(
        Voter(
            id, int(count[i]), float(weight[i]), int(checks.asked[i]), int(checks.right[i]),
            float(known.left_share[i]), float(known.agreement[i]), known.reasons(votes, i),
        )
        for i, id in enumerate(votes.voters)
    )  # fmt: skip
