"""What the store gives out: frozen records, never ORM objects. Times are seconds since the epoch (UTC)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from arena.contracts import DreamarenaError, PolicyCard, Provenance

Json = Mapping[str, Any]
OUTSIDE = "outside:"
"""How the names of judges begin whose verdicts came over the network."""


class NotFound(DreamarenaError):
    """Something was asked for by an id that the store does not hold."""


class EvaluationStatus(StrEnum):
    RUNNING = "running"
    DONE = "done"


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class EpisodeRecord:
    id: str
    dataset: str
    sha256: str
    summary: Json


@dataclass(frozen=True)
class PolicyRecord:
    card: PolicyCard
    created_at: float


@dataclass(frozen=True)
class EvaluationRecord:
    id: str
    config: Json
    config_sha256: str
    seed: int
    status: EvaluationStatus
    result: Json | None
    created_at: float
    finished_at: float | None


@dataclass(frozen=True)
class RolloutRecord:
    """A rollout without its frames: `artifact` says where those are; `frames` counts them."""

    id: str
    policy: str
    world: str
    scene_id: str
    task: str
    instruction: str
    seed: int
    frames: int
    fps: float
    success: bool | None
    provenance: Provenance
    step_seconds: tuple[float, ...]
    artifact: str
    created_at: float


@dataclass(frozen=True)
class JobRecord:
    key: str
    kind: str
    inputs: Json
    status: JobStatus
    attempts: int
    done: int
    total: int
    stage: str
    lease_owner: str | None
    lease_expires: float | None
    fence: int
    error: Json | None
    result: Json | None
    created_at: float
    updated_at: float
    priority: int = 0
    """Of two that wait, the one with the higher number is done first."""
    cancel_at: float | None = None
    """When somebody asked for it to stop."""
    not_before: float | None = None
    """A job that is queued waits until then, by the database's clock."""
    postponed: int = 0
    """How often it was put off, because what it lacks was not there."""
    pinned: str | None = None
    """The queue that somebody chose for it, e.g. `gpu.1`; None is that of its kind."""


@dataclass(frozen=True)
class Lease:
    """The right to work on a job until it expires. `fence` goes into every UPDATE that the holder makes."""

    key: str
    owner: str
    fence: int


@dataclass(frozen=True)
class VoterRecord:
    """Someone who votes, by an opaque id. `external` is a pseudonym of who that is where they came from (`origin`)."""

    id: str
    origin: str
    external: str | None
    facts: Json
    created_at: float
    tutored_at: float | None = None
    forgotten_at: float | None = None


@dataclass(frozen=True)
class OfferRecord:
    """A blind pair as one voter was shown it; see `arena.store.tables.OfferRow`."""

    id: str
    voter: str
    kind: str
    pair: str
    scene_id: str
    left_rollout: str
    right_rollout: str
    left_policy: str
    right_policy: str
    expected: str | None
    repeats: str | None
    propensity: float
    issued_at: float
    skipped_at: float | None = None


@dataclass(frozen=True)
class CastVote:
    """A vote on an offer. `left_success` and `right_success` are shares in [0, 1]; `seconds` from pair to vote."""

    offer_id: str
    voter: str
    choice: str
    left_success: float | None
    right_success: float | None
    reason: str
    seconds: float
    created_at: float


@dataclass(frozen=True)
class AuditRecord:
    event: str
    voter: str | None
    detail: Json
    created_at: float


class Scope(StrEnum):
    """What a token lets its holder do, beside reading what is public."""

    SUBMIT = "submit"
    """Have policies looked at and ranked, and see one's own private ones."""
    VOTE = "vote"
    JUDGE = "judge"
    """Say of rollouts whether they succeeded."""
    ADMIN = "admin"
    """Everything, and all that others did."""


@dataclass(frozen=True)
class TokenRecord:
    """A token without its secret. Times are seconds since the epoch; one without `expires_at` does not expire."""

    id: str
    owner: str
    scopes: tuple[Scope, ...]
    note: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def allows(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


@dataclass(frozen=True)
class EvaluationGlance:
    """An evaluation without its plan and its result. `policies` are content hashes."""

    id: str
    status: EvaluationStatus
    created_at: float
    finished_at: float | None
    policies: frozenset[str]
