"""Several judges as one: it speaks where they agree, by a stated rule, and abstains elsewhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest

from arena.contracts import InvalidInput, Rollout, Verdict
from arena.judges.card import JudgeCard
from arena.judges.ensemble import EnsembleJudge
from tests.arena.judges.vlm.stub import rollout

CARD = JudgeCard()


@dataclass(frozen=True)
class Says:
    """Always the same; None abstains."""

    name: str
    probability: float | None
    card: JudgeCard = CARD
    progress: float | None = 50.0

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()

    def judge(self, on: Rollout) -> Verdict:
        missing = self.probability is None
        progress = None if missing else self.progress
        return Verdict(on.id, self.name, self.sha256, self.probability, progress, "why", abstained=missing)


@pytest.mark.parametrize(
    ("said", "probability", "reason"),
    [
        ((0.8, 0.6), 0.7, "they agree: a 0.80; b 0.60"),
        ((0.1, 0.3), 0.2, "they agree"),
        ((0.8, 0.4), None, "they disagree: a 0.80; b 0.40"),
        ((0.8, None), None, "1 of 2 speak of success: a 0.80; b abstains (why)"),
        ((0.9, 0.7, None), 0.8, "they agree"),
        ((0.9, 0.7, 0.2), None, "they disagree"),
        ((0.9, 0.7, None, None), None, "2 of 4 speak"),
        ((None, None), None, "0 of 2 speak"),
    ],
)
def test_the_rule(said: tuple[float | None, ...], probability: float | None, reason: str) -> None:
    judge = EnsembleJudge([Says(name, each) for name, each in zip("abcd", said, strict=False)])
    verdict = judge.judge(rollout())
    assert verdict.abstained is (probability is None)
    assert verdict.success_probability == (None if probability is None else pytest.approx(probability))
    assert verdict.reason.startswith(reason)
    assert verdict.progress == (None if probability is None else 50.0)


def test_each_member_has_its_own_threshold() -> None:
    strict, lax = JudgeCard(threshold=0.8), JudgeCard(threshold=0.2)
    agreed = EnsembleJudge([Says("a", 0.9, strict), Says("b", 0.3, lax)]).judge(rollout())
    assert agreed.success_probability == pytest.approx((0.75 + 0.5625) / 2)
    assert EnsembleJudge([Says("a", 0.7, strict), Says("b", 0.3, lax)]).judge(rollout()).abstained
    both = EnsembleJudge([Says("a", 0.4, strict), Says("b", 0.1, lax)]).judge(rollout())
    assert both.success_probability == pytest.approx(0.25)


def test_its_hash_is_its_members() -> None:
    a, b = Says("a", 0.9), Says("b", 0.9)
    assert EnsembleJudge([a, b]).sha256 == EnsembleJudge([b, a]).sha256
    assert EnsembleJudge([a, Says("c", 0.9)]).sha256 != EnsembleJudge([a, b]).sha256
    for members, message in (([a], "at least 2"), ([a, a], "twice")):
        with pytest.raises(InvalidInput, match=message):
            EnsembleJudge(members)
