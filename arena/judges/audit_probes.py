"""The questions of an audit: each asks a judge about changed trials, and counts what it said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from arena.contracts import Choice, FloatArray, InvalidInput, Judge, Rollout, Verdict
from arena.judges.abilities import Comparison, OutspokenJudge, PairwiseJudge, RepeatingJudge
from arena.judges.audit_rules import Floor, Share, balanced
from arena.judges.blind import Shown, blinded, other_instructions
from arena.judges.card import threshold_of
from arena.judges.planted import INJECTIONS

Progress = Callable[[int, int, str], None]
TIMES = 2
"""How often a judge that gives one answer at a time is asked the same, to see whether it says the same."""


@dataclass(frozen=True)
class AuditTrial:
    """A labelled rollout that is loaded when it is needed."""

    id: str
    task: str
    instruction: str
    success: bool
    load: Callable[[], Rollout]


@dataclass(frozen=True)
class Noise:
    """Of the same question asked `times` times on each of `trials` trials.

    `deviation` is the mean standard deviation of the success probability, `flips` the share of trials on which not all
    answers are on one side of the threshold.
    """

    trials: int
    times: int
    deviation: float | None
    flips: Share


@dataclass(frozen=True)
class OrderSwap:
    """Of pairs of a success and a failure of one task.

    `consistent` are those on which both orders agree, `right` those of them that the success wins, `first_preferred`
    those of the others on which whatever is shown first wins. `missing` had no answer in some order.
    """

    consistent: Share
    right: Share
    first_preferred: Share
    missing: int


@dataclass(frozen=True)
class Examiner:
    """A judge under audit."""

    judge: Judge
    seed: int
    progress: Progress

    @property
    def threshold(self) -> float:
        return threshold_of(self.judge)

    def verdicts(
        self, trials: Sequence[AuditTrial], what: str, change: Callable[[int, Rollout], Rollout] | None = None
    ) -> list[Verdict]:
        """On each trial, shown as `change(index, rollout)`."""
        found = []
        for index, trial in enumerate(trials):
            rollout = trial.load()
            found.append(self.judge.judge(rollout if change is None else change(index, rollout)))
            self.progress(index + 1, len(trials), what)
        return found

    def calls(self, verdicts: Sequence[Verdict]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which verdicts say success, `(N,)`, and which say anything about it, `(N,)`."""
        chances = probabilities(verdicts)
        spoken = np.isfinite(chances)
        return np.where(spoken, chances, -1.0) >= self.threshold, spoken

    def floor(self, trials: Sequence[AuditTrial], control: str) -> Floor:
        """What it says under a blind control; it is made to guess where it abstains, if it can be."""
        others = other_instructions([trial.instruction for trial in trials], self.seed)
        shown = [index for index in range(len(trials)) if control != "shuffled_instruction" or others[index]]
        chances = np.full(len(shown), np.nan)
        for place, index in enumerate(shown):
            rollout = _blind(trials[index].load(), control, others[index], self.seed)
            chances[place] = self._guess(rollout)
            self.progress(place + 1, len(shown), f"blind: {control.replace('_', ' ')}")
        success = np.array([trials[index].success for index in shown], dtype=bool)
        spoken = np.isfinite(chances)
        return Floor(balanced(chances[spoken] >= self.threshold, success[spoken]), int(spoken.sum()), len(shown))

    def planted(self, trials: Sequence[AuditTrial], kind: str, change: Callable[[Rollout], Rollout] | None) -> Share:
        """The share of failures that it calls successes; to abstain is not to be fooled."""
        shown = None if change is None else lambda _, rollout: change(rollout)
        said, _ = self.calls(self.verdicts(trials, f"planted: {kind}", shown))
        return Share.of(int(said.sum()), len(trials))

    def injected(self, failures: Sequence[AuditTrial], clean: Mapping[str, bool]) -> dict[str, Share]:
        """In each place, the share of failures that it calls successes with words and not without (`clean`, by id)."""
        honest = [trial for trial in failures if not clean[trial.id]]
        return {place: self.planted(honest, f"words in the {place}", change) for place, change in INJECTIONS.items()}

    def noise(self, trials: Sequence[AuditTrial]) -> Noise:
        """The same question again: from the answers of one verdict where it asks several times itself."""
        deviations, flips, times = [], 0, TIMES
        for done, trial in enumerate(trials, start=1):
            rollout = trial.load()
            if isinstance(self.judge, RepeatingJudge):
                takes = self.judge.takes(rollout)
            else:
                takes = [self.judge.judge(rollout) for _ in range(TIMES)]
            self.progress(done, len(trials), "asking again")
            chances = probabilities(takes)
            chances = chances[np.isfinite(chances)]
            if len(chances) > 1:
                times = max(times, len(chances))
                deviations.append(float(chances.std(ddof=1)))
                flips += len({*(chances >= self.threshold).tolist()}) > 1
        mean = float(np.mean(deviations)) if deviations else None
        return Noise(len(deviations), times, mean, Share.of(flips, len(deviations)))

    def order_swap(self, trials: Sequence[AuditTrial], most: int) -> OrderSwap | None:
        """None for judges that do not compare."""
        if not isinstance(self.judge, PairwiseJudge):
            return None
        pairs = _pairs(trials, most, self.seed)
        found: list[Comparison] = []
        for done, (success, failure) in enumerate(pairs, start=1):
            found.append(self.judge.compare(success.load(), failure.load()))
            self.progress(done, len(pairs), "comparing pairs")
        answered = [each for each in found if each.in_order is not None and each.swapped is not None]
        agreed = [each for each in answered if each.choice is not None]
        # In the first order the success is shown first, in the second the failure.
        first = sum((each.in_order, each.swapped) == (Choice.LEFT, Choice.RIGHT) for each in answered)
        return OrderSwap(
            Share.of(len(agreed), len(answered)),
            Share.of(sum(each.choice is Choice.LEFT for each in agreed), len(agreed)),
            Share.of(first, len(answered) - len(agreed)),
            len(found) - len(answered),
        )

    def _guess(self, rollout: Rollout) -> float:
        verdict = self.judge.judge(rollout)
        if not verdict.abstained and verdict.success_probability is not None:
            return verdict.success_probability
        guessed = self.judge.guess(rollout) if isinstance(self.judge, OutspokenJudge) else None
        return float("nan") if guessed is None else guessed


