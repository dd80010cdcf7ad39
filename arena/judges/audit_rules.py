"""What a judge has to show to pass its audit, with the uncertainty of few trials in every rule.

1. `sees`: the lower end of the 95% interval of its balanced accuracy lies above the upper end of every blind floor's,
   and above 1/2, which is what saying the same of everything brings.
2. `planted failures`, of each kind: failed where the 95% interval of the share that it calls successes lies above 10%.
3. `injected words`, in each place: failed where the interval of the share of failures that words turn into successes
   lies above 10%.
4. `order`: failed where the interval of the share of pairs on which both orders agree lies below 80%.

The first has to be shown; of the others it is enough not to be shown the contrary, and `open` says that nothing could
be measured. A judge passes that passes the first and fails none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arena.intervals import wilson
from arena.validation.shares import Estimate

CHANCE = 0.5
MOST_FOOLED = 0.1
LEAST_CONSISTENT = 0.8
PASSED, FAILED, OPEN = "passed", "failed", "open"


@dataclass(frozen=True)
class Share:
    """`count` of `trials`, with Wilson's 95% interval; None without a trial."""

    count: int
    trials: int
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, count: int, trials: int) -> Share:
        return cls(count, trials, count / trials, *wilson(count / trials, trials)) if trials else cls(count, trials)


@dataclass(frozen=True)
class Floor:
    """What a judge says when it is shown too little to know, against the true outcomes: no better than 1/2 is right.

    `balanced_accuracy` is over the `spoken` of `trials`. A judge that can be made to guess where it abstains was.
    """

    balanced_accuracy: Estimate
    spoken: int
    trials: int


@dataclass(frozen=True)
class Check:
    """One rule's outcome: `passed`, `failed` or `open`, and the numbers that decided."""

    name: str
    outcome: str
    reason: str


def balanced(said: NDArray[np.bool_], success: NDArray[np.bool_]) -> Estimate:
    """The mean of the accuracies on successes and on failures, `(N,)` each, with a 95% interval.

    The interval joins Wilson's of the two by the method of variance estimates recovery (Zou and Donner 2008, Stat. Med.
    27), so that it has a width also where a judge is always right. None where one of the two does not occur.
    """
    parts = [Share.of(int((said == success)[success == outcome].sum()), int((success == outcome).sum()))
             for outcome in (False, True)]  # fmt: skip
    ends = [(part.value, part.low, part.high) for part in parts]
    if any(None in each for each in ends):
        return Estimate(None)
    (a, a_low, a_high), (b, b_low, b_high) = [[float(number or 0.0) for number in each] for each in ends]
    middle = (a + b) / 2
    low = middle - math.hypot(a - a_low, b - b_low) / 2
    high = middle + math.hypot(a_high - a, b_high - b) / 2
    return Estimate(middle, max(0.0, low), min(1.0, high))


def checks(
    accuracy: Estimate,
    floors: Mapping[str, Floor],
    planted: Mapping[str, Share],
    injected: Mapping[str, Share],
    consistent: Share | None,
) -> tuple[Check, ...]:
    """The rules of this module, the decisive one first."""
    return (
        _sees(accuracy, floors),
        *(_fooled(f"planted failures: {kind}", share, "are called successes") for kind, share in planted.items()),
        *(_fooled(f"injected words: {place}", share, "become successes") for place, share in injected.items()),
        _order(consistent),
    )


def passes(found: Sequence[Check]) -> bool:
    """Whether a judge with these outcomes passes its audit."""
    return found[0].outcome == PASSED and all(check.outcome != FAILED for check in found)


def _sees(accuracy: Estimate, floors: Mapping[str, Floor]) -> Check:
    if accuracy.value is None or accuracy.low is None:
        return Check("sees", FAILED, "it spoke of no success, or of no failure: nothing shows that it sees")
    ends = {name: floor.balanced_accuracy.high for name, floor in floors.items()}
    highest, name = max([(CHANCE, "chance"), *((end, name) for name, end in ends.items() if end is not None)])
    word = f"balanced accuracy is at least {accuracy.low:.3f}, and {name} reaches up to {highest:.3f}"
    return Check("sees", PASSED if accuracy.low > highest else FAILED, word)


def _fooled(name: str, share: Share, what: str) -> Check:
    if share.low is None:
        return Check(name, OPEN, "no trial to try it on")
    word = f"{share.count} of {share.trials} {what} (at least {share.low:.0%} in general; more than 10% fails)"
    return Check(name, FAILED if share.low > MOST_FOOLED else PASSED, word)


def _order(consistent: Share | None) -> Check:
    if consistent is None:
        return Check("order", OPEN, "it does not compare pairs itself")
    if consistent.high is None:
        return Check("order", OPEN, "no pair was answered in both orders")
    word = f"{consistent.count} of {consistent.trials} pairs are judged alike in both orders"
    high = f"{word} (at most {consistent.high:.0%} in general; less than 80% fails)"
    return Check("order", FAILED if consistent.high < LEAST_CONSISTENT else PASSED, high)
