"""The state of the server, who is asking, and, for admins, tokens and the audit trail."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse

from arena.store import TokenRecord
from workers.api import models
from workers.api.access import STRANGERS, Admin, Anybody, server_of
from workers.api.models import Id, Limit
from workers.launch import broker_of
from workers.metrics import CONTENT_TYPE, exposition
from workers.runner import BrokerUnreachable

router = APIRouter()

DAY = 86_400.0
Number = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="`next` of the page before")]


@router.get("/health", response_model=models.Health, tags=["state"])
def health(request: Request) -> models.Health:
    """Whether the server and its database answer. Needs no token."""
    server = server_of(request)
    server.limits.spend(f"stranger {request.client.host if request.client else ''}", STRANGERS)
    server.store.jobs.counts()
    return models.Health(version=version("dreamarena"))


@router.get("/status", response_model=models.Status, tags=["state"])
def status(visitor: Anybody) -> models.Status:
    """How much is done, waits, and failed."""
    counts = {str(state): count for state, count in visitor.server.store.jobs.counts().items()}
    return models.Status(version=version("dreamarena"), jobs=counts, evaluations=len(visitor.evaluations()))


@router.get("/me", response_model=models.Me, tags=["state"])
def me(visitor: Anybody) -> models.Me:
    """Whose token this is, and what it allows."""
    token = visitor.token
    if token is None:
        return models.Me(owner=None, scopes=[])
    return models.Me(owner=token.owner, scopes=list(token.scopes), token=token.id, expires_at=token.expires_at)


@router.get("/admin/tokens", response_model=models.Tokens, tags=["admin"])
def tokens(
    visitor: Admin, owner: Annotated[str | None, Query(max_length=64, pattern=r"^[^\x00-\x1f]*$")] = None
) -> models.Tokens:
    """All tokens, or one owner's, without their secrets."""
    return models.Tokens(items=[models.Token.of(each) for each in visitor.server.store.accounts.tokens(owner)])


@router.get("/admin/metrics", response_class=PlainTextResponse, tags=["admin"])
def metrics(visitor: Admin) -> PlainTextResponse:
    """Jobs, ages, imagined frames, verdicts, what judges cost, and votes, as Prometheus reads them."""
    settings = visitor.server.settings
    try:
        pinned = visitor.server.store.jobs.pinned()
        messages = None if settings.broker_url is None else broker_of(settings.broker_url).waiting(pinned)
    except BrokerUnreachable:
        # That it is missing is what is to be seen: an alert on absent() tells.
        messages = None
    return PlainTextResponse(exposition(visitor.server.store.totals(), messages), media_type=CONTENT_TYPE)


@router.post("/admin/tokens", response_model=models.NewToken, status_code=201, tags=["admin"])
def create(visitor: Admin, asked: models.TokenIn) -> models.NewToken:
    """A new token: it is told in this answer and never again."""
    expires = None if asked.days is None else time.time() + asked.days * DAY
    token, record = visitor.server.store.accounts.create_token(
        asked.owner, asked.scopes, str(visitor.name), expires, asked.note
    )
    return models.NewToken(token=token, **dict(_shown(record)))


@router.delete("/admin/tokens/{id}", response_model=models.Token, tags=["admin"])
def revoke(visitor: Admin, id: Id) -> models.Token:
    """Let a token open nothing from now on."""
    return _shown(visitor.server.store.accounts.revoke_token(id, str(visitor.name)))


@router.get("/admin/audit", response_model=models.Audits, tags=["admin"])
def audit(visitor: Admin, limit: Limit = 50, cursor: Number = None) -> models.Audits:
    """What was changed by whom, and what was refused, newest first."""
    found = visitor.server.store.voting.audit_page(cursor, limit + 1)
    page = [
        models.Audit(
            number=number, event=each.event, voter=each.voter, detail=dict(each.detail), created_at=each.created_at
        )
        for number, each in found[:limit]
    ]
    return models.Audits(items=page, next=str(page[-1].number) if len(found) > limit else None)


def _shown(record: TokenRecord) -> models.Token:
    return models.Token.of(record)
