"""Numbers for dashboards: counts and ages, each by one query over what the other tables hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from arena.store.database import Database
from arena.store.records import JobStatus
from arena.store.tables import EvaluationRow, JobRow, RolloutRow, VerdictRow, VoteRow


@dataclass(frozen=True)
class JobTotal:
    """Jobs of a kind in a state; `oldest` is the age in seconds of the one that was asked for first."""

    kind: str
    status: JobStatus
    count: int
    oldest: float


@dataclass(frozen=True)
class Totals:
    """`rollouts` and `frames` are by world, `verdicts` by judge and whether it abstained."""

    jobs: tuple[JobTotal, ...]
    rollouts: dict[str, tuple[int, int]]
    verdicts: dict[tuple[str, bool], int]
    votes: int
    evaluations: dict[str, int]
    judging: tuple[dict[str, Any], ...]
    """What the finished jobs of the kind `judge` say that they spent."""


def totals(database: Database) -> Totals:
    jobs = select(JobRow.kind, JobRow.status, func.count(), func.min(JobRow.created_at)).group_by(
        JobRow.kind, JobRow.status
    )
    rollouts = select(RolloutRow.world, func.count(), func.sum(RolloutRow.frames)).group_by(RolloutRow.world)
    verdicts = select(VerdictRow.judge, VerdictRow.abstained, func.count()).group_by(
        VerdictRow.judge, VerdictRow.abstained
    )
    evaluations = select(EvaluationRow.status, func.count()).group_by(EvaluationRow.status)
    judged = select(JobRow.result).where(JobRow.status == JobStatus.DONE, JobRow.kind == "judge")
    with database.read() as session:
        now = database.now(session)
        return Totals(
            tuple(
                JobTotal(kind, JobStatus(status), int(count), max(0.0, now - first))
                for kind, status, count, first in session.execute(jobs)
            ),
            {world: (int(count), int(frames or 0)) for world, count, frames in session.execute(rollouts)},
            {(judge, bool(abstained)): int(count) for judge, abstained, count in session.execute(verdicts)},
            int(session.scalar(select(func.count()).select_from(VoteRow)) or 0),
            {status: int(count) for status, count in session.execute(evaluations)},
            tuple(dict(result) for result in session.scalars(judged) if result),
        )
