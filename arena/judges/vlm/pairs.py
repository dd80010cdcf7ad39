"""Pairwise mode: two rollouts side by side, asked for in both orders, because models prefer what they see first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from arena.contracts import Choice, InvalidInput, Rollout
from arena.judges.abilities import Comparison
from arena.judges.vlm.answers import preference_form
from arena.judges.vlm.asking import Asker, Question
from arena.judges.vlm.config import VlmConfig
from arena.judges.vlm.failures import Missing
from arena.judges.vlm.frames import Picture
from arena.judges.vlm.prompts import PREFERENCE, preference_parts

_IN_ORDER: Mapping[str, Choice] = MappingProxyType(
    {"first": Choice.LEFT, "second": Choice.RIGHT, "tie": Choice.TIE, "both_bad": Choice.BOTH_BAD}
)
_SWAPPED: Mapping[str, Choice] = MappingProxyType({**_IN_ORDER, "first": Choice.RIGHT, "second": Choice.LEFT})


def compare(asker: Asker, config: VlmConfig, judge: str, left: Rollout, right: Rollout) -> Comparison:
    """Both orders, `config.repeats` times each; in each order what more than half of the repeats say counts.

    Half of the frames of a plan are shown of each. Raises `InvalidInput` for rollouts of different instructions, or
    that cannot be shown.
    """
    if left.instruction != right.instruction:
        raise InvalidInput(f"{left.id} and {right.id} were told different things and cannot be compared")
    most = max(2, config.frames.max_frames // 2)
    shown = [config.frames.pictures(rollout.frames, rollout.fps, most) for rollout in (left, right)]
    in_order, why = _asked(asker, config, left.instruction, shown[0], shown[1], _IN_ORDER)
    swapped, why_swapped = _asked(asker, config, left.instruction, shown[1], shown[0], _SWAPPED)
    return Comparison(left.id, right.id, judge, config.sha256, in_order, swapped, why or why_swapped)


def _asked(
    asker: Asker, config: VlmConfig, instruction: str, first: list[Picture], second: list[Picture],
    meaning: Mapping[str, Choice],
) -> tuple[Choice | None, str]:  # fmt: skip
    """What the majority of the repeats say in one order, and a reason; None without a majority."""
    parts = tuple(preference_parts(instruction, first, second))
    said: Counter[Choice] = Counter()
    reason = ""
    for repeat in range(config.repeats):
        answered = asker.ask(Question(PREFERENCE, parts, repeat), preference_form())
        if isinstance(answered, Missing):
            reason = str(answered)
            if answered.kind.is_the_endpoints:
                break
            continue
        said[meaning[answered.better]] += 1
        reason = reason or answered.reason
    choice, count = said.most_common(1)[0] if said else (None, 0)
    return (choice if 2 * count > config.repeats else None), reason
