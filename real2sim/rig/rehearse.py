"""A demonstration's own actions carried out in its twin: does the twin end where the film did?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arena.contracts import ActionChunk, Episode, FloatArray, Frames, InvalidInput
from real2sim.twin.bundle import Twin
from real2sim.twin.world import TwinWorld


@dataclass(frozen=True)
class Rehearsal:
    """`frames` of each camera `(T, H, W, 3)`. `nearest` is how near the goal was come to, in m; `tool_error` the root
    mean square distance of the tool from where it was recorded, in m."""

    succeeded: bool
    nearest: float
    tool_error: float
    frames: dict[str, Frames]


def rehearse(twin: Twin, episode: Episode, seed: int = 0) -> Rehearsal:
    """Raises `InvalidInput` for an episode without actions, and for a twin without a goal."""
    if episode.action is None or twin.goal is None:
        raise InvalidInput(f"{episode.id} cannot be rehearsed: it has no actions, or its twin no goal")
    key = twin.beginning.episode_id
    world = TwinWorld({key: twin})
    try:
        scene = world.scene(key)
        world.start([scene], [seed])
        told: FloatArray = np.asarray(episode.action.values)
        frames: dict[str, list[Frames]] = {name: [] for name in world.card.cameras}
        tools, nearest, succeeded = [np.asarray(scene.observation.cartesian_position)[:3]], np.inf, False
        for row in told[:-1]:
            [step] = world.step([ActionChunk(row[None], episode.action.space, episode.action.control_hz)])
            for name, film in step.frames.items():
                frames[name].append(film[-1])
            tools.append(step.state[-1, :3])
            nearest = min(nearest, world.distance(0))
            succeeded = bool(step.success)
    finally:
        world.close()
    apart = np.stack(tools) - np.asarray(episode.cartesian_position)[:, :3]
    error = float(np.sqrt((apart**2).sum(axis=1).mean()))
    return Rehearsal(succeeded, nearest, error, {name: np.stack(film) for name, film in frames.items()})
