"""The audit of a judge: what its verdicts are worth, and what it says when it cannot know, is fooled or is asked again.

Everything is asked through `Judge.judge`, so that every kind of judge is audited alike; `arena.judges.abilities` adds
what some of them can do. What counts as passing is in `arena.judges.audit_rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray, InvalidInput, Judge
from arena.judges.agreement import bootstrapped, cohen_kappa, krippendorff_alpha
from arena.judges.audit_probes import AuditTrial, Examiner, Noise, OrderSwap, Progress, probabilities, some
from arena.judges.audit_rules import Check, Floor, Share, balanced, checks, passes
from arena.judges.blind import CONTROLS
from arena.judges.calibration import ECE_BINS, calibration_error
from arena.judges.measures import Judged, Measures
from arena.judges.people import People, PeopleAgreement, agreement_with
from arena.judges.planted import still_rollout
from arena.validation.shares import Estimate

REPEATED, ATTACKED, PAIRED = 16, 24, 24
"""Trials, at most, that are judged again, that are attacked with words, and pairs that are compared."""


@dataclass(frozen=True)
class Bin:
    """Trials with neighbouring probabilities: their mean, and the share that truly succeeded."""

    trials: int
    said: float
    came: float


@dataclass(frozen=True)
class Agreement:
    """With the labels, over the trials that the judge spoke of: each value with its 95% interval."""

    balanced_accuracy: Estimate
    kappa: Estimate
    alpha: Estimate
    calibration_error: Estimate
    calibration: tuple[Bin, ...]


@dataclass(frozen=True)
class Audit:
    """All that an audit found. Measures leave out what the judge abstained from; `successes` are the true ones."""

    judge: str
    judge_sha256: str
    threshold: float
    seed: int
    trials: int
    successes: int
    measures: Measures
    labels: Agreement
    floors: Mapping[str, Floor]
    planted: Mapping[str, Share]
    injected: Mapping[str, Share]
    noise: Noise
    order_swap: OrderSwap | None
    people: PeopleAgreement | None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether it was shown to see, and not shown to be fooled."""
        return passes(self.checks)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def audit(
    judge: Judge,
    trials: Sequence[AuditTrial],
    *,
    planted: Mapping[str, Sequence[AuditTrial]] | None = None,
    people: People | None = None,
    seed: int = 0,
    progress: Progress = lambda done, total, stage: None,
) -> Audit:
    """Audit `judge` on labelled `trials` that it was not made from.

    `planted` are further rollouts that are known to have failed, by kind: of policies that hold still, or make noise.
    Raises `InvalidInput` without a success or without a failure.
    """
    if len({trial.success for trial in trials}) < 2:
        raise InvalidInput("an audit needs trials that succeeded and trials that failed, both labelled as such")
    examiner = Examiner(judge, seed, progress)
    verdicts = examiner.verdicts(trials, "judging")
    said, spoken = examiner.calls(verdicts)
    success = np.array([trial.success for trial in trials], dtype=bool)
    abstained = np.array([verdict.abstained for verdict in verdicts], dtype=bool)
    judged = Judged(probabilities(verdicts), success, abstained, tuple(t.task or t.instruction for t in trials))
    labels = _agreement(said[spoken], judged.probability[spoken], success[spoken], seed)
    floors = {control: examiner.floor(trials, control) for control in CONTROLS}
    fooled = {"still": examiner.planted(trials, "still", still_rollout)}
    fooled |= {kind: examiner.planted(each, kind, None) for kind, each in (planted or {}).items()}
    failures = some([trial for trial in trials if not trial.success], ATTACKED, seed)
    clean = {trial.id: bool(call) for trial, call in zip(trials, said, strict=True)}
    injected = examiner.injected(failures, clean)
    order = examiner.order_swap(trials, PAIRED)
    consistent = None if order is None else order.consistent
    return Audit(
        judge=judge.name,
        judge_sha256=judge.sha256,
        threshold=examiner.threshold,
        seed=seed,
        trials=len(trials),
        successes=int(success.sum()),
        measures=judged.measures(examiner.threshold),
        labels=labels,
        floors=floors,
        planted=fooled,
        injected=injected,
        noise=examiner.noise(some(trials, REPEATED, seed)),
        order_swap=order,
        people=None if people is None else agreement_with(people, verdicts, examiner.threshold, seed),
        checks=checks(labels.balanced_accuracy, floors, fooled, injected, consistent),
    )


def _agreement(said: NDArray[np.bool_], probability: FloatArray, success: NDArray[np.bool_], seed: int) -> Agreement:
    def with_interval(measure: Callable[[NDArray[np.intp]], float]) -> Estimate:
        return bootstrapped(measure, len(said), seed) if len(said) else Estimate(None)

    def error(units: NDArray[np.intp]) -> float:
        return calibration_error(probability[units], success[units])

    return Agreement(
        balanced_accuracy=balanced(said, success),
        kappa=with_interval(lambda units: cohen_kappa(said[units].tolist(), success[units].tolist())),
        alpha=with_interval(lambda units: krippendorff_alpha([said[units].tolist(), success[units].tolist()])),
        calibration_error=bootstrapped(error, len(said), seed, (0.0, 1.0)) if len(said) else Estimate(None),
        calibration=_bins(probability, success),
    )


def _bins(probability: FloatArray, success: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Of equal count, as the calibration error has them."""
    parts = np.array_split(np.argsort(probability, kind="stable"), min(ECE_BINS, max(1, len(probability))))
    return tuple(
        Bin(len(part), float(probability[part].mean()), float(success[part].mean())) for part in parts if len(part)
    )
