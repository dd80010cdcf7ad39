"""The step `rollout`: a batch of scenes for one policy in one world, each stored as soon as it is through."""

from __future__ import annotations

from arena.contracts import InvalidInput, Rollout, Scene
from arena.policies.errors import worth_another_try
from arena.policies.specs import PolicyFactory
from arena.rollout import FailedRollout
from workers.batches import Planned, run_trials
from workers.evaluation import RolloutInputs, Trial, scene_for
from workers.jobs import Context, Incomplete, Json, Queue, Step
from workers.rollouts import rollout_reference, save_rollout


def rollout(inputs: RolloutInputs, context: Context) -> Json:
    """Run the trials that are not stored yet. A trial that its policy broke off is reported, and missing.

    Raises `Incomplete` where a server was away: what it did not finish is run later.
    """
    missing = [trial for trial in inputs.trials if not _stored(trial, context)]
    broken_off = _run(inputs, missing, context) if missing else []
    failed: list[Json] = [
        {"scene": each.scene_id, "policy": each.policy, "reason": str(each.error)} for each in broken_off
    ]
    result = {"rollouts": [trial.rollout_id for trial in inputs.trials], "ran": len(missing), "failed": failed}
    away = [each for each in broken_off if worth_another_try(each.error)]
    if away:
        trials = "1 trial is" if len(away) == 1 else f"{len(away)} trials are"
        raise Incomplete(result, f"{trials} missing: {away[0].error}")
    return result


def intact(inputs: RolloutInputs, context: Context) -> bool:
    """A batch in which a trial failed is tried again when it is asked for again."""
    return all(_stored(trial, context) for trial in inputs.trials)


def _stored(trial: Trial, context: Context) -> bool:
    known = context.store.results.known_rollouts([trial.rollout_id])
    return bool(known) and context.artifacts.has(rollout_reference(trial.rollout_id))


def _run(inputs: RolloutInputs, trials: list[Trial], context: Context) -> list[FailedRollout]:
    """Run trials and keep what came of them; returns those that their policy broke off."""
    world = context.workshop.world(inputs.world.name, inputs.world.sampler_steps, inputs.world.guidance)
    if world.card.sha256 != inputs.world_sha256:
        raise InvalidInput(f"world {inputs.world.name} has changed since this evaluation was planned: start it again")
    scenes = _scenes(inputs, trials, context)
    policy = _policy(inputs, context)
    planned = [Planned(scene, trial.seed, policy.create) for scene, trial in zip(scenes, trials, strict=True)]
    config, failed = inputs.world.config_sha256, []
    for outcome in run_trials(world, planned, inputs.steps, context, config_sha256=config, progress=context.progress):
        if isinstance(outcome, Rollout):
            context.store.results.add_rollout(outcome, save_rollout(context.artifacts, outcome))
        else:
            failed.append(outcome)
    return failed


def _scenes(inputs: RolloutInputs, trials: list[Trial], context: Context) -> list[Scene]:
    """The scenes of the trials, cut again, because a message carries no images."""
    card = context.workshop.world(inputs.world.name, inputs.world.sampler_steps, inputs.world.guidance).card
    episodes = {episode.id: episode for episode in inputs.dataset.episodes(context)}
    scenes = []
    for trial in trials:
        episode = episodes.get(trial.episode_id)
        scene = None
        if episode is not None and trial.start < len(episode) - 1:
            scene = scene_for(episode, trial.start, card)
        if scene is None or scene.id != trial.scene_id:
            raise InvalidInput(f"{inputs.dataset.path} no longer holds {trial.scene_id}: start the evaluation again")
        scenes.append(scene)
    return scenes


def _policy(inputs: RolloutInputs, context: Context) -> PolicyFactory:
    factory = context.workshop.policy(inputs.policy)
    if factory.card.sha256 != inputs.policy_sha256:
        raise InvalidInput(f"policy {inputs.policy} has changed since this evaluation was planned: start it again")
    return factory


STEP = Step("rollout", RolloutInputs, rollout, intact, needs=Queue.GPU)
