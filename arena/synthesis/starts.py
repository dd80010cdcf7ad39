"""Where synthetic trials begin: recorded scenes, or a frame of an earlier rollout, under the words of one's choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from arena.contracts import InvalidInput, Observation, Rollout, Scene
from arena.rollout import scene_sha256
from arena.scenes import HASH_LETTERS


def told(scene: Scene, instruction: str) -> Scene:
    """The same scene under other words: another scene, with an id of its own. Its own words change nothing."""
    words = " ".join(instruction.split())
    if not words:
        raise InvalidInput(f"scene {scene.id} cannot be told nothing")
    if words == scene.instruction:
        return scene
    changed = replace(scene, instruction=words, observation=replace(scene.observation, instruction=words))
    return replace(changed, id=_id(scene.id.rpartition("-")[0] or scene.id, changed))


def scene_from_rollout(rollout: Rollout, frame: int, robot: str = "", history: int = 1) -> Scene:
    """The trial that begins at `frame` of an imagined one: `history` frames up to it, no recorded actions.

    Joints are unknown there. Raises `InvalidInput` for a frame that the rollout does not have.
    """
    length = len(rollout.state)
    if not 0 <= frame < length or history < 1:
        raise InvalidInput(f"rollout {rollout.id[:12]} has frames 0 to {length - 1}, not {frame}")
    rows = np.maximum(np.arange(frame - history + 1, frame + 1), 0)
    frames = {name: video[rows] for name, video in sorted(rollout.frames.items())}
    observation = Observation(
        cameras={name: video[-1] for name, video in frames.items()},
        cartesian_position=rollout.state[frame, :6],
        gripper_position=rollout.state[frame, 6:],
        instruction=rollout.instruction,
    )
    scene = Scene(
        id="",
        observation=observation,
        history=frames,
        history_state=rollout.state[rows],
        instruction=rollout.instruction,
        fps=rollout.fps,
        robot=robot,
        task=rollout.task,
        episode_id=rollout.id,
    )
    return replace(scene, id=_id(f"{rollout.id[:HASH_LETTERS]}@{frame}", scene))


def _id(stem: str, scene: Scene) -> str:
    return f"{stem}-{scene_sha256(scene)[:HASH_LETTERS]}"
