"""A dataset, a world and policies that are quick and need no GPU, for tests of the evaluation's machinery."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from arena.contracts import (
    ActionChunk,
    ActionSpace,
    FloatArray,
    Observation,
    Scene,
    World,
    WorldCard,
    WorldStep,
)
from arena.episodes.lerobot_writer import LeRobotWriter
from arena.store import Store
from workers.app import serve
from workers.artifacts import Artifacts
from workers.jobs import Context
from workers.registry import Workshop
from workers.settings import Settings
from workers.tasks import STEPS

FPS, SIZE, LENGTH = 10.0, (16, 16), 9


def write_dataset(root: Path, count: int = 6) -> Path:
    """Episodes in which the hand goes 0.1 m along x, and a bright bar follows it."""
    writer = LeRobotWriter(
        root, fps=FPS, cameras={"wrist": SIZE}, robot="dot", action_space=ActionSpace.CARTESIAN_POSITION
    )
    for index in range(count):
        state = np.zeros((LENGTH, 7))
        state[:, 0] = np.linspace(0.0, 0.1, LENGTH)
        state[:, 1] = 0.01 * index
        writer.add_episode(
            f"episode-{index}",
            frames={"wrist": np.stack([picture(row) for row in state])},
            cartesian_position=state[:, :6],
            gripper_position=state[:, 6:],
            joint_position=None,
            action=np.concatenate([state[1:], state[-1:]]),
            instruction="go along x",
            success=True,
            task="along-x",
            metadata={"reset_seed": index},
        )
    writer.finish()
    return root


def picture(state: FloatArray) -> np.ndarray:
    """`(16, 16, 3)`: a bar whose place shows x, shaded by y."""
    frame = np.full((*SIZE, 3), 20, np.uint8)
    column = int(np.clip(state[0] * 100, 0, SIZE[1] - 4))
    frame[:, column : column + 4] = int(np.clip(120 + state[1] * 1000, 0, 255))
    return frame


class DotWorld:
    """The hand is where it was told to be, give or take noise from the trial's seed; success is x beyond 0.08 m.

    Every started batch adds a line to `log`, if given, so that tests can see what was run. Memory has `room` for so
    many scenes at once.
    """

    def __init__(self, log: Path | None = None, crash_after: int | None = None, room: int = 1000) -> None:
        self._log, self._crash_after, self._room = log, crash_after, room
        self._trials: list[tuple[Observation, np.random.Generator]] = []

    @property
    def card(self) -> WorldCard:
        return WorldCard(
            name="dot",
            sha256=hashlib.sha256(b"dot").hexdigest(),
            fps=FPS,
            frames_per_step=4,
            cameras=("wrist",),
            robot="dot",
            knows_success=True,
        )

    def start(self, scenes: Sequence[Scene], seeds: Sequence[int]) -> list[Observation]:
        if self._log is not None:
            started = len(self._log.read_text().splitlines()) if self._log.exists() else 0
            if self._crash_after is not None and started >= self._crash_after:
                raise KeyboardInterrupt
            with self._log.open("a") as stream:
                stream.write(json.dumps([scene.id for scene in scenes]) + "\n")
        self._trials = [(s.observation, np.random.default_rng(seed)) for s, seed in zip(scenes, seeds, strict=True)]
        return [observation for observation, _ in self._trials]

    def step(self, chunks: Sequence[ActionChunk]) -> list[WorldStep]:
        if len(chunks) > self._room:
            raise MemoryError
        steps = []
        for index, chunk in enumerate(chunks):
            before, random = self._trials[index]
            state = chunk.values + random.normal(0, 1e-4, chunk.values.shape)
            frames = {"wrist": np.stack([picture(row) for row in state])}
            after = replace(
                before,
                cameras={"wrist": frames["wrist"][-1]},
                cartesian_position=state[-1, :6],
                gripper_position=state[-1, 6:],
            )
            self._trials[index] = (after, random)
            steps.append(WorldStep(frames, state, after, success=bool(state[-1, 0] > 0.08)))
        return steps

    def close(self) -> None:
        self._trials = []


class DotWorkshop(Workshop):
    """A workshop whose every world is the dot's."""

    def __init__(self, log: Path | None = None, crash_after: int | None = None, room: int = 1000) -> None:
        super().__init__()
        self._dot = DotWorld(log, crash_after, room)

    def world(self, name: str, sampler_steps: int, guidance: float) -> World:
        return self._dot


def dot_context(home: Path, log: Path | None = None, crash_after: int | None = None) -> Context:
    """A context on an SQLite store and a folder below `home`."""
    settings = Settings(home=home, database_url=None, broker_url=None, artifacts=None)
    artifacts = Artifacts(settings.artifacts_location, settings.cache)
    return Context(settings, Store(settings.store_url), artifacts, lambda *_: None, DotWorkshop(log, crash_after))


def main() -> int:
    """A worker, as `dreamarena worker` runs it, on the dot's world: `python dots.py HOME LOG`."""
    home, log = Path(sys.argv[1]), Path(sys.argv[2])
    settings = Settings(home=home, broker_url=os.environ["DREAMARENA_BROKER_URL"])
    return serve(settings, STEPS, dot_context(home, log), "WARNING")


if __name__ == "__main__":
    sys.exit(main())
