"""What some judges can do beyond giving a verdict; an audit asks for it where it is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from arena.contracts import Choice, Rollout, Verdict


@dataclass(frozen=True)
class Comparison:
    """A judge's word on which of two rollouts of one instruction went better.

    `in_order` is what it said when it saw the left one first, `swapped` when it saw the right one first, both in terms
    of left and right; None where no answer could be had. `choice` is None where they differ: a preference that follows
    the order of showing is about the order.
    """

    left_id: str
    right_id: str
    judge: str
    judge_sha256: str
    in_order: Choice | None
    swapped: Choice | None
    reason: str = ""

    @property
    def choice(self) -> Choice | None:
        return self.in_order if self.in_order == self.swapped else None


@runtime_checkable
class PairwiseJudge(Protocol):
    """Compares two rollouts by looking at both."""

    def compare(self, left: Rollout, right: Rollout) -> Comparison:
        """Raises `InvalidInput` where the two have different instructions."""
        ...


@runtime_checkable
class RepeatingJudge(Protocol):
    """Makes its verdict of several answers to the same question."""

    def takes(self, rollout: Rollout) -> list[Verdict]:
        """A verdict from each answer alone; no more answers are asked for than `judge` does."""
        ...


@runtime_checkable
class OutspokenJudge(Protocol):
    """Can be made to speak where it would abstain: how else would one know what it would say when blind?"""

    def guess(self, rollout: Rollout) -> float | None:
        """A success probability; None where there is truly none to be had."""
        ...
