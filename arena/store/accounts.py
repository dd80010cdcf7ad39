"""Who may do what over the network: tokens, who owns which policy, and who asked for which job.

A token is `da_ID_SECRET`. Its secret has 256 random bits, so that a plain SHA-256 of it is enough: there is nothing to
guess. Every change is written down in the audit trail in the same transaction.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from arena.contracts import DreamarenaError, InvalidInput
from arena.store.database import Database, insert_new
from arena.store.records import NotFound, Scope, TokenRecord
from arena.store.tables import AuditRow, JobAskerRow, PolicyOwnerRow, TokenRow

TOKEN = re.compile(r"da_[0-9a-f]{12}_[0-9a-f]{64}")
OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
MAX_NOTE = 200
ID_BYTES, SECRET_BYTES = 6, 32


class TokenRefused(DreamarenaError):
    """`why` is `unknown`, `expired` or `revoked`."""

    def __init__(self, why: str) -> None:
        super().__init__(f"this token is {why}: ask whoever runs the server for another one")
        self.why = why


class Accounts:
    """Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_token(
        self, owner: str, scopes: Iterable[Scope], by: str, expires_at: float | None = None, note: str = ""
    ) -> tuple[str, TokenRecord]:
        """A new token for `owner`, made by `by`: its text, which is told this once, and its record.

        Raises `InvalidInput` for a name that is none, no scopes, or an expiry that is past.
        """
        granted = _checked_scopes(scopes)
        if not OWNER.fullmatch(owner):
            raise InvalidInput(f"an owner is 1 to 64 letters, digits and ._@+-, not {owner!r}")
        if expires_at is not None and not expires_at > time.time():
            raise InvalidInput("a token must expire in the future")
        if len(note) > MAX_NOTE or not note.isprintable():
            raise InvalidInput(f"a note is one line of at most {MAX_NOTE} characters")
        id = secrets.token_hex(ID_BYTES)
        token = f"da_{id}_{secrets.token_hex(SECRET_BYTES)}"
        record = TokenRecord(id, owner, granted, note, time.time(), expires_at)
        with self._database.write() as session:
            session.add(
                TokenRow(
                    id=id, secret_sha256=_sha256(token), owner=owner, scopes=[scope.value for scope in granted],
                    note=note, created_at=record.created_at, expires_at=expires_at, revoked_at=None,
                )
            )  # fmt: skip
            said = {"by": by, "token": id, "owner": owner, "scopes": [scope.value for scope in granted]}
            _note(session, "token_created", {**said, "expires_at": expires_at})
        return token, record

    def recognise(self, token: str) -> TokenRecord:
        """Whose token this is. Raises `TokenRefused`."""
        if not TOKEN.fullmatch(token):
            raise TokenRefused("unknown")
        with self._database.read() as session:
            row = session.scalar(select(TokenRow).where(TokenRow.secret_sha256 == _sha256(token)))
        if row is None:
            raise TokenRefused("unknown")
        if row.revoked_at is not None:
            raise TokenRefused("revoked")
        if row.expires_at is not None and row.expires_at <= time.time():
            raise TokenRefused("expired")
        return _token(row)

    def tokens(self, owner: str | None = None) -> list[TokenRecord]:
        """All, or those of one owner, newest first."""
        query = select(TokenRow).order_by(TokenRow.created_at.desc(), TokenRow.id)
        if owner is not None:
            query = query.where(TokenRow.owner == owner)
        with self._database.read() as session:
            return [_token(row) for row in session.scalars(query)]

    def revoke_token(self, id: str, by: str) -> TokenRecord:
        """It opens nothing from now on. One that was revoked before stays so. Raises `NotFound`."""
        with self._database.write() as session:
            row = session.get(TokenRow, id)
            if row is None:
                raise NotFound(f"there is no token {id!r} in the store")
            if row.revoked_at is None:
                row.revoked_at = time.time()
                _note(session, "token_revoked", {"by": by, "token": id, "owner": row.owner})
            return _token(row)

    def own_policy(self, sha256: str, owner: str, private: bool) -> bool:
        """Note who submitted a policy, unless somebody did before. Returns whether it was noted now.

        A policy is as private as whoever submitted it first said: its owner may make it public later, by submitting
        it again, and nobody can take back what all could see. Raises `InvalidInput` for a policy that is somebody
        else's and private, and for one that is public and is to be private.
        """
        row = {"sha256": sha256, "owner": owner, "private": private, "created_at": time.time()}
        with self._database.write() as session:
            if insert_new(session, PolicyOwnerRow, row):
                _note(session, "policy_owned", {"by": owner, "policy": sha256, "private": private})
                return True
            known = session.get_one(PolicyOwnerRow, sha256)
            if known.private and known.owner != owner:
                raise InvalidInput("this policy was submitted by somebody else, who keeps it private")
            if private and not known.private:
                raise InvalidInput("this policy is public already and cannot be made private")
            if known.private and not private:
                known.private = False
                _note(session, "policy_published", {"by": owner, "policy": sha256})
            return False

    def owners(self) -> Mapping[str, tuple[str, bool]]:
        """For each policy that somebody submitted over the network, by content hash: who, and whether it is private."""
        with self._database.read() as session:
            return {row.sha256: (row.owner, row.private) for row in session.scalars(select(PolicyOwnerRow))}

    def hidden(self, viewer: str | None) -> frozenset[str]:
        """Content hashes of the policies that `viewer` (None is a stranger) may not see: others' private ones."""
        query = select(PolicyOwnerRow.sha256).where(PolicyOwnerRow.private)
        if viewer is not None:
            query = query.where(PolicyOwnerRow.owner != viewer)
        with self._database.read() as session:
            return frozenset(session.scalars(query))

    def asked(self, key: str, owner: str) -> None:
        """Note that somebody asked for a job."""
        with self._database.write() as session:
            insert_new(session, JobAskerRow, {"key": key, "owner": owner, "created_at": time.time()})

    def askers(self, key: str) -> frozenset[str]:
        """Who asked for a job over the network; nobody, where it came from the command line or another job."""
        with self._database.read() as session:
            return frozenset(session.scalars(select(JobAskerRow.owner).where(JobAskerRow.key == key)))

    def note(self, event: str, by: str, detail: Mapping[str, Any]) -> None:
        """Append to the audit trail what `by` did."""
        with self._database.write() as session:
            _note(session, event, {"by": by, **detail})


def _checked_scopes(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    names = ", ".join(scope.value for scope in Scope)
    try:
        granted = tuple(sorted({Scope(scope) for scope in scopes}))
    except ValueError as error:
        raise InvalidInput(f"a token's scopes are among {names}: {error}") from None
    if not granted:
        raise InvalidInput(f"a token needs at least one scope of {names}")
    return granted


def _note(session: Session, event: str, detail: Mapping[str, Any]) -> None:
    session.add(AuditRow(event=event, voter=None, detail=dict(detail), created_at=time.time()))


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _token(row: TokenRow) -> TokenRecord:
    values: dict[str, Any] = {field.name: getattr(row, field.name) for field in fields(TokenRecord)}
    return TokenRecord(**values | {"scopes": _scopes(row.scopes)})


def _scopes(kept: Sequence[str]) -> tuple[Scope, ...]:
    return tuple(Scope(name) for name in kept)
