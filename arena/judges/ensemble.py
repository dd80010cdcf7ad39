"""Several judges as one, which speaks only where they agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from arena.contracts import InvalidInput, Judge, Rollout, Verdict
from arena.judges.card import EVEN, JudgeCard, threshold_of

NAME = "ensemble"
LEAST_SPEAKING = 2


@dataclass(frozen=True, kw_only=True)
class EnsembleCard(JudgeCard):
    """`members` are the judges' names, each with the first letters of its hash."""

    members: tuple[str, ...]


class EnsembleJudge:
    """The rule: at least two members, and more than half of them, give a success probability, and all who do are on the
    same side of their own threshold. Then the probability is the mean of theirs, each stretched so that its threshold
    lies at 1/2, and progress the median of theirs. Else it abstains, and says who said what.

    Raises `InvalidInput` with fewer than two members, or for one that is there twice.
    """

    name = NAME

    def __init__(self, members: Sequence[Judge]) -> None:
        self.members = tuple(members)
        hashes = [member.sha256 for member in self.members]
        if len(hashes) < LEAST_SPEAKING:
            raise InvalidInput(f"an ensemble needs at least {LEAST_SPEAKING} judges, e.g. ensemble:learned,judge.toml")
        if len({*hashes}) < len(hashes):
            raise InvalidInput("a judge is in the ensemble twice: it would always agree with itself")
        thresholds = [threshold_of(member) for member in self.members]
        described = [NAME, 1, sorted(zip(hashes, thresholds, strict=True))]
        self.sha256 = hashlib.sha256(json.dumps(described).encode()).hexdigest()
        names = tuple(f"{member.name} {member.sha256[:8]}" for member in self.members)
        self.card = EnsembleCard(threshold=EVEN, members=names)

    def judge(self, rollout: Rollout) -> Verdict:
        """A verdict, or an abstention with every member's word."""
        verdicts = [member.judge(rollout) for member in self.members]
        chances = [
            _stretched(verdict.success_probability, threshold_of(member))
            for member, verdict in zip(self.members, verdicts, strict=True)
            if verdict.success_probability is not None and not verdict.abstained
        ]
        said = "; ".join(_word(verdict) for verdict in verdicts)
        if len(chances) < LEAST_SPEAKING or 2 * len(chances) <= len(verdicts):
            return self._abstain(rollout, f"{len(chances)} of {len(verdicts)} speak of success: {said}")
        if len({chance >= EVEN for chance in chances}) > 1:
            return self._abstain(rollout, f"they disagree: {said}")
        progress = [verdict.progress for verdict in verdicts if verdict.progress is not None]
        came = median(progress) if progress else None
        return Verdict(rollout.id, self.name, self.sha256, mean(chances), came, f"they agree: {said}")

    def _abstain(self, rollout: Rollout, why: str) -> Verdict:
        return Verdict(rollout.id, self.name, self.sha256, None, None, why, abstained=True)


def _stretched(probability: float, threshold: float) -> float:
    """In two straight pieces, so that 0, the threshold and 1 go to 0, 1/2 and 1."""
    if probability >= threshold:
        return EVEN + EVEN * (probability - threshold) / (1 - threshold) if threshold < 1 else 1.0
    return EVEN * probability / threshold


def _word(verdict: Verdict) -> str:
    if verdict.abstained or verdict.success_probability is None:
        return f"{verdict.judge} abstains ({verdict.reason})"
    return f"{verdict.judge} {verdict.success_probability:.2f}"
