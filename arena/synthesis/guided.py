"""Policy-guided sampling: motions that a target policy finds likely, and that lie where recorded ones do.

After policy-guided diffusion (Jackson et al., "Policy-Guided Diffusion", 2024, arXiv 2404.06356), which draws synthetic
trajectories from `p(trajectory) * product of policy(action | state) ** weight`: what was recorded, tilted towards the
target policy, so that neither the policy's own errors nor the recordings' alone decide. There a diffusion model of
trajectories stands for `p`, and the policy's score guides its sampling. Here a world makes the frames, so what is drawn
are the motions of each answer; `p` is the kernel density of recorded motions from similar states, and the policy is a
Gaussian around its answer. Of these two the product is known: a mixture of Gaussians, which is drawn from exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arena.contracts import ActionSpace, Episode, FloatArray, InvalidInput

BANDWIDTH = 0.01
"""Metres, the deviation of the kernel around each recorded motion: how thick the data's manifold is taken to be."""
POLICY_SPREAD = 0.02
"""Metres, the deviation of a policy around its answer, which policies that answer with one chunk do not tell."""
NEAR = 0.05
"""Metres between two hands that are in similar states."""
GRIPPER_METRES = 0.05
"""What a gripper that is open instead of closed counts as, in m."""


@dataclass(frozen=True)
class Motions:
    """`M` recorded motions of the hand: `states` `(M, 4)`, positions in m and the gripper as metres, where they begin;
    `moves` `(M, N, 3)` in m, how far the hand is from there after each of `N` actions."""

    states: FloatArray
    moves: FloatArray

    def near(self, state: FloatArray) -> FloatArray:
        """`(M,)` log-weights of the motions from a state `(7,)`, up to a constant."""
        apart = np.square(self.states - _place(state[None])).sum(axis=1)
        return np.asarray(-apart / (2 * NEAR**2))


def motions_of(episodes: Sequence[Episode], control_hz: float, length: int) -> Motions:
    """Every motion of `length` actions at `control_hz` in the episodes that did not fail; the last ones end at rest.

    Raises `InvalidInput` where there is none.
    """
    states, moves = [], []
    for episode in episodes:
        if episode.success is False or len(episode) < 2:
            continue
        path = _targets(episode)
        times = np.arange(1, length + 1) / control_hz * episode.fps
        for start in range(len(episode) - 1):
            here = episode.state[start, :3]
            knots = np.concatenate([here[None], path[start:]])
            at = np.minimum(times, len(knots) - 1)
            whole = np.arange(len(knots))
            moves.append(np.stack([np.interp(at, whole, knots[:, axis]) for axis in range(3)], axis=1) - here)
            states.append(episode.state[start])
    if not moves:
        raise InvalidInput("policy-guided sampling stays near recorded motions, and no episode has any")
    return Motions(_place(np.stack(states)), np.stack(moves))


def drawn(
    motions: Motions, state: FloatArray, wanted: FloatArray, weight: float, random: np.random.Generator
) -> FloatArray:
    """`(n, 3)` m: a motion from `state` `(7,)`, near recorded ones and near `wanted` `(n, 3)`, the policy's own.

    Of density `p(motion | state) * policy(motion) ** weight`. With 0 the policy says nothing; the larger `weight`, the
    nearer the motion is to what it wants.
    """
    moves = motions.moves[:, : len(wanted)]
    recorded, pull = 1 / BANDWIDTH**2, weight / POLICY_SPREAD**2
    variance = 1 / (recorded + pull)
    # What is left of the two Gaussians' constants in their product: how well a recorded motion agrees with the policy.
    apart = np.square(moves - wanted).sum(axis=(1, 2))
    likely = motions.near(state) - apart * recorded * pull * variance / 2
    share = np.exp(likely - likely.max())
    chosen = moves[random.choice(len(moves), p=share / share.sum())]
    mean = variance * (recorded * chosen + pull * wanted)
    return np.asarray(mean + np.sqrt(variance) * random.normal(size=mean.shape))


def guided(
    values: FloatArray, space: ActionSpace, control_hz: float, motions: Motions, state: FloatArray, weight: float,
    random: np.random.Generator,
) -> FloatArray:  # fmt: skip
    """Actions `(n, 7)` of a policy in `state` `(7,)` with the hand's motion drawn as `drawn` does; all else as it is.

    Raises `InvalidInput` for actions of joints.
    """
    check_space(space)
    changed = np.array(values, dtype=np.float64)
    velocity = space is ActionSpace.CARTESIAN_VELOCITY
    wanted = np.cumsum(changed[:, :3], axis=0) / control_hz if velocity else changed[:, :3] - state[:3]
    move = drawn(motions, state, wanted, weight, random)
    changed[:, :3] = np.diff(move, axis=0, prepend=0.0) * control_hz if velocity else state[:3] + move
    return changed


def check_space(space: ActionSpace) -> None:
    """Raises `InvalidInput` for actions that do not say where the hand goes."""
    if space not in (ActionSpace.CARTESIAN_POSITION, ActionSpace.CARTESIAN_VELOCITY):
        raise InvalidInput(
            f"policy-guided sampling weighs motions of the hand, and this policy's actions are {space}: "
            "leave out --policy-weights"
        )


def _targets(episode: Episode) -> FloatArray:
    """`(T, 3)` m: where the hand was told to be by the frame after each, or was, where that is not known."""
    if episode.action is not None and episode.action.space is ActionSpace.CARTESIAN_POSITION:
        return np.asarray(episode.action.values[:, :3], dtype=np.float64)
    rows = np.minimum(np.arange(len(episode)) + 1, len(episode) - 1)
    return np.asarray(episode.state[rows, :3])


def _place(states: FloatArray) -> FloatArray:
    """`(M, 7)` to `(M, 4)` in m."""
    return np.concatenate([states[:, :3], GRIPPER_METRES * states[:, 6:]], axis=1)
