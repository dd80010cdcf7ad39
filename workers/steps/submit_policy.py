"""The step `submit_policy`: one more policy in an evaluation, after a look at whether it can act at all."""

from __future__ import annotations

from collections.abc import Sequence

from arena.contracts import InvalidInput
from workers.jobs import Context, Inputs, Json, Request, Step
from workers.plans import joined

SERVERS = ("openpi", "ws", "wss")
PROBES = 3


class SubmitPolicyInputs(Inputs):
    """`policy` is an address or a spec, as `dreamarena evaluate` takes it; it joins `evaluation`."""

    policy: str
    evaluation: str


def submit_policy(inputs: SubmitPolicyInputs, context: Context) -> Json:
    """Look at the policy, let it act where the others did, judge it and rank all. Returns the new evaluation's id.

    Rollouts and verdicts of the others are there already. The jobs that are missing are done here, and by any worker
    that has nothing else to do. Raises `InvalidInput` with what the look found.
    """
    from workers.orchestrate import evaluate

    plan = joined(context.store.results.evaluation(inputs.evaluation), inputs.policy)
    found = preflight(inputs.policy, context)

    def run(requests: Sequence[Request]) -> list[Json]:
        from workers.runner import run_jobs
        from workers.tasks import STEPS

        return run_jobs(requests, STEPS, context)

    ranking = evaluate(context, plan, run)
    return {"evaluation": ranking["evaluation"], "policy": context.workshop.policy(inputs.policy).card.name, **found}


def preflight(policy: str, context: Context) -> Json:
    """What is known before anything is rolled out: a server is called a few times, another policy's card is read.

    Raises `InvalidInput` where that already shows that it cannot be evaluated.
    """
    card = context.workshop.policy(policy).card
    if policy.partition(":")[0] not in SERVERS:
        return {"notes": []}
    from arena.policies.preflight import probe

    report = probe(policy, card.action_space, PROBES, progress=context.progress)
    if not report.ok:
        raise InvalidInput(f"{card.name} cannot be evaluated: {'; '.join(report.problems)}")
    return {"notes": list(report.notes)}


STEP = Step("submit_policy", SubmitPolicyInputs, submit_policy)
