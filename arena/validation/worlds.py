"""Two worlds against each other: which policy succeeds from the same beginning in one and fails in the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arena.contracts import InvalidInput, Verdict
from arena.judges.agreement import bootstrapped, cohen_kappa
from arena.store import RolloutRecord, Store
from arena.validation.shares import Estimate

THRESHOLD = 0.5


@dataclass(frozen=True)
class Disagreement:
    """A policy and a beginning (`EPISODE@FRAME`) with both worlds' probabilities of success and their rollouts."""

    policy: str
    beginning: str
    first: float
    second: float
    first_rollout: str
    second_rollout: str


@dataclass(frozen=True)
class WorldAgreement:
    """Of `trials` that both evaluations judged: the share with the same call, Cohen's kappa, and each disagreement,
    those furthest apart first. `unpaired` trials have no verdict in one of them."""

    first: str
    second: str
    trials: int
    unpaired: int
    agreement: Estimate
    kappa: float | None
    disagreements: tuple[Disagreement, ...]


def compare_worlds(store: Store, first: str, second: str, seed: int = 0) -> WorldAgreement:
    """Two finished evaluations of the same policies from the same beginnings, in two worlds.

    Scenes differ between worlds (their rates do), so trials are paired by policy, episode and first frame. Raises
    `NotFound` for evaluations that are not there, and `InvalidInput` where no trial is in both.
    """
    sides = [_said(store, id) for id in (first, second)]
    common = sorted(set(sides[0]) & set(sides[1]))
    if not common:
        raise InvalidInput(
            f"evaluations {first} and {second} share no judged trial: evaluate the same policies and episodes in both"
        )
    values = np.array([[side[key][0] for side in sides] for key in common])
    calls = values >= THRESHOLD
    agree = calls[:, 0] == calls[:, 1]
    share = bootstrapped(lambda rows: float(agree[rows].mean()), len(common), seed, (0.0, 1.0))
    kappa = cohen_kappa(calls[:, 0].tolist(), calls[:, 1].tolist())
    apart = [
        Disagreement(*key, float(pair[0]), float(pair[1]), sides[0][key][1], sides[1][key][1])
        for key, pair, same in zip(common, values, agree, strict=True)
        if not same
    ]
    apart.sort(key=lambda each: -abs(each.first - each.second))
    unpaired = len(set(sides[0]) ^ set(sides[1]))
    return WorldAgreement(first, second, len(common), unpaired, share, None if np.isnan(kappa) else kappa, tuple(apart))


def beginning_of(scene_id: str) -> str:
    """`EPISODE@FRAME` of a scene's id, which ends in a hash of its pictures (`arena.scenes`)."""
    return scene_id.rpartition("-")[0] or scene_id


def _said(store: Store, evaluation: str) -> dict[tuple[str, str], tuple[float, str]]:
    """By policy and beginning: the success probability and the rollout."""
    record = store.results.finished_evaluation(evaluation)
    judge = dict((record.result or {})["judge"])
    rollouts = {rollout.id: rollout for rollout in store.results.rollouts(evaluation)}
    verdicts = store.results.verdicts(list(rollouts), judge["sha256"])
    return {_key(rollouts[each.rollout_id]): (probability, each.rollout_id)
            for each in verdicts if (probability := _probability(each)) is not None}  # fmt: skip


def _key(rollout: RolloutRecord) -> tuple[str, str]:
    return rollout.policy, beginning_of(rollout.scene_id)


def _probability(verdict: Verdict) -> float | None:
    return None if verdict.abstained else verdict.success_probability
