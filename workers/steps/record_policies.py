"""The step `record_policies`: what policies do in the stand-in reality, as a labelled LeRobot v3.0 dataset.

Failures of learned policies look like successes until the last centimetre; no script fails like that.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arena.contracts import ActionChunk, ActionSpace, Episode, Observation, Policy, Rollout, Scene, World, WorldStep
from arena.rollout import run_rollouts
from arena.scenes import scene_from_episode
from workers.evaluation import Dataset, scene_seed
from workers.jobs import Context, Inputs, Json, Queue, Step
from workers.registry import STAND_IN
from workers.settings import SAMPLER_STEPS

if TYPE_CHECKING:
    from arena.episodes.lerobot_writer import LeRobotWriter
    from arena.policies.specs import PolicyFactory

KIND = "policy"
SETTLED = 3
"""Frames that are kept after the chunk in which a trial succeeded."""


class RecordPoliciesInputs(Inputs):
    """Policies take turns in the episodes of `dataset`, at most `each` of each task, and act for `steps` actions."""

    policies: tuple[str, ...]
    policy_sha256: tuple[str, ...]
    dataset: Dataset
    each: int
    steps: int
    out: str
    seed: int


def record_policies(inputs: RecordPoliciesInputs, context: Context) -> Json:
    """Record what is not yet in `out`. A trial's states, commands, pictures and outcome become one episode."""
    from arena.episodes.lerobot_writer import LeRobotWriter
    from real2sim.reality.cameras import CAMERAS
    from real2sim.reality.metaworld import SIZE
    from real2sim.reality.simulator import FPS, ROBOT

    writer = LeRobotWriter(
        Path(inputs.out), fps=FPS, cameras=dict.fromkeys(CAMERAS, SIZE), robot=ROBOT,
        action_space=ActionSpace.CARTESIAN_POSITION,
    )  # fmt: skip
    beginnings = _beginnings(inputs, context)
    done = writer.episode_ids
    for count, (name, episode, policy) in enumerate(beginnings, start=1):
        if name not in done:
            _write(writer, name, episode, *_trial(inputs, context, episode, policy.create()))
        context.progress(count, len(beginnings), "recording policies")
    writer.finish()
    return {"dataset": inputs.out, "episodes": len(beginnings)}


def _beginnings(inputs: RecordPoliciesInputs, context: Context) -> list[tuple[str, Episode, PolicyFactory]]:
    """The new episode's id, the recorded one whose start it shares, and the policy whose turn it is."""
    episodes = sorted(inputs.dataset.episodes(context), key=lambda episode: episode.id)
    chosen = [
        episode
        for task in sorted({episode.task for episode in episodes})
        for episode in [each for each in episodes if each.task == task][: inputs.each]
    ]
    policies = [context.workshop.policy(spec) for spec in inputs.policies]
    turns = islice(cycle(policies), len(chosen))
    return [(f"{e.id}-by-{policy.card.name}", e, policy) for e, policy in zip(chosen, turns, strict=True)]


def _trial(inputs: RecordPoliciesInputs, context: Context, episode: Episode, policy: Policy) -> tuple[Rollout, int]:
    """A trial, and how many of its frames to keep: a success ends soon after it was reached, as in other recordings."""
    world = _Watched(context.workshop.world(STAND_IN, SAMPLER_STEPS, 1.0))
    scene = scene_from_episode(episode, fps=world.card.fps)
    [outcome] = run_rollouts(world, [policy], [scene], [scene_seed(inputs.seed, scene)], steps=inputs.steps)
    policy.close()
    if not isinstance(outcome, Rollout):
        raise outcome.error
    return outcome, len(outcome.state) if world.done_at is None else min(world.done_at + SETTLED, len(outcome.state))


class _Watched:
    """A world, and how many frames there were (the first included) when its one trial had succeeded."""

    def __init__(self, world: World) -> None:
        self._world, self.card = world, world.card
        self._frames = 1
        self.done_at: int | None = None

    def start(self, scenes: Sequence[Scene], seeds: Sequence[int]) -> list[Observation]:
        return self._world.start(scenes, seeds)

    def step(self, chunks: Sequence[ActionChunk]) -> list[WorldStep]:
        steps = self._world.step(chunks)
        self._frames += len(chunks[0])
        if steps[0].success and self.done_at is None:
            self.done_at = self._frames
        return steps

    def close(self) -> None:
        """The workshop's to close."""


def _write(writer: LeRobotWriter, name: str, episode: Episode, trial: Rollout, frames: int) -> None:
    action = np.concatenate([trial.action.values, trial.action.values[-1:]])[:frames]
    writer.add_episode(
        id=name,
        frames={camera: video[:frames] for camera, video in trial.frames.items()},
        cartesian_position=trial.state[:frames, :6],
        gripper_position=trial.state[:frames, 6:],
        joint_position=None,
        action=action,
        instruction=trial.instruction,
        success=bool(trial.success),
        task=trial.task,
        metadata={"kind": KIND, "policy": trial.policy, "reset_seed": episode.metadata.get("reset_seed")},
    )


def intact(inputs: RecordPoliciesInputs, context: Context) -> bool:
    """`info.json` is written last."""
    return (Path(inputs.out) / "meta" / "info.json").is_file()


STEP = Step("record_policies", RecordPoliciesInputs, record_policies, intact, needs=Queue.GPU)
