"""Verdicts on rollouts of the same scene, turned into blind pairwise comparisons.

The rule, in order:

1. One rollout succeeded (probability at or above the judge's threshold) and the other did not: it wins.
2. Both succeeded: a tie. Progress saturates near success, so a difference there says nothing.
3. Both failed: the one that came further by more than `margin` points of progress wins; else both are bad.
4. An uncalibrated judge gives no probability: then progress alone decides, by the same margin, or it is a tie.

A rollout that its judge abstained on is in no comparison: a missing verdict is never a failure.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from arena.contracts import Choice, InvalidInput, Rollout, Verdict, Vote

PROGRESS_MARGIN = 10.0
"""Points of progress (of 100) that have to lie between two failures before one counts as better."""


@dataclass(frozen=True)
class JudgedRollout:
    """A verdict and what is needed to pair it: no frames, so that thousands fit in memory."""

    policy: str
    world: str
    scene_id: str
    seed: int
    verdict: Verdict

    @classmethod
    def of(cls, rollout: Rollout, verdict: Verdict) -> JudgedRollout:
        if verdict.rollout_id != rollout.id:
            raise InvalidInput(f"a verdict on rollout {verdict.rollout_id} was given with rollout {rollout.id}")
        return cls(rollout.policy, rollout.world, rollout.scene_id, rollout.seed, verdict)


@dataclass(frozen=True)
class Pairing:
    """The comparisons, and what is missing from them."""

    votes: tuple[Vote, ...]
    abstentions: int
    """Verdicts that their judge abstained on."""
    missing: int
    """Pairs that would have been compared, had no judge abstained."""


def pair_verdicts(
    judged: Iterable[JudgedRollout], *, threshold: float = 0.5, margin: float = PROGRESS_MARGIN
) -> Pairing:
    """Compare every two policies that met the same scene with the same seed in the same world, per judge.

    `threshold` is the success probability at which the judge says success; the voter of each `Vote` is
    the judge's name. Which policy is left is a fair coin fixed by scene and names, so that a fit with a
    left-side bias stays well posed. Raises `InvalidInput` on a verdict that says nothing and is no abstention.
    """
    cells: dict[tuple[str, str, int, str], list[JudgedRollout]] = defaultdict(list)
    for item in judged:
        cells[item.world, item.scene_id, item.seed, item.verdict.judge].append(item)
    votes, abstentions, missing = [], 0, 0
    for key in sorted(cells):
        cell = sorted(cells[key], key=lambda item: (item.policy, item.verdict.rollout_id))
        abstentions += sum(item.verdict.abstained for item in cell)
        for pair in itertools.combinations(cell, 2):
            if pair[0].policy == pair[1].policy:
                continue
            if any(item.verdict.abstained for item in pair):
                missing += 1
            else:
                votes.append(_vote(_seated(pair), threshold, margin))
    return Pairing(tuple(votes), abstentions, missing)


def compare(left: Verdict, right: Verdict, *, threshold: float = 0.5, margin: float = PROGRESS_MARGIN) -> Choice:
    """The rule of this module on two verdicts that are not abstentions."""
    for verdict in (left, right):
        if verdict.success_probability is None and verdict.progress is None:
            raise InvalidInput(f"{verdict.judge}'s verdict on {verdict.rollout_id} says nothing and is no abstention")
    if left.success_probability is None or right.success_probability is None:
        return _further(left, right, margin) or Choice.TIE
    left_succeeded, right_succeeded = left.success_probability >= threshold, right.success_probability >= threshold
    if left_succeeded != right_succeeded:
        return Choice.LEFT if left_succeeded else Choice.RIGHT
    return Choice.TIE if left_succeeded else _further(left, right, margin) or Choice.BOTH_BAD


def _further(left: Verdict, right: Verdict, margin: float) -> Choice | None:
    """Which of two came further by more than `margin`; None where neither did, or where progress is missing."""
    if left.progress is None or right.progress is None or abs(left.progress - right.progress) <= margin:
        return None
    return Choice.LEFT if left.progress > right.progress else Choice.RIGHT


def _seated(pair: Sequence[JudgedRollout]) -> tuple[JudgedRollout, JudgedRollout]:
    names = "\n".join((pair[0].scene_id, str(pair[0].seed), pair[0].policy, pair[1].policy))
    swap = hashlib.sha256(names.encode()).digest()[0] & 1
    return (pair[1], pair[0]) if swap else (pair[0], pair[1])


def _vote(pair: tuple[JudgedRollout, JudgedRollout], threshold: float, margin: float) -> Vote:
    left, right = pair
    choice = compare(left.verdict, right.verdict, threshold=threshold, margin=margin)
    return Vote(left.policy, right.policy, choice, voter=left.verdict.judge, scene_id=left.scene_id)
