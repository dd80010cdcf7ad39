"""Pairs whose answer is known, to tell who watches: shown now and then, and never counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from arena.contracts import Verdict
from arena.store import RolloutRecord
from arena.votes.contest import Contest
from arena.votes.drawing import Gold

SURE = 0.9
"""A judge's probability from which on nobody needs to be asked, and below one minus which."""
IDLE = ("hold", "noise")
"""Policies that want nothing. Where the truth is not known, only their failures are taken for known."""
MOST = 400


def golds_of(contest: Contest, verdicts: Mapping[str, Verdict]) -> Sequence[Gold]:
    """Of each beginning, one rollout that succeeded beside one that did not, at most `MOST` pairs.

    Where the world knows success, that decides. Elsewhere `verdicts` by rollout id have to be sure, and the one that
    failed has to be of a policy that wants nothing: a judge's mistake must not count against voters.
    """
    found = []
    for here in contest.cells.values():
        better = [each for each in here.values() if _succeeded(each, verdicts)]
        worse = [each for each in here.values() if _failed(each, verdicts)]
        found += [Gold(one, other) for one, other in zip(better, worse, strict=False)]
    return found[:MOST]


def _succeeded(rollout: RolloutRecord, verdicts: Mapping[str, Verdict]) -> bool:
    if rollout.success is not None:
        return rollout.success
    chance = _chance(rollout, verdicts)
    return chance is not None and chance >= SURE


def _failed(rollout: RolloutRecord, verdicts: Mapping[str, Verdict]) -> bool:
    if rollout.success is not None:
        return not rollout.success
    chance = _chance(rollout, verdicts)
    return rollout.policy in IDLE and chance is not None and chance <= 1 - SURE


def _chance(rollout: RolloutRecord, verdicts: Mapping[str, Verdict]) -> float | None:
    verdict = verdicts.get(rollout.id)
    return None if verdict is None or verdict.abstained else verdict.success_probability
