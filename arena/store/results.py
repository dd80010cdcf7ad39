"""What came of evaluating: evaluations, rollouts and verdicts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import select, update

from arena.contracts import Provenance, Rollout, Verdict
from arena.store.database import Database, in_parts, insert_new
from arena.store.records import EvaluationGlance, EvaluationRecord, EvaluationStatus, Json, NotFound, RolloutRecord
from arena.store.tables import EvaluationRolloutRow, EvaluationRow, RolloutRow, VerdictRow


class Results:
    """Adding what is already there changes nothing, so a step that is run again is safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open_evaluation(self, id: str, config: Json, config_sha256: str, seed: int) -> EvaluationRecord:
        """Begin an evaluation, or continue the one that has this id, whose `config` is then what is given now: parts of
        it may say how it was asked for, which is no part of what the id is of.
        """
        values: dict[str, Any] = {"id": id, "config": dict(config), "config_sha256": config_sha256, "seed": seed}
        fresh = {"status": EvaluationStatus.RUNNING, "created_at": time.time()}
        with self._database.write() as session:
            if not insert_new(session, EvaluationRow, values | fresh):
                known = update(EvaluationRow).where(EvaluationRow.id == id)
                session.execute(known.values(config=dict(config)))
        return self.evaluation(id)

    def finish_evaluation(self, id: str, result: Json) -> None:
        changes = {"status": EvaluationStatus.DONE, "result": dict(result), "finished_at": time.time()}
        with self._database.write() as session:
            session.execute(update(EvaluationRow).where(EvaluationRow.id == id).values(**changes))

    def evaluation(self, id: str) -> EvaluationRecord:
        """Raises `NotFound`."""
        with self._database.read() as session:
            row = session.get(EvaluationRow, id)
            if row is None:
                raise NotFound(f"there is no evaluation {id!r} in the store")
            return _evaluation(row)

    def finished_evaluation(self, id: str) -> EvaluationRecord:
        """An evaluation that has a result. Raises `NotFound`, also where it is not finished."""
        record = self.evaluation(id)
        if record.result is None:
            raise NotFound(f"evaluation {id} is not finished: run its `dreamarena evaluate` again to resume it")
        return record

    def evaluations(self) -> list[EvaluationRecord]:
        """Newest first."""
        with self._database.read() as session:
            rows = session.scalars(select(EvaluationRow).order_by(EvaluationRow.created_at.desc()))
            return [_evaluation(row) for row in rows]

    def glances(self) -> list[EvaluationGlance]:
        """What evaluations there are, newest first, without reading what came of them."""
        row = EvaluationRow
        policies = row.config["policies"]
        query = select(row.id, row.status, row.created_at, row.finished_at, policies)
        with self._database.read() as session:
            return [
                EvaluationGlance(id, EvaluationStatus(status), created, finished, _hashes(policies))
                for id, status, created, finished, policies in session.execute(
                    query.order_by(row.created_at.desc(), row.id)
                )
            ]

    def page_of_rollouts(
        self, evaluation_id: str, after: str, limit: int, policy: str | None = None, scene: str | None = None
    ) -> list[RolloutRecord]:
        """At most `limit` rollouts of an evaluation by id, those after the one with id `after`."""
        query = select(RolloutRow).join(EvaluationRolloutRow, EvaluationRolloutRow.rollout_id == RolloutRow.id)
        query = query.where(EvaluationRolloutRow.evaluation_id == evaluation_id, RolloutRow.id > after)
        for column, value in ((RolloutRow.policy, policy), (RolloutRow.scene_id, scene)):
            if value is not None:
                query = query.where(column == value)
        with self._database.read() as session:
            return [_rollout(row) for row in session.scalars(query.order_by(RolloutRow.id).limit(limit))]

    def add_rollout(self, rollout: Rollout, artifact: str) -> bool:
        """Record a rollout whose frames are at `artifact`. Returns False where it was already recorded."""
        here = {"frames": len(rollout.state), "artifact": artifact, "created_at": time.time()}
        with self._database.write() as session:
            return insert_new(session, RolloutRow, rollout.facts | here)

    def link_rollouts(self, evaluation_id: str, rollout_ids: Iterable[str]) -> None:
        """Say which rollouts an evaluation rests on."""
        with self._database.write() as session:
            for id in rollout_ids:
                insert_new(session, EvaluationRolloutRow, {"evaluation_id": evaluation_id, "rollout_id": id})

    def rollout(self, id: str) -> RolloutRecord:
        """Raises `NotFound`."""
        with self._database.read() as session:
            row = session.get(RolloutRow, id)
            if row is None:
                raise NotFound(f"there is no rollout {id!r} in the store")
            return _rollout(row)

    def rollouts(self, evaluation_id: str | None = None) -> list[RolloutRecord]:
        """Rollouts of one evaluation, or all, by scene and then policy."""
        query = select(RolloutRow)
        if evaluation_id is not None:
            query = query.join(EvaluationRolloutRow, EvaluationRolloutRow.rollout_id == RolloutRow.id)
            query = query.where(EvaluationRolloutRow.evaluation_id == evaluation_id)
        query = query.order_by(RolloutRow.scene_id, RolloutRow.policy, RolloutRow.id)
        with self._database.read() as session:
            return [_rollout(row) for row in session.scalars(query)]

    def known_rollouts(self, ids: Sequence[str]) -> set[str]:
        """Which of `ids` are recorded."""
        with self._database.read() as session:
            queries = [select(RolloutRow.id).where(RolloutRow.id.in_(part)) for part in in_parts(ids)]
            return {id for query in queries for id in session.scalars(query)}

    def add_verdict(self, verdict: Verdict) -> bool:
        """Record one judge's word on one rollout. Returns False where that judge already spoke."""
        with self._database.write() as session:
            return insert_new(session, VerdictRow, asdict(verdict) | {"created_at": time.time()})

    def verdicts(self, rollout_ids: Sequence[str], judge_sha256: str | None = None) -> list[Verdict]:
        """By rollout, and then by judge."""
        rows: list[VerdictRow] = []
        with self._database.read() as session:
            for part in in_parts(rollout_ids):
                query = select(VerdictRow).where(VerdictRow.rollout_id.in_(part))
                if judge_sha256 is not None:
                    query = query.where(VerdictRow.judge_sha256 == judge_sha256)
                rows += session.scalars(query)
        return [_verdict(row) for row in sorted(rows, key=lambda row: (row.rollout_id, row.judge_sha256))]


def _evaluation(row: EvaluationRow) -> EvaluationRecord:
    status = EvaluationStatus(row.status)
    return EvaluationRecord(
        row.id, row.config, row.config_sha256, row.seed, status, row.result, row.created_at, row.finished_at
    )


def _hashes(policies: Any) -> frozenset[str]:
    """Of an evaluation's policies: pairs of a spec and a content hash."""
    return frozenset(str(pair[1]) for pair in policies or ())


def _rollout(row: RolloutRow) -> RolloutRecord:
    values = {field.name: getattr(row, field.name) for field in fields(RolloutRecord)}
    changed = {"provenance": Provenance(**row.provenance), "step_seconds": tuple(row.step_seconds)}
    return RolloutRecord(**values | changed)


def _verdict(row: VerdictRow) -> Verdict:
    return Verdict(
        row.rollout_id, row.judge, row.judge_sha256, row.success_probability, row.progress, row.reason, row.abstained
    )
