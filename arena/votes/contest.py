"""What can be voted on: rollouts of several policies that began alike."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from arena.store.records import RolloutRecord

Cell = tuple[str, str, int]
"""World, scene and seed: two rollouts of one cell began alike, and nothing but the policy differs."""


@dataclass(frozen=True)
class Contest:
    """`cells` maps each beginning to its rollouts by policy; only those with two policies or more.

    People are asked about the cells whose outcomes nobody knows. Where the world told success, a pair is no question
    but a check of the voter, unless all are such.
    """

    cells: Mapping[Cell, Mapping[str, RolloutRecord]]

    @classmethod
    def of(cls, rollouts: Iterable[RolloutRecord]) -> Contest:
        """Of several rollouts of one policy in one cell, the first counts."""
        cells: dict[Cell, dict[str, RolloutRecord]] = {}
        for rollout in sorted(rollouts, key=lambda each: (each.created_at, each.id)):
            cell = (rollout.provenance.world, rollout.scene_id, rollout.seed)
            cells.setdefault(cell, {}).setdefault(rollout.policy, rollout)
        return cls({cell: here for cell, here in sorted(cells.items()) if len(here) > 1})

    @cached_property
    def asked(self) -> Mapping[Cell, Mapping[str, RolloutRecord]]:
        """The cells of which people are asked who did better."""
        unknown = {
            cell: here for cell, here in self.cells.items() if any(each.success is None for each in here.values())
        }
        return unknown or self.cells

    @cached_property
    def policies(self) -> tuple[str, ...]:
        return tuple(sorted({policy for here in self.asked.values() for policy in here}))

    @cached_property
    def by_id(self) -> Mapping[str, RolloutRecord]:
        return {rollout.id: rollout for here in self.cells.values() for rollout in here.values()}

    @cached_property
    def meetings(self) -> Mapping[tuple[str, str], Sequence[Cell]]:
        """The cells in which two policies (in alphabetical order) both acted."""
        found: dict[tuple[str, str], list[Cell]] = {}
        for cell, here in self.asked.items():
            for pair in itertools.combinations(sorted(here), 2):
                found.setdefault(pair, []).append(cell)
        return found

    def rollouts(self, cell: Cell, pair: tuple[str, str]) -> tuple[RolloutRecord, RolloutRecord]:
        return self.cells[cell][pair[0]], self.cells[cell][pair[1]]


def pair_key(one: str, other: str) -> str:
    """Names two rollouts whichever side they are on."""
    return "|".join(sorted((one, other)))
