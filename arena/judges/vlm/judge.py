"""The vision-language judge: progress for each frame, a score from the last ones, and the median of several asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from arena.contracts import FloatArray, InvalidInput, Rollout, Verdict
from arena.judges.abilities import Comparison
from arena.judges.card import JudgeCard
from arena.judges.vlm.answers import scores_form
from arena.judges.vlm.asking import Asker, Question, windows
from arena.judges.vlm.cache import ReplyCache
from arena.judges.vlm.config import KIND, VlmConfig
from arena.judges.vlm.failures import POLICIES, EndpointDown, EndpointRefused, Failure, Missing, Retry
from arena.judges.vlm.frames import Picture
from arena.judges.vlm.ledger import Ledger
from arena.judges.vlm.pairs import compare
from arena.judges.vlm.prompts import PROMPT_VERSION, SCORES, Seen, scores_parts

OUTAGE = 3
"""Rollouts in a row that an endpoint loses before it counts as down: abstaining from all others would say nothing."""


@dataclass(frozen=True, kw_only=True)
class VlmCard(JudgeCard):
    """`endpoint` is where it is asked, or what it is said to be served as."""

    model: str
    endpoint: str
    prompt_version: int
    repeats: int


@dataclass(frozen=True)
class Take:
    """One repeat's answers on a rollout: `progress` `(F,)` in [0, 100] of the judged frames, and the last `success`."""

    progress: FloatArray
    success: float
    reason: str

    def score(self, last_share: float) -> float:
        """The mean progress over the last `last_share` of the frames, at least one."""
        count = max(1, math.ceil(last_share * len(self.progress)))
        return float(self.progress[-count:].mean())


@dataclass(frozen=True)
class Reading:
    """All that was answered on a rollout. `seconds` `(F,)` are the judged frames' times since its start.

    `missing` is the first question that stayed without an answer, if any.
    """

    seconds: tuple[float, ...]
    takes: tuple[Take, ...]
    missing: Missing | None

    @property
    def progress(self) -> FloatArray:
        """`(F,)`: the median over repeats of each frame's progress; empty without any."""
        return np.median([take.progress for take in self.takes], axis=0) if self.takes else np.zeros(0)


class VlmJudge:
    """Shows a model a rollout's frames and believes only answers that fit the schema.

    It abstains where fewer than half of the repeats got an answer, and says why. Replies are kept in `cache` by
    everything that shapes them. Raises `BudgetSpent`, `EndpointRefused` and, after several rollouts in a row that the
    endpoint lost, `EndpointDown`: those are not about any rollout.
    """

    name = KIND

    def __init__(
        self,
        config: VlmConfig,
        cache: ReplyCache,
        ledger: Ledger | None = None,
        policies: Mapping[Failure, Retry] = POLICIES,
        pause: Callable[[float], None] | None = None,
    ) -> None:
        self.config, self.sha256 = config, config.sha256
        self.ledger = ledger if ledger is not None else Ledger(config.budget)
        self.card = VlmCard(
            threshold=config.threshold,
            notes=("as it comes: run `dreamarena judge audit` to see what its verdicts are worth",),
            model=config.model,
            endpoint=config.served_as or config.endpoint.url,
            prompt_version=PROMPT_VERSION,
            repeats=config.repeats,
        )
        self._asker = Asker(
            config.endpoint, config.model, config.identity, config.sampling, cache, self.ledger, policies,
            **({} if pause is None else {"pause": pause}),
        )  # fmt: skip
        self._lost_in_a_row = 0

    def judge(self, rollout: Rollout) -> Verdict:
        """A verdict, or an abstention with its reason; never an error for what a rollout shows."""
        try:
            reading = self.read(rollout)
        except InvalidInput as error:
            if isinstance(error, EndpointRefused):
                raise
            return self._abstain(rollout, str(error))
        least = math.ceil(self.config.repeats / 2)
        if len(reading.takes) < least:
            why = f"{len(reading.takes)} of {self.config.repeats} answers, at least {least} are needed"
            return self._abstain(rollout, f"{why}; {reading.missing}")
        scores = [take.score(self.config.last_share) for take in reading.takes]
        chosen = reading.takes[int(np.argsort(scores, kind="stable")[(len(scores) - 1) // 2])]
        success = median(take.success for take in reading.takes)
        return Verdict(rollout.id, self.name, self.sha256, success, median(scores), chosen.reason)

    def takes(self, rollout: Rollout) -> list[Verdict]:
        """A verdict from each repeat alone, from the same answers as `judge`'s; none where that abstains."""
        if self.judge(rollout).abstained:
            return []
        return [
            Verdict(rollout.id, self.name, self.sha256, take.success, take.score(self.config.last_share), take.reason)
            for take in self.read(rollout).takes
        ]

    def read(self, rollout: Rollout) -> Reading:
        """Every repeat's answers on a rollout.

        Raises `InvalidInput` where its frames or its instruction cannot be shown.
        """
        pictures = self.config.frames.pictures(rollout.frames, rollout.fps)
        judged = pictures[1:] or pictures
        takes: list[Take] = []
        missing: Missing | None = None
        for repeat in range(self.config.repeats):
            answered = self._take(rollout.instruction, pictures[0], judged, repeat)
            if isinstance(answered, Take):
                takes.append(answered)
                continue
            missing = missing or answered
            if answered.kind.is_the_endpoints:
                break
        self._watch(missing, bool(takes))
        return Reading(tuple(picture.seconds for picture in judged), tuple(takes), missing)

    def compare(self, left: Rollout, right: Rollout) -> Comparison:
        """Which of two went better, asked in both orders. Raises `InvalidInput` for different instructions."""
        return compare(self._asker, self.config, self.name, left, right)

    def _take(self, instruction: str, first: Picture, judged: Sequence[Picture], repeat: int) -> Take | Missing:
        """One repeat: window after window, each shown with the end of the one before and what was said of it."""
        seen: list[Seen] = []
        success, reason = 0.0, ""
        for window in windows(judged, self.config.frames.window):
            context = seen[len(seen) - min(self.config.frames.context, len(seen)) :]
            parts = scores_parts(instruction, first, context, window)
            answered = self._asker.ask(Question(SCORES, tuple(parts), repeat), scores_form(len(window)))
            if isinstance(answered, Missing):
                return answered
            seen += [Seen(picture, value) for picture, value in zip(window, answered.progress, strict=True)]
            success, reason = answered.success, answered.reason
        return Take(np.array([each.progress for each in seen]), success, reason)

    def _watch(self, missing: Missing | None, answered: bool) -> None:
        lost = missing is not None and missing.kind.is_the_endpoints and not answered
        self._lost_in_a_row = self._lost_in_a_row + 1 if lost else 0
        if self._lost_in_a_row >= OUTAGE:
            raise EndpointDown(
                f"{self.config.endpoint.url} lost {OUTAGE} rollouts in a row, the last by {missing}: run the same "
                "command again when it answers; what was judged is kept"
            )

    def _abstain(self, rollout: Rollout, why: str) -> Verdict:
        return Verdict(rollout.id, self.name, self.sha256, None, None, why, abstained=True)
