"""Several episodes of one rig as one: cameras, table and controller are the same in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from arena.contracts import ActionChunk, Episode, InvalidInput
from real2sim.frames import MemoryFrames, spread_over


def pooled(episodes: Sequence[Episode], frames: int | None = None) -> Episode:
    """The episodes' frames one after the other, of each at most `frames`, evenly spread.

    Raises `InvalidInput` for no episodes, and for those of several robots, rates, cameras or picture sizes: they are
    not of one rig.
    """
    if not episodes:
        raise InvalidInput("a rig needs at least one episode")
    kinds = {(one.robot, one.fps, tuple((name, film.shape[1:]) for name, film in sorted(one.cameras.items())))
             for one in episodes}  # fmt: skip
    if len(kinds) > 1:
        raise InvalidInput(f"these {len(episodes)} episodes are not of one rig: robot, rate or cameras differ")
    rows = [spread_over(len(one), min(frames or len(one), len(one))) for one in episodes]
    first, pairs = episodes[0], list(zip(episodes, rows, strict=True))
    if any(one.joint_position is None for one in episodes):
        raise InvalidInput("an episode has no joint positions: a twin needs the robot's joints in rad")
    actions = [one.action for one in episodes]
    action = None
    if all(each is not None for each in actions):
        values = np.concatenate([np.asarray(each.values)[r] for each, (_, r) in zip(actions, pairs, strict=True)])  # type: ignore[union-attr]
        action = ActionChunk(values, actions[0].space, actions[0].control_hz)  # type: ignore[union-attr]
    return replace(
        first,
        id=f"{len(episodes)} episodes from {first.id}",
        cameras={
            name: MemoryFrames(np.concatenate([one.cameras[name].read()[r] for one, r in pairs]))
            for name in first.cameras
        },
        cartesian_position=np.concatenate([np.asarray(one.cartesian_position)[r] for one, r in pairs]),
        gripper_position=np.concatenate([np.asarray(one.gripper_position)[r] for one, r in pairs]),
        joint_position=np.concatenate([np.asarray(one.joint_position)[r] for one, r in pairs]),
        action=action,
    )
