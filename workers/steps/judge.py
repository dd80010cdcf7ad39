"""The step `judge`: one judge's verdicts on stored rollouts, each stored at once."""

from __future__ import annotations

from arena.contracts import InvalidInput, Judge
from workers.evaluation import WorldSpec
from workers.jobs import Context, Inputs, Json, Step
from workers.judging import LEARNED, JudgeSpec, fitted_judge, judge_card, learned_judge
from workers.rollouts import load_rollout
from workers.truth import TruthJudge

JUDGES = ("learned:FOLDER", "demonstrations", "truth")


class JudgeInputs(Inputs):
    judge: JudgeSpec
    world: WorldSpec
    rollouts: tuple[str, ...]


def judge(inputs: JudgeInputs, context: Context) -> Json:
    """Judge what this judge has not judged yet. Returns its hash, and what it is known to be worth."""
    chosen, card = _judge(inputs, context)
    results = context.store.results
    judged = {verdict.rollout_id for verdict in results.verdicts(inputs.rollouts, chosen.sha256)}
    for done, id in enumerate(inputs.rollouts, start=1):
        if id not in judged:
            results.add_verdict(chosen.judge(load_rollout(context.artifacts, results.rollout(id).artifact)))
        context.progress(done, len(inputs.rollouts), "judging")
    return {"judge": chosen.name, "judge_sha256": chosen.sha256, "card": card}


def _judge(inputs: JudgeInputs, context: Context) -> tuple[Judge, Json | None]:
    if inputs.judge.name == "truth":
        return TruthJudge(), None
    if inputs.judge.name.partition(":")[0] == LEARNED:
        learned = learned_judge(inputs.judge)
        return learned, judge_card(learned)
    if inputs.judge.name == "demonstrations":
        fitted = fitted_judge(inputs.judge, inputs.world, context)
        return fitted, judge_card(fitted)
    raise InvalidInput(f"there is no judge {inputs.judge.name!r}, only {', '.join(JUDGES)}")


STEP = Step("judge", JudgeInputs, judge)
