"""An evaluation from its plan to its ranking: which steps there are, and in what order.

The steps are jobs; this part only submits them and waits, so it can be stopped and started again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from arena.contracts import Episode, InvalidInput, Scene
from arena.scenes import beginnings, choose_episodes
from workers.content import content_address
from workers.evaluation import Dataset, RolloutInputs, WorldSpec, plan_rollouts, scene_for
from workers.jobs import Context, Json, Request
from workers.judge_specs import (
    DEMONSTRATIONS,
    LEARNED,
    TRUTH,
    JudgeSpec,
    judge_spec,
    members_of,
    shipped_judge_covers,
)
from workers.plans import EvaluationPlan
from workers.registry import STAND_IN
from workers.steps.judge import JudgeInputs
from workers.steps.rank import RankInputs

RunJobs = Callable[[Sequence[Request]], list[Json]]
"""Has jobs done, here or by workers, and returns their results in order."""

ID_LETTERS = 16


def first_scenes(context: Context, plan: EvaluationPlan, count: int) -> list[Scene]:
    """Up to `count` of the scenes of an evaluation, at its world's rate. Raises `InvalidInput` as `evaluate` does."""
    world = _world(plan)
    card = context.workshop.world(world.name, world.sampler_steps, world.guidance).card
    begun = _begun(context, plan, Dataset.at(plan.episodes, plan.layout, plan.keep))
    return [scene_for(episode, start, card) for episode, start in begun[:count]]


def _begun(context: Context, plan: EvaluationPlan, dataset: Dataset) -> list[tuple[Episode, int]]:
    return beginnings(choose_episodes(dataset.episodes(context)), plan.beginnings)[: plan.scenes]


def evaluate(context: Context, plan: EvaluationPlan, run: RunJobs) -> Json:
    """Roll out, judge and rank; what is stored already is not done again. Returns the ranking as JSON.

    Raises `InvalidInput` where nothing came of any trial.
    """
    world = _world(plan)
    dataset = Dataset.at(plan.episodes, plan.layout, plan.keep)
    if not plan.policies:
        raise InvalidInput("an evaluation needs at least one policy, e.g. --policies replay hold noise")
    shown = dataset if plan.demonstrations is None else Dataset.at(plan.demonstrations)
    knows = context.workshop.world(world.name, world.sampler_steps, world.guidance).card.knows_success
    if plan.scenes is not None and plan.scenes < 1:
        raise InvalidInput(f"an evaluation needs at least one scene, not {plan.scenes}")
    begun = _begun(context, plan, dataset)
    judge = _judge(plan, knows, shown, [episode for episode, _ in begun])
    batches = plan_rollouts(context, world, plan.policies, dataset, begun, plan.steps, plan.seed, plan.batch)
    evaluation = _open(context, plan, batches, judge)

    outcomes = run([Request("rollout", batch) for batch in batches])
    rollouts = context.store.results.known_rollouts([t.rollout_id for batch in batches for t in batch.trials])
    if not rollouts:
        raise InvalidInput(f"no trial could be run: {outcomes[0]['failed'][0]['reason']}")
    ids = tuple(trial.rollout_id for batch in batches for trial in batch.trials if trial.rollout_id in rollouts)
    context.store.results.link_rollouts(evaluation, ids)

    [judged] = run([Request("judge", JudgeInputs(judge=judge, world=world, rollouts=ids))])
    ranked = RankInputs(
        evaluation=evaluation,
        rollouts=ids,
        judge=judged["judge"],
        judge_sha256=judged["judge_sha256"],
        judge_card=judged["card"],
        threshold=float(judged["card"]["threshold"]) if judged["card"] else 0.5,
        failed=tuple((trial["policy"], trial["reason"]) for outcome in outcomes for trial in outcome["failed"]),
    )
    [ranking] = run([Request("rank", ranked)])
    # What this run cost is no part of the result that is stored: a ranking that is looked up again costs nothing.
    return {**ranking, "judge": {**ranking["judge"], "spent": judged["spent"]}} if judged.get("spent") else ranking


def _open(context: Context, plan: EvaluationPlan, batches: Sequence[RolloutInputs], judge: JudgeSpec) -> str:
    """Register the evaluation under the content address of everything that decides its outcome."""
    config = {
        "world": {"name": Path(plan.world).name, "sha256": batches[0].world_sha256, **batches[0].world.model_dump()},
        "policies": sorted({(batch.policy, batch.policy_sha256) for batch in batches}),
        "scenes": sorted({trial.scene_id for batch in batches for trial in batch.trials}),
        "steps": plan.steps,
        "judge": judge.model_dump(mode="json"),
    }
    sha256 = content_address([config, plan.seed])
    # How it was asked for is kept too, so that another policy can be asked for alike; it decides nothing by itself.
    context.store.results.open_evaluation(sha256[:ID_LETTERS], config | {"plan": plan.to_json()}, sha256, plan.seed)
    return sha256[:ID_LETTERS]


def _world(plan: EvaluationPlan) -> WorldSpec:
    """The world that a plan names. The stand-in reality has no sampler: whatever is asked, its trials are the same."""
    if plan.world == STAND_IN:
        return WorldSpec(name=STAND_IN, sampler_steps=1, guidance=1.0)
    return WorldSpec(name=_world_name(plan.world), sampler_steps=plan.sampler_steps, guidance=plan.guidance)


def _world_name(world: str) -> str:
    """Checkpoints by absolute path, because a worker may run elsewhere in the same file system."""
    return str(Path(world).resolve()) if Path(world).exists() else world


def _judge(plan: EvaluationPlan, knows: bool, dataset: Dataset, begun: Sequence[Episode]) -> JudgeSpec:
    """The judge that is asked for, or that fits the world (which `knows` success or not) and what its scenes want."""
    asked = plan.judge
    if asked == "auto":
        asked = TRUTH if knows else LEARNED if shipped_judge_covers(begun) else DEMONSTRATIONS
    if asked == TRUTH and not knows:
        raise InvalidInput(f"world {plan.world} does not know whether a trial succeeded: use --judge auto")
    spec = judge_spec(asked, dataset, plan.seed, plan.labelled)
    if knows and DEMONSTRATIONS in (spec.name, *members_of(spec.name)):
        raise InvalidInput("the judge by demonstrations looks at a world model's latents: use --judge truth here")
    return spec
