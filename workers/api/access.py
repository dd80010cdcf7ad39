"""Who asks, and whether they may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from arena.store import JobRecord, NotFound, RolloutRecord, Scope, TokenRecord, TokenRefused
from arena.store.records import EvaluationGlance
from workers.api.limits import Rate
from workers.api.problems import Problem
from workers.api.server import Server

STRANGERS = Rate(10.0, 40.0)
"""Requests without a valid token, for each address that they come from."""
READING = ("GET", "HEAD", "OPTIONS")

bearer = HTTPBearer(auto_error=False, description="A token of `dreamarena token create`", scheme_name="token")


def server_of(request: Request) -> Server:
    return cast(Server, request.app.state.server)


@dataclass(frozen=True)
class Visitor:
    """Whoever sent a request. Without a token they are a stranger, who sees what is public."""

    server: Server
    token: TokenRecord | None

    @property
    def name(self) -> str | None:
        return None if self.token is None else self.token.owner

    @property
    def is_admin(self) -> bool:
        return self.token is not None and self.token.allows(Scope.ADMIN)

    @property
    def hidden(self) -> frozenset[str]:
        """The content hashes of policies that they may not see."""
        return frozenset() if self.is_admin else self.server.store.accounts.hidden(self.name)

    def evaluations(self) -> list[EvaluationGlance]:
        """Those that they may see, newest first."""
        return self.server.evaluations(self.hidden)

    def evaluation(self, id: str) -> EvaluationGlance:
        """Raises `NotFound`, also for one with somebody else's private policy."""
        found = next((each for each in self.evaluations() if each.id == id), None)
        if found is None:
            raise NotFound(f"there is no evaluation {id!r} in the store")
        return found

    def rollout(self, id: str) -> RolloutRecord:
        """Raises `NotFound`, also for one of somebody else's private policy."""
        found = self.server.store.results.rollout(id)
        if found.provenance.policy in self.hidden:
            raise NotFound(f"there is no rollout {id!r} in the store")
        return found

    def job(self, key: str) -> JobRecord:
        """A job that they asked for; admins see all. Raises `NotFound`."""
        job = self.server.store.jobs.get(key)
        if not self.is_admin and self.name not in self.server.store.accounts.askers(key):
            raise NotFound(f"there is no job {key!r} in the store")
        return job


def visitor(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]) -> Visitor:
    """Who asks, if they may ask at all now. Raises `TokenRefused`, and `Problem` 401 and 429."""
    server = server_of(request)
    address = request.client.host if request.client else ""
    if credentials is None:
        server.limits.spend(f"stranger {address}", STRANGERS)
        if not server.settings.api_open or request.headers.get("authorization"):
            raise Problem(401, "no-token", "send a token: Authorization: Bearer da_..., see `dreamarena token create`")
        return Visitor(server, None)
    try:
        token = server.store.accounts.recognise(credentials.credentials)
    except TokenRefused:
        server.limits.spend(f"stranger {address}", STRANGERS)
        raise
    reading = request.method in READING
    kind, rate = ("reads", server.reads) if reading else ("changes", server.changes)
    server.limits.spend(f"{kind} {token.id}", rate)
    return Visitor(server, token)


def allowed(scope: Scope) -> Callable[..., Visitor]:
    """A dependency: the visitor, if their token has `scope`. Raises `Problem` 403."""

    def check(found: Annotated[Visitor, Depends(visitor)]) -> Visitor:
        if found.token is None:
            raise Problem(401, "no-token", f"this needs a token with the scope {scope.value}")
        if not found.token.allows(scope):
            raise Problem(403, "wrong-scope", f"this needs the scope {scope.value}, which this token does not have")
        return found

    return check


Anybody = Annotated[Visitor, Depends(visitor)]
Submitter = Annotated[Visitor, Depends(allowed(Scope.SUBMIT))]
Voter = Annotated[Visitor, Depends(allowed(Scope.VOTE))]
JudgeOutside = Annotated[Visitor, Depends(allowed(Scope.JUDGE))]
Admin = Annotated[Visitor, Depends(allowed(Scope.ADMIN))]
