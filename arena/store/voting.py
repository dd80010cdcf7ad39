"""Voters, the pairs they were shown, their votes, and what else happened. Every method is one transaction."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from typing import Any, TypeVar

from sqlalchemy import func, select, update

from arena.store.database import Database, insert_new
from arena.store.records import AuditRecord, CastVote, NotFound, OfferRecord, VoterRecord
from arena.store.tables import AuditRow, OfferRow, OwnerRow, VoteRow, VoterRow

Record = TypeVar("Record", VoterRecord, OfferRecord, CastVote, AuditRecord)


class Voting:
    """Votes are appended and never changed; a voter who is forgotten leaves votes that nobody counts any more."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_voter(self, voter: VoterRecord) -> VoterRecord:
        """Register a voter, or return who is registered from the same origin under the same pseudonym."""
        if voter.external is not None:
            with suppress(NotFound):
                return self.known_as(voter.origin, voter.external)
        with self._database.write() as session:
            if insert_new(session, VoterRow, asdict(voter)) or voter.external is None:
                return voter
            query = select(VoterRow).where(VoterRow.origin == voter.origin, VoterRow.external == voter.external)
            return _record(VoterRecord, session.scalars(query).one())

    def voter(self, id: str) -> VoterRecord:
        """Raises `NotFound`."""
        with self._database.read() as session:
            row = session.get(VoterRow, id)
            if row is None:
                raise NotFound(f"there is no voter {id!r} in the store")
            return _record(VoterRecord, row)

    def known_as(self, origin: str, external: str) -> VoterRecord:
        """Who came from `origin` under a pseudonym. Raises `NotFound`."""
        query = select(VoterRow).where(VoterRow.origin == origin, VoterRow.external == external)
        with self._database.read() as session:
            row = session.scalar(query)
            if row is None:
                raise NotFound(f"nobody of that name came from {origin}")
            return _record(VoterRecord, row)

    def voters(self) -> list[VoterRecord]:
        """The first to come first."""
        with self._database.read() as session:
            rows = session.scalars(select(VoterRow).order_by(VoterRow.created_at, VoterRow.id))
            return [_record(VoterRecord, row) for row in rows]

    def tutored(self, id: str) -> None:
        """Note that a voter has done the tutorial."""
        with self._database.write() as session:
            session.execute(
                update(VoterRow).where(VoterRow.id == id, VoterRow.tutored_at.is_(None)).values(tutored_at=time.time())
            )

    def forget(self, id: str) -> int:
        """Break the link to whoever a voter is, and count their votes no more. Returns how many those are.

        Raises `NotFound`.
        """
        now = time.time()
        with self._database.write() as session:
            row = session.get(VoterRow, id)
            if row is None:
                raise NotFound(f"there is no voter {id!r} in the store")
            row.external, row.facts, row.forgotten_at = None, {}, row.forgotten_at or now
            votes = session.scalar(select(func.count()).where(VoteRow.voter == id)) or 0
            session.add(AuditRow(event="voter_forgotten", voter=id, detail={"votes": votes}, created_at=now))
            return votes

    def forgotten(self) -> int:
        """How many voters were forgotten: where that grows, votes that were read before count no more."""
        with self._database.read() as session:
            return session.scalar(select(func.count()).where(VoterRow.forgotten_at.is_not(None))) or 0

    def add_offer(self, offer: OfferRecord) -> bool:
        """Note a pair before its voter sees it. Returns False where that voter was shown that pair before."""
        with self._database.write() as session:
            return insert_new(session, OfferRow, asdict(offer))

    def offer(self, id: str) -> OfferRecord:
        """Raises `NotFound`."""
        with self._database.read() as session:
            row = session.scalar(select(OfferRow).where(OfferRow.id == id))
            if row is None:
                raise NotFound(f"there is no pair {id!r} in the store")
            return _record(OfferRecord, row)

    def offers(self, voter: str) -> list[tuple[OfferRecord, CastVote | None]]:
        """All pairs that a voter was shown, oldest first, each with the vote on it, if there is one."""
        query = select(OfferRow, VoteRow).outerjoin(VoteRow, VoteRow.offer_id == OfferRow.id)
        query = query.where(OfferRow.voter == voter).order_by(OfferRow.number)
        with self._database.read() as session:
            return [
                (_record(OfferRecord, offer), None if vote is None else _record(CastVote, vote))
                for offer, vote in session.execute(query)
            ]

    def spent(self, offer: str) -> bool:
        """Whether a pair was voted on."""
        with self._database.read() as session:
            return session.scalar(select(VoteRow.id).where(VoteRow.offer_id == offer)) is not None

    def skip(self, offer: str) -> bool:
        """Close a pair without a vote. Returns False where it was voted on or skipped before."""
        voted = select(VoteRow.id).where(VoteRow.offer_id == offer).exists()
        change = update(OfferRow).where(OfferRow.id == offer, OfferRow.skipped_at.is_(None), ~voted)
        with self._database.write() as session:
            found: Any = session.execute(change.values(skipped_at=time.time()))
            return bool(found.rowcount)

    def cast(self, vote: CastVote) -> bool:
        """Append a vote. Returns False where its pair was voted on before: nothing is changed then."""
        with self._database.write() as session:
            return insert_new(session, VoteRow, asdict(vote))

    def cast_since(self, voter: str, since: float) -> tuple[int, float | None]:
        """How many votes a voter has cast since a time, and when the last one was."""
        query = select(func.count(), func.max(VoteRow.created_at))
        with self._database.read() as session:
            count, last = session.execute(query.where(VoteRow.voter == voter, VoteRow.created_at > since)).one()
            return int(count), last

    def votes_of(self, voter: str) -> int:
        """How many votes a voter has cast."""
        with self._database.read() as session:
            return session.scalar(select(func.count()).where(VoteRow.voter == voter)) or 0

    def votes(self, after: int = 0) -> list[tuple[int, OfferRecord, CastVote]]:
        """Votes that count, as (number, pair, vote) in the order cast: those after the one with number `after`."""
        query = _counted(select(VoteRow.id, OfferRow, VoteRow)).where(VoteRow.id > after).order_by(VoteRow.id)
        with self._database.read() as session:
            rows = session.execute(query)
            return [(id, _record(OfferRecord, offer), _record(CastVote, vote)) for id, offer, vote in rows]

    def own(self, policy: str, voter: str) -> None:
        """Note that a voter submitted a policy."""
        with self._database.write() as session:
            insert_new(session, OwnerRow, {"policy": policy, "voter": voter})

    def owned(self, voter: str) -> frozenset[str]:
        """The policies that a voter submitted."""
        with self._database.read() as session:
            return frozenset(session.scalars(select(OwnerRow.policy).where(OwnerRow.voter == voter)))

    def note(self, event: str, voter: str | None, detail: Mapping[str, Any]) -> None:
        """Append to the audit trail."""
        with self._database.write() as session:
            session.add(AuditRow(event=event, voter=voter, detail=dict(detail), created_at=time.time()))

    def audit_page(self, before: int | None, limit: int) -> list[tuple[int, AuditRecord]]:
        """The audit trail, numbered, the newest first: what is older than the entry `before`, or from the end."""
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
        if before is not None:
            query = query.where(AuditRow.id < before)
        with self._database.read() as session:
            return [(row.id, _record(AuditRecord, row)) for row in session.scalars(query)]

    def audit(self, events: Sequence[str] = (), limit: int = 1000) -> list[AuditRecord]:
        """The newest first; of these `events` alone, or all."""
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
        if events:
            query = query.where(AuditRow.event.in_(events))
        with self._database.read() as session:
            return [_record(AuditRecord, row) for row in session.scalars(query)]


def _counted(query: Any) -> Any:
    """Of voters who were not forgotten."""
    query = query.join(OfferRow, OfferRow.id == VoteRow.offer_id).join(VoterRow, VoterRow.id == VoteRow.voter)
    return query.where(VoterRow.forgotten_at.is_(None))


def _record(kind: type[Record], row: Any) -> Record:
    return kind(**{field.name: getattr(row, field.name) for field in fields(kind)})