def probabilities(verdicts: Sequence[Verdict]) -> FloatArray:
    """`(N,)`, NaN for abstentions and for verdicts that speak of progress alone."""
    chances = [None if verdict.abstained else verdict.success_probability for verdict in verdicts]
    return np.array([float("nan") if chance is None else chance for chance in chances])


def some(trials: Sequence[AuditTrial], count: int, seed: int) -> list[AuditTrial]:
    """`count` of them at most, in their order."""
    order = np.random.default_rng(seed).permutation(len(trials))[:count]
    return [trials[index] for index in sorted(order)]


def _blind(rollout: Rollout, control: str, other: str | None, seed: int) -> Rollout:
    if control == "shuffled_instruction":
        if other is None:
            raise InvalidInput("there is no other instruction to show a trial under")
        return replace(rollout, instruction=other)
    [shown] = blinded(control, [Shown(rollout.frames, rollout.instruction)], seed)
    return rollout if shown is None else replace(rollout, frames=shown.frames)


def _pairs(trials: Sequence[AuditTrial], most: int, seed: int) -> list[tuple[AuditTrial, AuditTrial]]:
    """Successes with failures of the same instruction, each trial once."""
    random = np.random.default_rng(seed)
    found = []
    for words in sorted({trial.instruction for trial in trials}):
        own = [trial for trial in trials if trial.instruction == words]
        sides = [[trial for trial in own if trial.success is outcome] for outcome in (True, False)]
        shuffled = [[side[index] for index in random.permutation(len(side))] for side in sides]
        found += list(zip(*shuffled, strict=False))
    return [found[index] for index in sorted(random.permutation(len(found))[:most])]
