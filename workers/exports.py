"""Tables for other programs: votes and rollouts as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from arena.contracts import Verdict

if TYPE_CHECKING:
    from arena.store import RolloutRecord
    from arena.votes.tally import Weighed

VOTES = ("left", "right", "winner", "worker", "scene", "seconds", "weight")
ROLLOUTS = (
    "rollout", "policy", "world", "scene", "task", "instruction", "seed", "frames", "fps", "true_success", "judge",
    "success_probability", "progress", "abstained", "reason",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the beginning of a formula."""


def votes_csv(weighed: Weighed) -> str:
    """Votes as `dreamarena rank` reads them; voters are opaque ids."""
    rows = (
        (vote.left, vote.right, vote.choice.value, vote.voter, vote.scene_id, vote.seconds, f"{weight:.6g}")
        for vote, weight in zip(weighed.votes, weighed.weights, strict=True)
    )
    return _csv(VOTES, rows)


def rollouts_csv(rollouts: Sequence[RolloutRecord], said: Mapping[str, Sequence[Verdict]]) -> str:
    """A row for each verdict on each rollout; one with empty cells where no judge spoke.

    Instructions, names and reasons come from outside: they open as text in a spreadsheet.
    """

    def rows() -> Iterable[tuple[object, ...]]:
        for each in rollouts:
            facts = (
                each.id, each.policy, each.world, each.scene_id, each.task, each.instruction, each.seed, each.frames,
                each.fps, each.success,
            )  # fmt: skip
            for verdict in said.get(each.id) or (None,):
                yield tuple(_cell(value) for value in (*facts, *_said(verdict)))

    return _csv(ROLLOUTS, rows())


def _said(verdict: Verdict | None) -> tuple[object, ...]:
    if verdict is None:
        return ("",) * 5
    return (verdict.judge, verdict.success_probability, verdict.progress, verdict.abstained, verdict.reason)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
