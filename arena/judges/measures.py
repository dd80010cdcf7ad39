"""How good a judge is on labelled trials, from what it said of each: the same numbers for every kind of judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray
from arena.judges.calibration import auc, balanced_accuracy, calibration_error


@dataclass(frozen=True)
class Measures:
    """Of a judge on `trials` labelled trials, of which it `abstained` from some: they are left out of everything else.

    `balanced_accuracy` is the mean of the accuracies on successes and on failures; `false_success` the share of true
    failures that it calls successes; `task_auc` the mean of the tasks' own. Those that cannot be told are None.
    """

    trials: int
    abstained: int
    accuracy: float | None
    base_rate: float | None
    balanced_accuracy: float | None
    auc: float | None
    task_auc: float | None
    calibration_error: float | None
    false_success: float | None
    task_accuracy: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Judged:
    """What a judge made of `N` trials: probabilities `(N,)`, true outcomes `(N,)`, and whether it abstained `(N,)`.

    Where it abstained and would not even guess, the probability is NaN.
    """

    probability: FloatArray
    success: NDArray[np.bool_]
    abstained: NDArray[np.bool_]
    tasks: tuple[str, ...]

    def measures(self, threshold: float, count_abstained: bool = False) -> Measures:
        """`count_abstained` measures what the judge would have said where it abstained, too."""
        spoken = self.spoken(count_abstained)
        probability, success = self.probability[spoken], self.success[spoken]
        tasks = np.array(self.tasks)[spoken]
        said, both = probability >= threshold, 0 < success.sum() < len(success)
        own = [auc(probability[tasks == task], success[tasks == task]) for task in sorted(set(tasks.tolist()))]
        own = [value for value in own if np.isfinite(value)]
        return Measures(
            trials=len(self.success),
            abstained=int(self.abstained.sum()),
            accuracy=float((said == success).mean()) if len(success) else None,
            base_rate=float(max(success.mean(), 1 - success.mean())) if len(success) else None,
            balanced_accuracy=balanced_accuracy(said, success) if both else None,
            auc=auc(probability, success) if both else None,
            task_auc=float(np.mean(own)) if own else None,
            calibration_error=calibration_error(probability, success) if len(success) else None,
            false_success=float(said[~success].mean()) if (~success).any() else None,
            task_accuracy={
                task: float((said == success)[tasks == task].mean()) for task in sorted(set(tasks.tolist()))
            },
        )

    def spoken(self, count_abstained: bool = False) -> NDArray[np.bool_]:
        """`(N,)`: of which trials there is a word to measure."""
        known = np.isfinite(self.probability)
        return known if count_abstained else known & ~self.abstained
