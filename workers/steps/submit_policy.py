"""The step `submit_policy`: one more policy in an evaluation, after a look at whether it can act at all."""

from __future__ import annotations

from collections.abc import Sequence

from arena.contracts import InvalidInput
from arena.policies.served import SERVERS
from arena.store import EvaluationRecord
from workers.evaluation import RolloutInputs
from workers.jobs import Context, Inputs, Json, Queue, Request, Step
from workers.plans import EvaluationPlan, absolute_spec, joined
from workers.registry import Workshop

PROBES, SCENES = 3, 3


class SubmitPolicyInputs(Inputs):
    """`policy` is an address or a spec, as `dreamarena evaluate` takes it; it joins `evaluation`. A folder that was
    trained anew has another `policy_sha256`, and so is another submission.
    """

    policy: str
    policy_sha256: str
    evaluation: str


def submission(policy: str, evaluation: str, workshop: Workshop) -> SubmitPolicyInputs:
    """Raises `InvalidInput` for what is no policy."""
    spec = absolute_spec(policy.strip())
    return SubmitPolicyInputs(
        policy=spec, policy_sha256=workshop.policy(spec).card.sha256, evaluation=evaluation
    )  # fmt: skip


def submit_policy(inputs: SubmitPolicyInputs, context: Context) -> Json:
    """Look at the policy, let it act where the others did, judge it and rank all. Returns the new evaluation's id.

    Rollouts and verdicts of the others are there already. The jobs that are missing are done here, and by any worker
    that has nothing else to do. Raises `InvalidInput` with what the look found, where no trial of the policy could be
    run, and where the world, the scenes or a policy are no longer what the evaluation was made with.
    """
    from workers.orchestrate import evaluate

    record = context.store.results.evaluation(inputs.evaluation)
    plan = joined(record, inputs.policy)
    name = context.workshop.policy(inputs.policy).card.name
    found = preflight(inputs.policy, context, plan)

    def run(requests: Sequence[Request]) -> list[Json]:
        from workers.runner import run_jobs
        from workers.tasks import STEPS

        rollouts = [request.inputs for request in requests if isinstance(request.inputs, RolloutInputs)]
        if rollouts:
            _still_the_same(record, rollouts)
        results = run_jobs(requests, STEPS, context)
        failed = [trial for result in results for trial in result.get("failed", ()) if trial["policy"] == name]
        if failed and not _acted(context, rollouts, inputs.policy):
            raise InvalidInput(f"{name} could not be evaluated: {failed[0]['reason']}")
        return results

    ranking = evaluate(context, plan, run)
    return {"evaluation": ranking["evaluation"], "policy": name, **found}


def intact(inputs: SubmitPolicyInputs, context: Context) -> bool:
    """Every trial of the policy was run: one that failed, as a server may have been away, is worth another try."""
    record = context.store.results.evaluation(inputs.evaluation)
    name = context.workshop.policy(inputs.policy).card.name
    done = {
        rollout.scene_id
        for evaluation in context.store.results.evaluations()
        for rollout in context.store.results.rollouts(evaluation.id)
        if evaluation.config.get("scenes") == record.config.get("scenes")
        and (rollout.policy, rollout.provenance.policy) == (name, inputs.policy_sha256)
    }
    return done >= set(record.config.get("scenes") or ())


def _still_the_same(record: EvaluationRecord, batches: Sequence[RolloutInputs]) -> None:
    """What would be rolled out must be what the evaluation was made with: else the others would act anew elsewhere."""
    config = record.config
    now = {(batch.policy, batch.policy_sha256) for batch in batches}
    changes = {
        "the world": {batch.world_sha256 for batch in batches} == {config["world"]["sha256"]},
        "the scenes": {trial.scene_id for batch in batches for trial in batch.trials} == set(config["scenes"]),
        "a policy": {tuple(policy) for policy in config["policies"]} <= now,
    }
    for what, same in changes.items():
        if not same:
            raise InvalidInput(
                f"{what} of evaluation {record.id} has changed since: run `dreamarena evaluate` with all policies"
            )


def _acted(context: Context, batches: Sequence[RolloutInputs], policy: str) -> bool:
    ids = [trial.rollout_id for batch in batches if batch.policy == policy for trial in batch.trials]
    return bool(context.store.results.known_rollouts(ids))


def preflight(policy: str, context: Context, plan: EvaluationPlan) -> Json:
    """What is known before anything is rolled out: a server is called a few times, and in three scenes of `plan`.

    Another policy's card is read. Raises `InvalidInput` where that already shows that it cannot be evaluated.
    """
    card = context.workshop.policy(policy).card
    if policy.partition(":")[0] not in SERVERS:
        return {"notes": [], "probe": None}
    from arena.policies.preflight import probe
    from arena.policies.server import Access
    from workers.orchestrate import first_scenes

    scenes = first_scenes(context, plan, SCENES)
    kinematics = context.workshop.kinematics(scenes[0].robot)
    access = Access(allow_private=context.settings.private_policies is not False)
    report = probe(policy, card.action_space, PROBES, access, scenes, kinematics, context.progress)
    if not report.ok:
        raise InvalidInput(f"{card.name} cannot be evaluated: {'; '.join(report.problems)}")
    return {"notes": [*(mistake.says for mistake in report.mistakes), *report.notes], "probe": report.to_json()}


STEP = Step("submit_policy", SubmitPolicyInputs, submit_policy, intact, needs=Queue.GPU)
