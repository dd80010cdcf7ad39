"""The step `judge`: one judge's verdicts on stored rollouts, each stored at once."""

from __future__ import annotations

from workers.evaluation import WorldSpec
from workers.jobs import Context, Inputs, Json, Queue, Step
from workers.judge_specs import JudgeSpec
from workers.judging import judge_card, ledger_kept, make_judge, spent, spent_line
from workers.rollouts import load_rollout


class JudgeInputs(Inputs):
    judge: JudgeSpec
    world: WorldSpec
    rollouts: tuple[str, ...]


def judge(inputs: JudgeInputs, context: Context) -> Json:
    """Judge what this judge has not judged yet. Returns its hash, what it is known to be worth, and what it cost."""
    chosen = make_judge(inputs.judge, inputs.world, context)
    results = context.store.results
    judged = {verdict.rollout_id for verdict in results.verdicts(inputs.rollouts, chosen.sha256)}
    with ledger_kept(chosen, context, "judge"):
        for done, id in enumerate(inputs.rollouts, start=1):
            if id not in judged:
                results.add_verdict(chosen.judge(load_rollout(context.artifacts, results.rollout(id).artifact)))
            costs = spent_line(chosen)
            context.progress(done, len(inputs.rollouts), f"judging ({costs})" if costs else "judging")
    card = judge_card(chosen)
    return {"judge": chosen.name, "judge_sha256": chosen.sha256, "card": card, "spent": spent(chosen)}


STEP = Step("judge", JudgeInputs, judge, needs=Queue.JUDGE)
