"""The rollout loop: a batch of scenes, one policy in each, acting in a world."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from arena.actions import ActionBuffer
from arena.contracts import (
    ActionChunk,
    DreamarenaError,
    FloatArray,
    Frames,
    InvalidInput,
    Kinematics,
    Observation,
    Policy,
    PolicyCard,
    PolicyGroup,
    Provenance,
    Rollout,
    Scene,
    World,
    WorldCard,
    WorldStep,
)

Progress = Callable[[int, int, str], None]


class PolicyFailure(DreamarenaError):
    """A policy did not give an action. Says which one, where and when; the cause is chained."""


@dataclass(frozen=True)
class FailedRollout:
    """A trial that its policy broke off. It is missing, not a failure of the task."""

    id: str
    policy: str
    scene_id: str
    seed: int
    step: int
    error: PolicyFailure


def run_rollouts(
    world: World,
    policies: Sequence[Policy],
    scenes: Sequence[Scene],
    seeds: Sequence[int],
    *,
    steps: int,
    kinematics: Kinematics | None = None,
    config_sha256: str = "",
    code: str = "",
    progress: Progress | None = None,
) -> list[Rollout | FailedRollout]:
    """Run `policies[i]` in `scenes[i]` with `seeds[i]` for `steps` actions at the world's rate, all as one batch.

    One outcome per scene, in order. A policy that raises a `DreamarenaError` ends its own trial only:
    its robot holds still and the others go on. The caller closes world and policies. Raises `InvalidInput`
    for batches of unequal length or no steps; errors of the world end the whole batch.

    All scenes are stepped by the same number of actions, the fewest that any policy answers at a time:
    policies whose chunks last unequally long are better run in batches of their own.
    """
    card = world.card
    trials = _trials(card, policies, scenes, seeds, steps, kinematics)
    for trial, first in zip(trials, world.start(scenes, seeds), strict=True):
        trial.begin(first)
    # No chunk may outlast what a policy answers at a time, or its next answer would be to stale images.
    per_step = min(card.frames_per_step, *(trial.actions.frames_per_answer for trial in trials))
    seconds: list[float] = []
    done = 0
    while done < steps and any(trial.error is None for trial in trials):
        count = min(per_step, steps - done)
        _ask_together(trials)
        chunks = [trial.next_chunk(card, count, done) for trial in trials]
        began = time.perf_counter()
        results = world.step(chunks)
        seconds.append(time.perf_counter() - began)
        for trial, chunk, result in zip(trials, chunks, results, strict=True):
            trial.record(chunk, result)
        done += count
        if progress is not None:
            progress(done, steps, "rollout")
    return [trial.outcome(card, steps, tuple(seconds), config_sha256, code) for trial in trials]


def _ask_together(trials: Sequence[_Trial]) -> None:
    """Have policies that can be asked in one request asked so, where they are about to be asked."""
    asked: dict[int, list[tuple[Policy, Observation]]] = {}
    groups: dict[int, PolicyGroup] = {}
    for trial in trials:
        group: PolicyGroup | None = getattr(trial.policy, "group", None)
        ahead = None if trial.error is not None or trial.observation is None else trial.actions.ahead(trial.observation)
        if group is not None and ahead is not None:
            groups[id(group)] = group
            asked.setdefault(id(group), []).append((trial.policy, ahead))
    for key, members in asked.items():
        if len(members) > 1:
            groups[key].foresee(members)


@dataclass
class _Trial:
    """One scene of the batch, and what has happened in it so far."""

    policy: Policy
    scene: Scene
    seed: int
    actions: ActionBuffer
    observation: Observation | None = None
    frames: list[Mapping[str, Frames]] = field(default_factory=list)
    state: list[FloatArray] = field(default_factory=list)
    action: list[ActionChunk] = field(default_factory=list)
    success: bool | None = None
    step: int = 0
    error: PolicyFailure | None = None

    def begin(self, first: Observation) -> None:
        self.observation = first
        self.frames.append({name: frame[None] for name, frame in first.cameras.items()})
        self.state.append(first.state[None])
        try:
            self.policy.reset(self.scene, self.seed)
        except DreamarenaError as error:
            self._fail(error, step=0)

    def next_chunk(self, card: WorldCard, count: int, step: int) -> ActionChunk:
        """`count` actions of the policy, or of a robot that holds still once its policy has failed."""
        assert self.observation is not None, "begin comes first"
        if self.error is None:
            try:
                return self.actions.next(self.observation, count)
            except DreamarenaError as error:
                self._fail(error, step)
        return _hold(self.observation, card, count)

    def record(self, chunk: ActionChunk, result: WorldStep) -> None:
        self.observation = result.observation
        if self.error is not None:
            return
        self.frames.append(result.frames)
        self.state.append(result.state)
        self.action.append(chunk)
        if result.success is not None:
            # Reached once is reached: a robot that goes on moving afterwards has still done its task.
            self.success = bool(self.success) or result.success

    def outcome(
        self, card: WorldCard, steps: int, seconds: tuple[float, ...], config_sha256: str, code: str
    ) -> Rollout | FailedRollout:
        policy = self.policy.card
        identity = rollout_id(policy, card, self.scene.id, self.seed, steps=steps, config_sha256=config_sha256)
        if self.error is not None:
            return FailedRollout(identity, policy.name, self.scene.id, self.seed, self.step, self.error)
        decoded = self.frames[-1]
        return Rollout(
            id=identity,
            policy=policy.name,
            world=card.name,
            scene_id=self.scene.id,
            task=self.scene.task,
            instruction=self.scene.instruction,
            seed=self.seed,
            fps=card.fps,
            frames={name: np.concatenate([part[name] for part in self.frames]) for name in decoded},
            state=np.concatenate(self.state),
            action=ActionChunk(np.concatenate([c.values for c in self.action]), card.action_space, card.fps),
            step_seconds=seconds,
            provenance=Provenance(policy.sha256, card.sha256, scene_sha256(self.scene), config_sha256, code),
            success=self.success,
        )

    def _fail(self, error: DreamarenaError, step: int) -> None:
        self.step = step
        self.error = PolicyFailure(f"{self.policy.card.name} failed in scene {self.scene.id} at step {step}: {error}")
        self.error.__cause__ = error


def _hold(observation: Observation, card: WorldCard, count: int) -> ActionChunk:
    """`count` Cartesian actions with which the robot stays where it is."""
    return ActionChunk(np.tile(observation.state, (count, 1)), card.action_space, card.fps)


def rollout_id(
    policy: PolicyCard, world: WorldCard, scene_id: str, seed: int, *, steps: int, config_sha256: str = ""
) -> str:
    """Content address of a trial, known before it runs: a finished one is found by it and not run again."""
    parts = [policy.sha256, world.sha256, scene_id, seed, steps, config_sha256]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def scene_sha256(scene: Scene) -> str:
    """Content hash of how a trial begins: images, states, instruction and the recorded actions."""
    digest = hashlib.sha256(json.dumps([scene.instruction, scene.fps, scene.robot, scene.reset_seed]).encode())
    first = scene.observation
    arrays: dict[str, FloatArray | Frames | None] = {
        "state": first.state,
        "joint_position": first.joint_position,
        "history_state": scene.history_state,
        "recorded": None if scene.recorded is None else scene.recorded.values,
        **{f"camera {name}": frame for name, frame in first.cameras.items()},
        **{f"history {name}": frames for name, frames in scene.history.items()},
    }
    for name in sorted(arrays):
        array = arrays[name]
        if array is not None:
            digest.update(f"{name} {array.shape} {array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def code_version() -> str:
    """The package's version, with the commit (and `dirty`) where it runs from a git checkout of its own."""
    version = importlib.metadata.version("dreamarena")
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return version
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=-dirty", "--abbrev=40", "--exclude=*"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        # A checkout without a working git (an image, another owner): the version is what is known.
        return version
    return f"{version}+{commit}"


def _trials(
    card: WorldCard,
    policies: Sequence[Policy],
    scenes: Sequence[Scene],
    seeds: Sequence[int],
    steps: int,
    kinematics: Kinematics | None,
) -> list[_Trial]:
    if not len(policies) == len(scenes) == len(seeds) or not scenes:
        raise InvalidInput(
            f"a batch needs one policy and one seed per scene: "
            f"{len(policies)} policies, {len(scenes)} scenes, {len(seeds)} seeds"
        )
    if steps < 1:
        raise InvalidInput(f"a rollout needs at least one step, not {steps}")
    if len({id(policy) for policy in policies}) < len(policies):
        raise InvalidInput("each scene of a batch needs a policy object of its own: they remember their trial")
    return [
        _Trial(policy, scene, seed, ActionBuffer(policy, card, kinematics))
        for policy, scene, seed in zip(policies, scenes, seeds, strict=True)
    ]
