"""The step `rank`: verdicts to comparisons to a ranking, kept with the evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from arena.contracts import RankedPolicy, Ranking, Verdict
from arena.pairing import JudgedRollout, pair_verdicts
from arena.ranking import rank as rank_votes
from arena.store import EvaluationStatus, RolloutRecord
from workers.jobs import Context, Inputs, Json, Step

UNCALIBRATED = "the judge has too few labelled trials to speak of success: policies are compared by progress alone"


class RankInputs(Inputs):
    """`threshold` is the success probability from which the judge says success; `failed` counts missing trials."""

    evaluation: str
    rollouts: tuple[str, ...]
    policies: tuple[str, ...]
    judge: str
    judge_sha256: str
    judge_card: dict[str, Any] | None
    threshold: float
    failed: int


def rank(inputs: RankInputs, context: Context) -> Json:
    """Rank the policies, and finish the evaluation with it."""
    records = [context.store.results.rollout(id) for id in inputs.rollouts]
    verdicts = {v.rollout_id: v for v in context.store.results.verdicts(inputs.rollouts, inputs.judge_sha256)}
    judged = [(record, verdicts[record.id]) for record in records if record.id in verdicts]
    notes = [UNCALIBRATED] if any(_is_uncalibrated(verdict) for _, verdict in judged) else []
    pairing = pair_verdicts(
        [JudgedRollout(r.policy, r.world, r.scene_id, r.seed, _comparable(v)) for r, v in judged],
        threshold=inputs.threshold,
    )
    ranking = rank_votes(pairing.votes, policies=inputs.policies, judge=inputs.judge, left_bias=False)
    if pairing.missing:
        notes.append(f"{pairing.missing} comparisons are missing because the judge abstained")
    if inputs.failed:
        notes.append(f"{inputs.failed} trials are missing because their policy broke them off")
    result = ranking_json(replace(ranking, notes=(*ranking.notes, *notes)), judged, inputs)
    context.store.results.finish_evaluation(inputs.evaluation, result)
    return result


def intact(inputs: RankInputs, context: Context) -> bool:
    return context.store.results.evaluation(inputs.evaluation).status is EvaluationStatus.DONE


def ranking_json(ranking: Ranking, judged: Sequence[tuple[RolloutRecord, Verdict]], inputs: RankInputs) -> Json:
    """A ranking as JSON. An interval's end that the comparisons leave open is null."""
    return {
        "evaluation": inputs.evaluation,
        "judge": {"name": inputs.judge, "sha256": inputs.judge_sha256, "card": inputs.judge_card},
        "policies": [
            _policy_json(policy, [v for r, v in judged if r.policy == policy.policy], inputs.threshold)
            for policy in ranking.policies
        ],
        "groups": [list(group) for group in ranking.groups],
        "comparisons": ranking.comparisons,
        "notes": list(ranking.notes),
    }


def _policy_json(policy: RankedPolicy, verdicts: Sequence[Verdict], threshold: float) -> Json:
    said = [verdict for verdict in verdicts if not verdict.abstained]
    probabilities = [v.success_probability for v in said if v.success_probability is not None]
    progress = [v.progress for v in said if v.progress is not None]
    return {
        "policy": policy.policy,
        "rank": [policy.rank_low, policy.rank_high],
        "score": _finite(policy.score),
        "interval": [_finite(policy.low), _finite(policy.high)],
        "comparisons": policy.comparisons,
        "rollouts": len(verdicts),
        "abstained": len(verdicts) - len(said),
        "successes": sum(probability >= threshold for probability in probabilities),
        "judged": len(probabilities),
        "progress": fmean(progress) if progress else None,
        "note": policy.note,
    }


def _is_uncalibrated(verdict: Verdict) -> bool:
    return verdict.success_probability is None and not verdict.abstained


def _comparable(verdict: Verdict) -> Verdict:
    """A verdict without a probability claims no success: only its progress can win."""
    return replace(verdict, success_probability=0.0) if _is_uncalibrated(verdict) else verdict


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


STEP = Step("rank", RankInputs, rank, intact)
