"""Recording the stand-in robot: scripted experts, and failures of several kinds, as robot episodes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from arena.contracts import FloatArray, Frames, InvalidInput
from real2sim.reality.experts import Driver, driver
from real2sim.reality.simulator import CONTROL_STEPS, CameraRig, Simulation
from real2sim.reality.tasks import check_task, instruction

KINDS: Mapping[str, float] = MappingProxyType(
    {"expert": 60, "noisy": 25, "wrong_goal": 20, "early_stop": 10, "random": 15}
)
"""What a recording is made of: weights of the kinds of driver."""
MAX_FRAMES = 40
"""Longest episode: 2 s. The experts need about one."""


@dataclass(frozen=True)
class EpisodePlan:
    """One episode to be recorded. Everything in it follows from the recording's seed, the task and the index."""

    id: str
    task: str
    kind: str
    index: int
    seed: int
    """Of the driver's randomness, and of the placement: the trial's `reset_seed`."""


@dataclass(frozen=True)
class RecordedEpisode:
    """A recorded trial of `T` frames at 20 Hz, in the units and frames of reference of `arena.contracts`.

    `frames` maps each camera to `(T, H, W, 3)`; `state` is `(T, 7)`, `joint_position` `(T, 7)`. Row `t` of `action`
    `(T, 7)` is the target that was reached between frames `t` and `t + 1`; the last row commands to stay.
    """

    id: str
    task: str
    kind: str
    instruction: str
    reset_seed: int
    success: bool
    frames: Mapping[str, Frames]
    state: FloatArray
    joint_position: FloatArray
    action: FloatArray
    metadata: Mapping[str, Any] = field(default_factory=dict)


def plan(
    tasks: Sequence[str], episodes_per_task: int, seed: int, kinds: Mapping[str, float] = KINDS
) -> list[EpisodePlan]:
    """What a recording will hold, `episodes_per_task` of each task, shared among `kinds` by largest remainder.

    Raises `InvalidInput` for unknown tasks or kinds.
    """
    if episodes_per_task < 1:
        raise InvalidInput(f"episodes per task must be at least 1, not {episodes_per_task}")
    counts = _counts(kinds, episodes_per_task)
    plans = []
    for task in tasks:
        names = [kind for kind, count in counts.items() for _ in range(count)]
        plans += [_planned(check_task(task), kind, index, seed) for index, kind in enumerate(names)]
    return plans


def episodes(
    plans: Sequence[EpisodePlan],
    height: int = 64,
    width: int = 96,
    max_frames: int = MAX_FRAMES,
    done: Collection[str] = (),
) -> Iterator[RecordedEpisode]:
    """Record the planned episodes in order, leaving out those whose ids are in `done`."""
    stages: dict[str, tuple[Simulation, CameraRig]] = {}
    try:
        for planned in plans:
            if planned.id in done:
                continue
            if planned.task not in stages:
                simulation = Simulation(planned.task)
                stages[planned.task] = (simulation, CameraRig(simulation.model, height, width))
            yield _record(planned, *stages[planned.task], max_frames)
    finally:
        for _, rig in stages.values():
            rig.close()


def _record(planned: EpisodePlan, simulation: Simulation, rig: CameraRig, max_frames: int) -> RecordedEpisode:
    rng = np.random.default_rng(planned.seed)
    acting = driver(planned.kind, planned.task, rng)
    tail = int(rng.integers(6, 13))
    # A failure that always ran to the limit would be told from a success by its length.
    limit = (
        max_frames if planned.kind in ("expert", "noisy") else int(rng.integers(max_frames * 3 // 5, max_frames + 1))
    )
    simulation.reset(planned.seed)
    pictures, states, joints, actions = [rig.render(simulation)], [simulation.state], [simulation.joint_position], []
    while len(pictures) < limit and tail > 0:
        actions.append(_drive(simulation, acting))
        pictures.append(rig.render(simulation))
        states.append(simulation.state)
        joints.append(simulation.joint_position)
        tail -= simulation.succeeded
    actions.append(actions[-1])
    return RecordedEpisode(
        id=planned.id,
        task=planned.task,
        kind=planned.kind,
        instruction=instruction(planned.task),
        reset_seed=planned.seed,
        success=simulation.succeeded,
        frames={name: np.stack([each[name] for each in pictures]) for name in pictures[0]},
        state=np.stack(states),
        joint_position=np.stack(joints),
        action=np.stack(actions),
        metadata={"kind": planned.kind, "reset_seed": planned.seed, "index": planned.index},
    )


def _drive(simulation: Simulation, acting: Driver) -> FloatArray:
    """Four control steps; returns them as one action `(7,)`: the target that they reached and the mean grip."""
    grips = []
    for _ in range(CONTROL_STEPS):
        effort = acting(simulation.observation)
        simulation.control(effort)
        grips.append((effort[3] + 1.0) / 2.0)
    return np.append(simulation.target, np.mean(grips))


def _counts(kinds: Mapping[str, float], total: int) -> dict[str, int]:
    """Shares to whole numbers that add up to `total`."""
    for kind in kinds:
        driver(kind, "reach-v3", np.random.default_rng(0))
    whole = sum(kinds.values())
    if not whole > 0 or min(kinds.values()) < 0:
        raise InvalidInput(f"the shares of the kinds must be positive, not {dict(kinds)}")
    exact = {kind: total * share / whole for kind, share in kinds.items()}
    counts = {kind: int(number) for kind, number in exact.items()}
    by_remainder = sorted(exact, key=lambda kind: counts[kind] - exact[kind])
    for kind in by_remainder[: total - sum(counts.values())]:
        counts[kind] += 1
    return counts


def _planned(task: str, kind: str, index: int, seed: int) -> EpisodePlan:
    digest = hashlib.sha256(f"{seed}/{task}/{index}".encode()).digest()
    own = int.from_bytes(digest[:4], "big") >> 1
    return EpisodePlan(f"{task}-{seed}-{index:05d}", task, kind, index, own)
