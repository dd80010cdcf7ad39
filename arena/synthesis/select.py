"""Which trials become training data: sure successes that look as they were acted, cut where done, no two alike.

Every trial that is left out is counted under one reason, the first that holds, so that a loss can be traced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from arena.contracts import FloatArray, InvalidInput
from arena.synthesis.turns import in_turns

PATH_POINTS = 8
"""Places along a path by which two are compared."""
GRIPPER_METRES = 0.05
"""What a gripper that is open instead of closed counts as, in m."""
ABSTAINED, FAILED, UNSURE, ADRIFT, SHORT, ALIKE, SURPLUS = (
    "abstained from", "failed", "not sure enough", "not acted as it looks", "too short", "nearly the same as another",
    "more than wanted of its scene",
)  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A judged trial. `state` is `(T, 7)`; `probability` None where the judge abstained.

    `apart` says how far the robot in the pictures is from where its states say, as a share of what is usual at most;
    None where the judge cannot measure it. `done` is the frame in which it is done, where that is known. `threshold` is
    the probability from which the judge says success.
    """

    id: str
    scene: str
    group: str
    probability: float | None
    threshold: float
    state: FloatArray
    apart: float | None = None
    done: int | None = None


@dataclass(frozen=True)
class Rules:
    """What is asked of a trial.

    `margin` is how far above the judge's threshold a probability has to be, as a share of what is left to 1. `apart`
    is the largest share (see `Candidate`) that is still believed. `alike` is the distance in m below which two paths
    from one scene are the same. `settled` frames are kept after the one in which it is done.
    """

    margin: float = 0.0
    apart: float = 0.9
    alike: float = 0.004
    settled: int = 4
    shortest: int = 4
    judged: bool = True
    """False keeps everything, whatever a judge says: a control, not a recipe."""

    def __post_init__(self) -> None:
        if not (0.0 <= self.margin < 1.0 and self.apart > 0 and self.alike >= 0):
            raise InvalidInput("selection needs a margin from 0 to below 1, and distances that are not negative")
        if self.settled < 0 or self.shortest < 2:
            raise InvalidInput("selection keeps at least 2 frames, and no negative number after success")


@dataclass(frozen=True)
class Chosen:
    """A trial that is kept, and how many of its frames."""

    id: str
    frames: int


@dataclass(frozen=True)
class Selection:
    """What is kept, in the order of the candidates, and why each other is not."""

    chosen: tuple[Chosen, ...]
    dropped: Mapping[str, str]

    @property
    def counts(self) -> dict[str, int]:
        """How many were dropped for each reason."""
        return dict(Counter(self.dropped.values()))


def select(
    candidates: Sequence[Candidate],
    rules: Rules,
    wanted: int | None = None,
    per_scene: int | None = None,
    seed: int = 0,
) -> Selection:
    """Choose at most `wanted` trials, and `per_scene` of a scene; groups (tasks) and then scenes take turns.

    Within a scene the surest comes first; ties, and which scene begins, follow from `seed`.
    """
    dropped = {each.id: reason for each in candidates if (reason := fault(each, rules))}
    good = [each for each in candidates if each.id not in dropped]
    order = np.random.default_rng(seed).permutation(len(good))
    shuffled = sorted((good[index] for index in order), key=lambda each: -(each.probability or 0.0))
    scenes: dict[tuple[str, str], list[Candidate]] = {}
    for each in shuffled:
        peers = scenes.setdefault((each.group, each.scene), [])
        if any(distance(each, peer, rules) < rules.alike for peer in peers):
            dropped[each.id] = ALIKE
        elif per_scene is not None and len(peers) >= per_scene:
            dropped[each.id] = SURPLUS
        else:
            peers.append(each)
    turns = _in_turns(scenes)
    for each in turns[wanted:] if wanted is not None else []:
        dropped[each.id] = SURPLUS
    kept = {each.id: Chosen(each.id, kept_frames(each, rules)) for each in turns[:wanted]}
    return Selection(tuple(kept[each.id] for each in candidates if each.id in kept), dropped)


def fault(candidate: Candidate, rules: Rules) -> str:
    """Why a trial cannot be kept whatever the others are, or nothing."""
    if kept_frames(candidate, rules) < rules.shortest:
        return SHORT
    if not rules.judged:
        return ""
    if candidate.probability is None:
        return ABSTAINED
    if candidate.probability < candidate.threshold:
        return FAILED
    if candidate.probability < candidate.threshold + rules.margin * (1.0 - candidate.threshold):
        return UNSURE
    if candidate.apart is not None and candidate.apart > rules.apart:
        return ADRIFT
    return ""


def kept_frames(candidate: Candidate, rules: Rules) -> int:
    """How many frames of a trial are worth keeping: a few after it was done, where that is known."""
    length = len(candidate.state)
    return length if candidate.done is None else min(length, candidate.done + 1 + rules.settled)


def distance(one: Candidate, other: Candidate, rules: Rules) -> float:
    """Between two paths, in m: the root mean square over places that are equally far along each."""
    apart = _path(one, rules) - _path(other, rules)
    return float(np.sqrt(np.square(apart).sum(axis=1).mean()))


def _path(candidate: Candidate, rules: Rules) -> FloatArray:
    """`(PATH_POINTS, 4)`: positions in m, and the gripper as metres."""
    state = np.asarray(candidate.state, dtype=np.float64)[: kept_frames(candidate, rules)]
    rows = np.linspace(0, len(state) - 1, PATH_POINTS).round().astype(int)
    return np.concatenate([state[rows, :3], GRIPPER_METRES * state[rows, 6:]], axis=1)


def _in_turns(scenes: Mapping[tuple[str, str], list[Candidate]]) -> list[Candidate]:
    """Groups take turns, and within each its scenes."""
    groups: dict[str, list[list[Candidate]]] = {}
    for (group, _), members in scenes.items():
        groups.setdefault(group, []).append(members)
    return in_turns([in_turns(members) for members in groups.values()])
