"""The step `imagine`: attempts at training data, rolled out as they were planned, judged, and stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np

from arena.contracts import (
    FloatArray,
    InvalidInput,
    Judge,
    PolicyCard,
    Rollout,
    Scene,
    Verdict,
    World,
    WorldCard,
)
from arena.judges.card import threshold_of
from arena.policies.specs import PolicyFactory
from arena.rollout import FailedRollout, rollout_id, scene_sha256
from arena.synthesis.diversity import Variation, VariedPolicy
from arena.synthesis.export.run import NO_ROOM
from arena.synthesis.guided import Motions, motions_of
from arena.synthesis.plan import ROLLOUT, TWIN
from arena.synthesis.starts import scene_from_rollout, told
from workers.batches import Planned, run_trials
from workers.content import content_address
from workers.evaluation import scene_for
from workers.jobs import Context, Json, Queue, Request, Step
from workers.judging import ledger_kept, make_judge
from workers.rollouts import load_rollout, rollout_reference, save_rollout
from workers.synthesis_specs import AttemptSpec, ImagineInputs, JudgedAttempt
from workers.synthesis_twins import twin_scene

SURE = 0.9
"""A trial is taken to be done in the first frame that looks so much like success as its best one, as a share."""


def imagine(inputs: ImagineInputs, context: Context) -> Json:
    """Roll the attempts out in one batch, and judge them. Returns a `JudgedAttempt` for each, in order."""
    with _room_named():
        outcomes = _rolled_out(inputs, context)
    judge = make_judge(inputs.judge, inputs.world, context)
    found: list[Json] = []
    with ledger_kept(judge, context, "synth"):
        for spec, (outcome, scene) in zip(inputs.attempts, outcomes, strict=True):
            found.append(_judged(spec, outcome, scene, judge, context).model_dump(mode="json"))
            context.progress(len(found), len(outcomes), "judging")
    return {"attempts": found}


def intact(inputs: ImagineInputs, context: Context) -> bool:
    """Whether every rollout that the finished job named is still there."""
    result = context.store.jobs.get(Request("imagine", inputs).key).result or {}
    ids = [judged["rollout"] for judged in result.get("attempts", [])]
    return all(id is None or context.artifacts.has(rollout_reference(id)) for id in ids)


def _rolled_out(inputs: ImagineInputs, context: Context) -> list[tuple[Rollout | FailedRollout, Scene]]:
    """Every attempt's outcome and its scene. What is stored is not run again: other labels need no other rollouts."""
    world = context.workshop.world(inputs.world.name, inputs.world.sampler_steps, inputs.world.guidance)
    factory = context.workshop.policy(inputs.policy)
    for what, card, planned in (
        (f"world {inputs.world.name}", world.card.sha256, inputs.world_sha256),
        (f"policy {inputs.policy}", factory.card.sha256, inputs.policy_sha256),
    ):
        if card != planned:
            raise InvalidInput(f"{what} has changed since this was planned: start it again")
    scenes = _scenes(inputs, world, context)
    config = _config(inputs)
    ids = [
        rollout_id(factory.card, world.card, scene.id, spec.seed, steps=inputs.steps, config_sha256=config)
        for scene, spec in zip(scenes, inputs.attempts, strict=True)
    ]
    outcomes: dict[int, Rollout | FailedRollout] = {
        index: load_rollout(context.artifacts, rollout_reference(id))
        for index, id in enumerate(ids)
        if context.store.results.known_rollouts([id]) and context.artifacts.has(rollout_reference(id))
    }
    missing = [index for index in range(len(ids)) if index not in outcomes]
    if missing:
        _register(world.card, factory.card, [scenes[index] for index in missing], context)
        fresh = _run(inputs, world, factory, [(scenes[i], inputs.attempts[i]) for i in missing], config, context)
        outcomes |= dict(zip(missing, fresh, strict=True))
    return [(outcomes[index], scene) for index, scene in enumerate(scenes)]


def _register(world: WorldCard, policy: PolicyCard, scenes: Sequence[Scene], context: Context) -> None:
    context.store.catalog.add_world(world)
    context.store.catalog.add_policy(policy)
    for scene in scenes:
        context.store.catalog.add_scene(scene, scene_sha256(scene))


def _run(
    inputs: ImagineInputs, world: World, factory: PolicyFactory, trials: Sequence[tuple[Scene, AttemptSpec]],
    config: str, context: Context,
) -> list[Rollout | FailedRollout]:  # fmt: skip
    """One batch, each rollout stored, and as it will be read again: judges see the same frames whenever they look."""
    motions = _motions(inputs, factory, context)
    planned = [
        Planned(scene, spec.seed, partial(_varied, factory, spec.attempt.variation, motions)) for scene, spec in trials
    ]
    outcomes = run_trials(world, planned, inputs.steps, context, config_sha256=config, progress=context.progress)
    return [_stored(outcome, context) for outcome in outcomes]


