"""The step `rank`: verdicts to a leaderboard, kept with the evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from arena.contracts import RankedPolicy, Verdict
from arena.intervals import closed_end
from arena.leaderboard import Leaderboard, PolicySummary, build_leaderboard
from arena.store import EvaluationStatus
from workers.jobs import Context, Inputs, Json, Step

UNCALIBRATED = "the judge has too few labelled trials to speak of success: policies are compared by progress alone"


class RankInputs(Inputs):
    """`threshold` is the success probability from which the judge says success.

    `failed` has the policy and the reason of each trial that was broken off, and is therefore missing.
    """

    evaluation: str
    rollouts: tuple[str, ...]
    judge: str
    judge_sha256: str
    judge_card: dict[str, Any] | None
    threshold: float
    failed: tuple[tuple[str, str], ...]


def rank(inputs: RankInputs, context: Context) -> Json:
    """Rank the policies, and finish the evaluation with it."""
    records = [context.store.results.rollout(id) for id in inputs.rollouts]
    verdicts = context.store.results.verdicts(inputs.rollouts, inputs.judge_sha256)
    board = build_leaderboard(records, verdicts, threshold=inputs.threshold)
    result = board_json(board, inputs, _notes(verdicts, inputs.failed))
    context.store.results.finish_evaluation(inputs.evaluation, result)
    return result


def intact(inputs: RankInputs, context: Context) -> bool:
    return context.store.results.evaluation(inputs.evaluation).status is EvaluationStatus.DONE


def board_json(board: Leaderboard, inputs: RankInputs, notes: Sequence[str]) -> Json:
    """A leaderboard as JSON. An interval's end that the comparisons leave open is null."""
    return {
        "evaluation": inputs.evaluation,
        "judge": {"name": inputs.judge, "sha256": inputs.judge_sha256, "card": inputs.judge_card},
        "policies": [
            _policy_json(place, summary) for place, summary in zip(board.ranking.policies, board.policies, strict=True)
        ],
        "groups": [list(group) for group in board.ranking.groups],
        "comparisons": board.ranking.comparisons,
        "notes": [*board.ranking.notes, *notes],
    }


def _notes(verdicts: Sequence[Verdict], failed: Sequence[tuple[str, str]]) -> list[str]:
    notes = [UNCALIBRATED] if any(map(_is_uncalibrated, verdicts)) else []
    for policy, count in Counter(policy for policy, _ in failed).items():
        reason = next(why for name, why in failed if name == policy)
        notes.append(f"{count} trials of {policy} are missing, e.g. because {reason}")
    return notes


def _policy_json(place: RankedPolicy, summary: PolicySummary) -> Json:
    return {
        "policy": place.policy,
        "rank": [place.rank_low, place.rank_high],
        "score": closed_end(place.score),
        "interval": [closed_end(place.low), closed_end(place.high)],
        "comparisons": place.comparisons,
        "rollouts": summary.rollouts,
        "abstained": summary.abstentions,
        "successes": summary.judged.successes,
        "judged": summary.judged.trials,
        "progress": summary.progress,
        "note": place.note,
    }


def _is_uncalibrated(verdict: Verdict) -> bool:
    return verdict.success_probability is None and not verdict.abstained


STEP = Step("rank", RankInputs, rank, intact)
