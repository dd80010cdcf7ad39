"""Scenes cut from recorded episodes: where a trial begins, and what the robot really did from there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from arena.contracts import ActionChunk, ActionSpace, Episode, InvalidInput, Observation, Scene
from arena.rollout import scene_sha256

HASH_LETTERS = 12
"""How much of its content hash a scene's id carries, so that other content is another scene."""


def scene_from_episode(episode: Episode, start: int = 0, history: int = 1, fps: float | None = None) -> Scene:
    """The trial that begins at frame `start` of `episode`.

    `history` frames, the last of which is frame `start`, are taken `1 / fps` apart (the nearest recorded ones,
    by default at the episode's own rate); before the episode's beginning its first frame is repeated. Images
    keep their recorded size: a world resizes them to its own.

    `recorded` holds the episode's commands from `start` on. Where it has none, its own states take their
    place, each commanded one frame before it was reached, at the episode's rate: what a perfect
    position controller would have been told. Raises `InvalidInput` where `start` leaves nothing to do.
    """
    if not 0 <= start < len(episode) - 1:
        raise InvalidInput(
            f"episode {episode.id} has {len(episode)} frames: a scene can begin at 0 to {len(episode) - 2}, not {start}"
        )
    if history < 1:
        raise InvalidInput(f"a scene needs at least one frame of history, not {history}")
    rate = fps or episode.fps
    rows = _history_rows(start, history, episode.fps / rate)
    frames = {name: _frames(episode, name, rows) for name in sorted(episode.cameras)}
    joints = episode.joint_position
    observation = Observation(
        cameras={name: stack[-1] for name, stack in frames.items()},
        cartesian_position=episode.cartesian_position[start],
        gripper_position=episode.gripper_position[start],
        instruction=episode.instruction,
        joint_position=None if joints is None else joints[start],
    )
    scene = Scene(
        id="",
        observation=observation,
        history=frames,
        history_state=episode.state[rows],
        instruction=episode.instruction,
        fps=rate,
        robot=episode.robot,
        task=episode.task,
        recorded=_recorded(episode, start),
        reset_seed=_reset_seed(episode, start),
        episode_id=episode.id,
    )
    return replace(scene, id=f"{episode.id}@{start}-{scene_sha256(scene)[:HASH_LETTERS]}")


def choose_episodes(episodes: Sequence[Episode], count: int | None = None) -> list[Episode]:
    """Up to `count` episodes to cut scenes from (all of them by default), taking turns between tasks.

    Episodes that are known to have failed are left out while there are others, because a replay of a failure
    says nothing about a policy's best. The choice follows from the episodes' ids alone.
    """
    usable = [episode for episode in episodes if len(episode) > 1]
    if not usable:
        raise InvalidInput("no episode has the two frames that a scene needs")
    hopeful = [episode for episode in usable if episode.success is not False] or usable
    by_task: dict[str, list[Episode]] = defaultdict(list)
    for episode in sorted(hopeful, key=lambda item: item.id):
        by_task[episode.task or episode.instruction].append(episode)
    turns = zip_longest(*(by_task[task] for task in sorted(by_task)))
    chosen = [episode for turn in turns for episode in turn if episode is not None]
    return chosen[:count]


def beginnings(episodes: Sequence[Episode], each: int = 1) -> list[tuple[Episode, int]]:
    """Episodes with a frame to begin at, `each` of an episode evenly along it, every episode's first frame first.

    With few episodes, several beginnings make more trials of them, if not independent ones. Raises `InvalidInput`
    for an `each` below 1.
    """
    if each < 1:
        raise InvalidInput(f"an episode begins at least once, not {each} times")
    turns = [(episode, turn * (len(episode) - 1) // each) for turn in range(each) for episode in episodes]
    return list({(episode.id, start): (episode, start) for episode, start in turns}.values())


def _history_rows(start: int, history: int, stride: float) -> NDArray[np.intp]:
    """`(history,)` frame indices, oldest first, ending at `start`."""
    back = np.arange(history - 1, -1, -1) * stride
    rows: NDArray[np.intp] = np.maximum(start - np.round(back), 0).astype(np.intp)
    return rows


def _frames(episode: Episode, camera: str, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """`(K, H, W, 3)`: only the span that holds them is decoded."""
    first = int(rows[0])
    return episode.cameras[camera].read(first, int(rows[-1]) + 1)[rows - first]


def _recorded(episode: Episode, start: int) -> ActionChunk:
    if episode.action is not None:
        return ActionChunk(episode.action.values[start:], episode.action.space, episode.action.control_hz)
    return ActionChunk(episode.state[start + 1 :], ActionSpace.CARTESIAN_POSITION, episode.fps)


def _reset_seed(episode: Episode, start: int) -> int | None:
    """A simulator can only be put back to an episode's very beginning."""
    seed = episode.metadata.get("reset_seed")
    return int(seed) if seed is not None and start == 0 else None