def _varied(factory: PolicyFactory, variation: Variation, motions: Motions | None) -> VariedPolicy:
    return VariedPolicy(factory.create(), variation, motions)


def _stored(outcome: Rollout | FailedRollout, context: Context) -> Rollout | FailedRollout:
    if isinstance(outcome, FailedRollout):
        return outcome
    ref = save_rollout(context.artifacts, outcome)
    context.store.results.add_rollout(outcome, ref)
    return load_rollout(context.artifacts, ref)


def _motions(inputs: ImagineInputs, factory: PolicyFactory, context: Context) -> Motions | None:
    """The recorded motions that guided attempts stay near; None where there is no such attempt."""
    if all(spec.weight is None for spec in inputs.attempts):
        return None
    card = factory.card
    return motions_of(inputs.dataset.episodes(context), card.control_hz, card.chunk_length)


def _config(inputs: ImagineInputs) -> str:
    """Of what shapes a rollout besides policy, world, scene, seed and length. One batch has one."""
    varied = sorted({(spec.noise, spec.chunk or 0) for spec in inputs.attempts})
    weights = sorted({-1.0 if spec.weight is None else spec.weight for spec in inputs.attempts})
    # Guided attempts depend on what was recorded.
    guided = [] if weights == [-1.0] else [weights, inputs.dataset.fingerprint]
    return content_address([inputs.world.config_sha256, varied, *guided])


def _scenes(inputs: ImagineInputs, world: World, context: Context) -> list[Scene]:
    card = world.card
    episodes = {episode.id: episode for episode in inputs.dataset.episodes(context)}
    scenes = []
    for spec in inputs.attempts:
        if spec.source == TWIN:
            scene = twin_scene(world, spec.id)
        elif spec.source == ROLLOUT:
            before = load_rollout(context.artifacts, rollout_reference(spec.id))
            scene = scene_from_rollout(before, spec.frame, robot=next(iter(episodes.values())).robot)
        elif spec.id in episodes and 0 <= spec.frame < len(episodes[spec.id]) - 1:
            scene = scene_for(episodes[spec.id], spec.frame, card)
        else:
            raise InvalidInput(f"{inputs.dataset.path} no longer holds frame {spec.frame} of {spec.id}: start it again")
        scenes.append(told(scene, spec.told))
    return scenes


def _judged(
    spec: AttemptSpec, outcome: Rollout | FailedRollout, scene: Scene, judge: Judge, context: Context
) -> JudgedAttempt:
    if isinstance(outcome, FailedRollout):
        return JudgedAttempt(attempt=spec, rollout=None, robot=scene.robot, reason=str(outcome.error))
    # The judge is asked about the words that it knows; the policy may have been told others.
    shown = replace(outcome, instruction=spec.instruction)
    verdict = judge.judge(shown)
    context.store.results.add_verdict(verdict)
    apart, done = _reading(judge, shown, verdict)
    joints = scene.observation.joint_position
    return JudgedAttempt(
        attempt=spec, rollout=outcome.id, robot=scene.robot, judge_sha256=judge.sha256,
        probability=None if verdict.abstained else verdict.success_probability, threshold=threshold_of(judge),
        apart=apart, done=done, joints=None if joints is None else tuple(map(float, joints)), reason=verdict.reason,
    )  # fmt: skip


def _reading(judge: Judge, rollout: Rollout, verdict: Verdict) -> tuple[float | None, int | None]:
    """How far the pictures are from the states, as a share of what is usual at most, and in which frame it was done.

    Only a learned judge can tell; of what it abstained from it says nothing.
    """
    from arena.learned.judging.films import film_of_rollout
    from arena.learned.judging.judge import LearnedJudge, read_film

    if not isinstance(judge, LearnedJudge) or verdict.abstained:
        return None, None
    fitted = judge.fitted
    reading = read_film(fitted, film_of_rollout(rollout, fitted.config))
    limits = ((reading.apart, fitted.apart_limit), (reading.grip, fitted.grip_limit))
    shares = [value / limit for value, limit in limits if value is not None and np.isfinite(limit)]
    return (max(shares) if shares else None), done_frame(reading.success)


def done_frame(success: FloatArray) -> int:
    """`(T,)` log-odds of being done to the first frame that is as good as the best one."""
    likely = 1.0 / (1.0 + np.exp(-np.asarray(success, dtype=np.float64)))
    return int(np.argmax(likely >= SURE * likely.max()))


@contextmanager
def _room_named() -> Iterator[None]:
    """A full disk is the user's to mend: it becomes one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise InvalidInput(f"there is no room left for rollouts ({error}): make room and run the same again") from error


STEP = Step("imagine", ImagineInputs, imagine, intact, needs=Queue.GPU)
