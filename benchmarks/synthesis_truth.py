"""True success in the stand-in reality, quickly: pictures are made only when the policy looks.

What decides a trial is the same as in `real2sim.reality.metaworld.MetaWorldWorld` (a test holds the two against each
other): the task, the reset's seed, and the actions at 10 Hz. Trials end with their success.
"""

from __future__ import annotations

import atexit
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle, islice
from typing import Any

from arena.contracts import Observation

STEPS = 24
"""Actions of a trial, as in every other benchmark."""
GROUP = 6
"""Trials that are looked at together: one forward pass of the policy for all."""


def reset_seeds(stream: str, task: str, count: int) -> list[int]:
    """Placements of a task. Streams with different names share none (by chance one in two thousand million)."""
    digests = (hashlib.sha256(f"synthesis/{stream}/{task}/{index}".encode()).digest() for index in range(count))
    return [int.from_bytes(digest[:4], "big") >> 1 for digest in digests]


@dataclass
class Stage:
    """Simulations and cameras of the tasks met so far: building them takes longer than a trial."""

    height: int = 64
    width: int = 96
    _simulations: dict[str, list[Any]] = field(default_factory=dict)
    _rigs: dict[str, Any] = field(default_factory=dict)

    def successes(self, model: Any, task: str, wordings: Sequence[str], seeds: Sequence[int]) -> list[bool]:
        """Whether the cloned policy `model` (`CloningModel`) did `task` from each placement; wordings take turns."""
        told = list(islice(cycle(wordings), len(seeds)))
        found: list[bool] = []
        for start in range(0, len(seeds), GROUP):
            found += self._group(model, task, told[start : start + GROUP], seeds[start : start + GROUP])
        return found

    def _group(self, model: Any, task: str, told: Sequence[str], seeds: Sequence[int]) -> list[bool]:
        simulations = self._ready(task, len(seeds))
        for simulation, seed in zip(simulations, seeds, strict=True):
            simulation.reset(seed)
        acted = 0
        pairs = list(zip(simulations, told, strict=True))
        while acted < STEPS and (running := [pair for pair in pairs if not pair[0].succeeded]):
            seen = [self._look(simulation, task, words, model.config.cameras) for simulation, words in running]
            chunks = model.predict(seen)
            count = min(chunks.shape[1], STEPS - acted)
            for (simulation, _), chunk in zip(running, chunks, strict=True):
                for action in chunk[:count]:
                    simulation.act(action)
            acted += count
        return [each.succeeded for each in simulations]

    def _ready(self, task: str, count: int) -> list[Any]:
        from real2sim.reality.cameras import CameraRig
        from real2sim.reality.simulator import Simulation

        simulations = self._simulations.setdefault(task, [])
        while len(simulations) < count:
            simulations.append(Simulation(task))
        if task not in self._rigs:
            self._rigs[task] = CameraRig(simulations[0].model, self.height, self.width)
        return simulations[:count]

    def _look(self, simulation: Any, task: str, words: str, cameras: Sequence[str]) -> Observation:
        state = simulation.state
        pictures = self._rigs[task].render(simulation.model, simulation.data, cameras)
        return Observation(pictures, state[:6], state[6:], words, simulation.joint_position)

    def close(self) -> None:
        """Free the graphics memory."""
        for rig in self._rigs.values():
            rig.close()


@cache
def stage() -> Stage:
    """This process's one: the next cell may be of the same task."""
    made = Stage()
    atexit.register(made.close)  # what is left to the garbage collector outlives EGL and prints tracebacks
    return made
