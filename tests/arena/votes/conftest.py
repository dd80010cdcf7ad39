"""A contest in a store, and a clock that a test moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from arena.contracts import ActionChunk, ActionSpace, Provenance, Rollout
from arena.store import Store
from arena.votes.contest import Contest
from arena.votes.desk import Ballot, Desk, Receipt, Shown
from arena.votes.drawing import Drawing
from arena.votes.golds import golds_of
from arena.votes.rules import Rules
from arena.votes.tally import Tally
from arena.votes.tokens import Signer

POLICIES = ("alpha", "beta", "gamma", "delta")
SECRET = b"s" * 32


def rollout(policy: str, scene: int, success: bool | None = None, world: str = "dream") -> Rollout:
    return Rollout(
        id=f"{policy}-{scene}-{world}",
        policy=policy,
        world=world,
        scene_id=f"scene-{scene}",
        task="task",
        instruction="open the drawer",
        seed=7,
        fps=10.0,
        frames={"exterior_1": np.zeros((20, 8, 8, 3), np.uint8)},
        state=np.zeros((20, 7)),
        action=ActionChunk(np.zeros((19, 7)), ActionSpace.CARTESIAN_POSITION, 10.0),
        step_seconds=(0.1,),
        provenance=Provenance("p", world, "s", "c", "code"),
        success=success,
    )


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Booth:
    """A desk and all that it works with; `later` lets a voter watch."""

    store: Store
    rules: Rules = field(default_factory=lambda: Rules(gold=0.0, repeat=0.0))
    clock: Clock = field(default_factory=Clock)
    signer: Signer = field(default_factory=lambda: Signer(SECRET))
    seed: int = 0

    def __post_init__(self) -> None:
        contest = Contest.of(self.store.results.rollouts())
        self.tally = Tally(self.store, lambda: contest, refreshed=0.0, clock=self.clock)
        drawing = Drawing(self.tally.standing, lambda contest: golds_of(contest, {}))
        self.desk = Desk(self.store, self.signer, lambda: contest, drawing, self.rules, self.clock, self.seed)

    def later(self, seconds: float = 5.0) -> None:
        self.clock.now += seconds

    def vote(self, voter: object, choice: str = "left") -> tuple[Shown, Receipt]:
        [shown] = self.desk.pairs(voter, 1)  # type: ignore[arg-type]
        self.later()
        return shown, self.desk.cast(voter, shown.token, Ballot.of({"choice": choice}))  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'arena.db'}")
    for scene in range(6):
        for policy in POLICIES:
            success = None if scene < 4 else policy in ("alpha", "beta")
            store.results.add_rollout(rollout(policy, scene, success), f"rollouts/{policy}-{scene}")
    yield store
    store.close()


@pytest.fixture
def booth(store: Store) -> Booth:
    return Booth(store)
