"""What a voter is shown next: a comparison that the ranking needs, or now and then a check of the voter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from arena.contracts import Choice, FloatArray
from arena.store import CastVote, OfferRecord, RolloutRecord
from arena.votes.choosing import draw, least_shown, pair_probabilities
from arena.votes.contest import Contest, pair_key
from arena.votes.rules import Kind, Rules

Known = Sequence[tuple[OfferRecord, CastVote | None]]
"""The pairs that a voter was shown, oldest first, each with the vote on it, if there is one."""


@dataclass(frozen=True)
class Standing:
    """What is known so far: Bradley-Terry strengths `(K,)`, their covariance `(K, K)`, and votes `(K,)` by policy."""

    policies: tuple[str, ...]
    strength: FloatArray
    covariance: FloatArray
    votes: NDArray[np.intp]


@dataclass(frozen=True)
class Gold:
    """Two rollouts of which everyone must see that the first one did better."""

    better: RolloutRecord
    worse: RolloutRecord


@dataclass(frozen=True)
class Drawn:
    """Two rollouts, as yet in no order but in a repetition; `expected` is the answer if they stay in this order."""

    kind: Kind
    rollouts: tuple[RolloutRecord, RolloutRecord]
    propensity: float
    expected: Choice | None = None
    repeats: str | None = None


Draw = Callable[[Contest, Known, frozenset[str], Rules, np.random.Generator], Drawn | None]
"""Of a contest, what a voter knows, the policies that they own: the next pair, or None where none is left."""


@dataclass(frozen=True)
class Drawing:
    """`standing` is asked for at every draw, and may be a little old; `golds` lists pairs whose answer is known."""

    standing: Callable[[], Standing]
    golds: Callable[[Contest], Sequence[Gold]] = lambda contest: ()
    _kept: dict[str, _Plan] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(
        self, contest: Contest, known: Known, owned: frozenset[str], rules: Rules, random: np.random.Generator
    ) -> Drawn | None:
        chance = random.random()
        if chance < rules.gold and (drawn := self._gold(contest, known, random)):
            return drawn
        if rules.gold <= chance < rules.gold + rules.repeat and (drawn := _repeat(contest, known, owned, rules)):
            return drawn
        return self._comparison(contest, known, owned, rules, random)

    def _gold(self, contest: Contest, known: Known, random: np.random.Generator) -> Drawn | None:
        seen = {offer.pair for offer, _ in known}
        left = [g for g in self.golds(contest) if pair_key(g.better.id, g.worse.id) not in seen]
        if not left:
            return None
        gold = left[int(random.integers(len(left)))]
        return Drawn(Kind.GOLD, (gold.better, gold.worse), 1 / len(left), expected=Choice.LEFT)

    def _comparison(
        self, contest: Contest, known: Known, owned: frozenset[str], rules: Rules, random: np.random.Generator
    ) -> Drawn | None:
        """A pair of policies by what it would tell, then the scene that this voter saw least."""
        plan = self._plan(contest, rules)
        seen = {offer.pair for offer, _ in known}
        shown = Counter(offer.scene_id for offer, _ in known)
        chances = plan.probabilities * [owned.isdisjoint(names) for names in plan.names]
        while chances.sum() > 0:
            chosen = draw(chances / chances.sum(), random)
            names = plan.names[chosen]
            rollouts = [contest.rollouts(cell, names) for cell in contest.meetings[names]]
            left = [pair for pair in rollouts if pair_key(pair[0].id, pair[1].id) not in seen]
            if left:
                at = least_shown([shown[one.scene_id] for one, _ in left], random)
                return Drawn(Kind.COMPARISON, left[at], float(plan.probabilities[chosen]) / len(left))
            chances[chosen] = 0.0
        return None

    def _plan(self, contest: Contest, rules: Rules) -> _Plan:
        """Of all pairs of policies; made anew only when the contest or the standing is another one."""
        standing = self.standing()
        kept = self._kept.get("plan")
        if kept is None or kept.contest is not contest or kept.standing is not standing:
            kept = self._kept["plan"] = _Plan.of(contest, standing, rules)
        return kept


@dataclass(frozen=True)
class _Plan:
    """`probabilities` `(P,)` of drawing each of the pairs of policies `names`."""

    contest: Contest
    standing: Standing
    names: tuple[tuple[str, str], ...]
    probabilities: FloatArray

    @classmethod
    def of(cls, contest: Contest, standing: Standing, rules: Rules) -> _Plan:
        names = tuple(contest.meetings)
        index = {policy: i for i, policy in enumerate(standing.policies)}
        probabilities = np.full(len(names), 1 / max(len(names), 1))
        # A policy may have come after the standing was taken: until there is a newer one, all pairs are alike.
        if names and all(policy in index for policy in contest.policies):
            pairs = np.array([[index[one], index[other]] for one, other in names])
            probabilities = pair_probabilities(
                standing.strength, standing.covariance, standing.votes, pairs,
                uniform_share=rules.uniform, enough=rules.enough,
            )  # fmt: skip
        return cls(contest, standing, names, probabilities)


def _repeat(contest: Contest, known: Known, owned: frozenset[str], rules: Rules) -> Drawn | None:
    """The oldest comparison that was not repeated yet, with its sides swapped, once enough votes lie between."""
    voted = [offer for offer, vote in known if vote is not None]
    repeated = {offer.repeats for offer, _ in known}
    for offer in voted[: max(0, len(voted) - rules.repeat_after)]:
        here = contest.by_id
        there = offer.left_rollout in here and offer.right_rollout in here
        if (
            offer.kind == Kind.COMPARISON
            and offer.id not in repeated
            and there
            and owned.isdisjoint((offer.left_policy, offer.right_policy))
        ):
            return Drawn(Kind.REPEAT, (here[offer.right_rollout], here[offer.left_rollout]), 1.0, repeats=offer.id)
    return None
