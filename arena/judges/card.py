"""What every judge is known by: how good it was on trials it had not seen, and from which probability it says yes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from arena.contracts import Judge

EVEN = 0.5
"""The success probability at which a judge without a card is taken to say success."""


@dataclass(frozen=True, kw_only=True)
class JudgeCard:
    """What all kinds of judges have in common; each adds what it was made from.

    `threshold` is the success probability from which the judge says success. The measures are on `held_out` labelled
    trials that shaped nothing of it, and None where there were too few (or none: a hosted model comes as it is).
    `base_rate` is the accuracy of always saying what is commoner. Probabilities and measures are in [0, 1].
    """

    calibrated_on: int = 0
    held_out: int = 0
    threshold: float = EVEN
    accuracy: float | None = None
    base_rate: float | None = None
    auc: float | None = None
    calibration_error: float | None = None
    task_accuracy: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@runtime_checkable
class CardedJudge(Protocol):
    """A judge that says how good it is."""

    @property
    def card(self) -> JudgeCard: ...


def threshold_of(judge: Judge) -> float:
    """The success probability from which `judge` says success."""
    return judge.card.threshold if isinstance(judge, CardedJudge) else EVEN
