"""Recording the stand-in robot: scripted experts, and failures of several kinds, as LeRobot v3.0 episodes."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from arena.contracts import ActionSpace, FloatArray, Frames, InvalidInput
from arena.episodes.lerobot_writer import LeRobotWriter
from real2sim.camera import CALIBRATION, camera_facts
from real2sim.reality.cameras import CAMERAS, CameraRig, calibration
from real2sim.reality.experts import UNHURT, Driver, driver
from real2sim.reality.plans import KINDS, EpisodePlan, plan
from real2sim.reality.simulator import CONTROL_STEPS, FPS, ROBOT, Simulation
from real2sim.reality.tasks import instruction

MAX_FRAMES = 24
"""Longest episode: 2.4 s. The experts need about one."""
_BATCH = 8
"""Episodes that a worker process records before it hands them over: what a kill can lose, times `workers`."""


@dataclass(frozen=True)
class RecordedEpisode:
    """A recorded trial of `T` frames at 10 Hz, in the units and frames of reference of `arena.contracts`.

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


@dataclass(frozen=True)
class Recording:
    """What a call of `record` did. `frames` counts single pictures: each camera's, each instant's."""

    path: Path
    recorded: int
    kept: int
    """Episodes that an earlier call had finished."""
    frames: int
    seconds: float
    workers: int

    @property
    def frames_per_second_per_core(self) -> float:
        """By the clock on the wall, start of the processes and encoding of the videos included."""
        return self.frames / (self.seconds * self.workers) if self.frames else 0.0


def record(
    tasks: Sequence[str],
    episodes_per_task: int,
    seed: int,
    out: Path,
    *,
    kinds: Mapping[str, float] = KINDS,
    workers: int = 1,
    height: int = 64,
    width: int = 96,
    max_frames: int = MAX_FRAMES,
    progress: Callable[[int, int, str], None] | None = None,
) -> Recording:
    """Record a LeRobot v3.0 dataset at `out`, in `workers` processes; what is there already is kept and not repeated.

    The result does not depend on `workers` or on interruptions. Raises `InvalidInput` for unknown tasks or kinds,
    and where `out` holds another kind of dataset.
    """
    if workers < 1 or max_frames < 2:
        raise InvalidInput(f"a recording needs 1 worker and 2 frames at least, not {workers} and {max_frames}")
    if min(height, width) < 2 or height % 2 or width % 2:
        raise InvalidInput(f"pictures must have even sides for their videos, not {width}x{height}")
    plans = plan(tasks, episodes_per_task, seed, kinds)
    writer = LeRobotWriter(
        out,
        fps=FPS,
        cameras=dict.fromkeys(CAMERAS, (height, width)),
        robot=ROBOT,
        action_space=ActionSpace.CARTESIAN_POSITION,
    )
    done = writer.episode_ids
    missing = [planned for planned in plans if planned.id not in done]
    kept, frames, begun = len(plans) - len(missing), 0, time.perf_counter()
    with closing(_record_all(missing, height, width, max_frames, workers)) as recorded:
        for count, episode in enumerate(recorded, start=kept + 1):
            _write(writer, episode)
            frames += len(episode.state) * len(episode.frames)
            if progress is not None:
                progress(count, len(plans), "recording")
    writer.finish()
    return Recording(out, len(missing), kept, frames, time.perf_counter() - begun, workers)


def _record_all(
    plans: Sequence[EpisodePlan], height: int, width: int, max_frames: int, workers: int
) -> Generator[RecordedEpisode, None, None]:
    """The planned episodes in order. Processes are spawned: OpenGL does not survive a fork."""
    if workers == 1 or len(plans) <= _BATCH:
        yield from episodes(plans, height, width, max_frames)
        return
    batches = [plans[start : start + _BATCH] for start in range(0, len(plans), _BATCH)]
    sizes = [[size] * len(batches) for size in (height, width, max_frames)]
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)
    try:
        yield from chain.from_iterable(pool.map(_record_batch, batches, *sizes))
    finally:
        pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """A killed recorder leaves no process behind: the pool's own wait for work would never end."""

    def watch() -> None:
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _record_batch(plans: Sequence[EpisodePlan], height: int, width: int, max_frames: int) -> list[RecordedEpisode]:
    return list(episodes(plans, height, width, max_frames))


def _write(writer: LeRobotWriter, episode: RecordedEpisode) -> None:
    writer.add_episode(
        id=episode.id,
        frames=episode.frames,
        cartesian_position=episode.state[:, :6],
        gripper_position=episode.state[:, 6:],
        joint_position=episode.joint_position,
        action=episode.action,
        instruction=episode.instruction,
        success=episode.success,
        task=episode.task,
        metadata=episode.metadata,
    )


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
    tail = int(rng.integers(3, 9))
    # A failure that always ran to the limit would be told from a success by its length.
    limit = max_frames if planned.kind in UNHURT else int(rng.integers(max_frames * 3 // 5, max_frames + 1))
    simulation.reset(planned.seed)
    pictures, states, joints, actions = (
        [rig.render(simulation.model, simulation.data)],
        [simulation.state],
        [simulation.joint_position],
        [],
    )
    while len(pictures) < limit and tail > 0:
        actions.append(_drive(simulation, acting))
        pictures.append(rig.render(simulation.model, simulation.data))
        states.append(simulation.state)
        joints.append(simulation.joint_position)
        tail -= simulation.succeeded
    actions.append(actions[-1])
    frames = {name: np.stack([each[name] for each in pictures]) for name in pictures[0]}
    height, width = next(iter(frames.values())).shape[1:3]
    cameras = calibration(simulation.model, height, width)
    return RecordedEpisode(
        id=planned.id,
        task=planned.task,
        kind=planned.kind,
        instruction=instruction(planned.task),
        reset_seed=planned.seed,
        success=simulation.succeeded,
        frames=frames,
        state=np.stack(states),
        joint_position=np.stack(joints),
        action=np.stack(actions),
        metadata={
            "kind": planned.kind,
            "reset_seed": planned.seed,
            "index": planned.index,
            CALIBRATION: {name: camera_facts(camera) for name, camera in cameras.items()},
            # Of the pictures before compression: two recordings can be compared exactly.
            "frames_sha256": hashlib.sha256(b"".join(each.tobytes() for each in frames.values())).hexdigest(),
        },
    )


def _drive(simulation: Simulation, acting: Driver) -> FloatArray:
    """An action's control steps; returns them as one action `(7,)`: the target that they reached and the mean grip."""
    grips = []
    for _ in range(CONTROL_STEPS):
        effort = acting(simulation.observation)
        simulation.control(effort)
        grips.append((effort[3] + 1.0) / 2.0)
    return np.append(simulation.target, np.mean(grips))
