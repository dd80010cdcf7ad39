"""Results of an evaluation in the store: its judge's verdicts on its rollouts."""

from __future__ import annotations

from arena.contracts import InvalidInput, Verdict
from arena.store import EvaluationRecord, RolloutRecord, Store
from arena.validation.trials import Results, TrialResult


def stored_evaluator(store: Store, evaluation: str) -> Results:
    """What an evaluation's judge says of each rollout: its success probability, missing where it abstained.

    Raises `NotFound` for an evaluation that is not there or not finished, `InvalidInput` where no trial has a verdict.
    """
    return _results(store, store.results.finished_evaluation(evaluation))


def stored_real(store: Store, evaluation: str) -> Results:
    """The outcomes of an evaluation in a world that knows success, such as the stand-in reality.

    Raises as `stored_evaluator`, and `InvalidInput` where outcomes are a judge's probabilities.
    """
    record = store.results.finished_evaluation(evaluation)
    results = _results(store, record)
    if any(trial.success not in (0.0, 1.0, None) for trial in results.trials):
        judge = _judge(record)["name"]
        raise InvalidInput(
            f"evaluation {evaluation} has probabilities of success by the judge {judge}: reality must be an evaluation "
            f"with --judge truth, or a CSV of real trials"
        )
    return results


def _results(store: Store, record: EvaluationRecord) -> Results:
    judge = _judge(record)
    rollouts = store.results.rollouts(record.id)
    verdicts = store.results.verdicts([rollout.id for rollout in rollouts], judge["sha256"])
    said = {verdict.rollout_id: verdict for verdict in verdicts}
    trials = tuple(_trial(rollout, said.get(rollout.id)) for rollout in rollouts)
    if all(trial.success is None for trial in trials):
        raise InvalidInput(
            f"evaluation {record.id} has no success by the judge {judge['name']}: it abstained, or speaks of progress "
            f"alone"
        )
    source = {"evaluation": record.id, "judge": judge["name"], "judge_sha256": judge["sha256"]}
    return Results(trials, source | {"config_sha256": record.config_sha256})


def _judge(record: EvaluationRecord) -> dict[str, str]:
    return dict((record.result or {})["judge"])


def _trial(rollout: RolloutRecord, verdict: Verdict | None) -> TrialResult:
    success = None if verdict is None or verdict.abstained else verdict.success_probability
    task = rollout.task or rollout.instruction or "(no task)"
    return TrialResult(rollout.policy, task, rollout.scene_id, rollout.seed, success)
