"""Small trajectories whose frames, numbers and origin follow from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np

from arena.contracts import ActionChunk, ActionSpace
from arena.episodes.video import ArrayFrames
from arena.synthesis.export import Origin, Trajectory
from tests.arena.episodes.making import moving_frames, states

POSITION = np.array([1, 1, 1, 0, 0, 0, 0])
CAMERAS = ("exterior_1", "wrist")


def trajectory(seed: int, frames: int = 12, named: tuple[str, ...] = CAMERAS, **changes: Any) -> Trajectory:
    """Cartesian actions at 10 Hz; odd seeds have another instruction."""
    state = states(frames, seed)
    values: dict[str, Any] = {
        "id": f"rollout-{seed}",
        "cameras": {
            name: ArrayFrames(moving_frames(frames, seed=seed + 50 * place)) for place, name in enumerate(named)
        },
        "state": state,
        "action": ActionChunk(
            state + 0.001 * seed * np.array([1, 1, 1, 0, 0, 0, 0]), ActionSpace.CARTESIAN_POSITION, 10.0
        ),
        "instruction": ("open the drawer", "close the drawer")[seed % 2],
        "task": "drawer",
        "fps": 10.0,
        "robot": "sawyer",
        "origin": origin(seed),
    }
    return Trajectory(**values | changes)


def origin(seed: int, **changes: Any) -> Origin:
    values: dict[str, Any] = {
        "synthetic": True,
        "success": True,
        "world": "dream",
        "world_sha256": "a" * 64,
        "policy": "bc",
        "policy_sha256": "b" * 64,
        "judge": "learned",
        "judge_sha256": "c" * 64,
        "success_probability": 0.5 + seed / 100,
        "progress": 90.0,
        "seed": seed,
        "rollout_id": f"{seed:064x}",
        "scene_id": f"scene-{seed % 3}",
        "details": {"noise": 0.01 * seed},
    }
    return Origin(**values | changes)


def droid(seed: int, frames: int = 12, **changes: Any) -> Trajectory:
    """Joint velocities in rad/s, three cameras, as a DROID robot has them."""
    random = np.random.default_rng(seed)
    joints = 0.3 * random.standard_normal(7) + np.cumsum(random.normal(0, 0.01, (frames, 7)), axis=0)
    velocities = np.concatenate([np.gradient(joints, axis=0) * 15, states(frames, seed)[:, 6:]], axis=1)
    action = ActionChunk(velocities, ActionSpace.JOINT_VELOCITY, 15.0)
    values = {"action": action, "joint_position": joints, "fps": 15.0, "robot": "panda"}
    return trajectory(seed, frames, **{"named": ("exterior_1", "exterior_2", "wrist"), **values, **changes})
