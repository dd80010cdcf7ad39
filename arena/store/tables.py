"""The tables. Times are seconds since the epoch (UTC); names in the plural; JSON where nothing is searched by."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Every constraint has a name, because a migration can only change what it can name."""


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar = {dict[str, Any]: JSON(none_as_null=True), list[float]: JSON(), list[str]: JSON()}


class EpisodeRow(Base):
    __tablename__ = "episodes"

    dataset: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str]
    summary: Mapped[dict[str, Any]]
    updated_at: Mapped[float]


class PolicyRow(Base):
    __tablename__ = "policies"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    spec: Mapped[str]
    card: Mapped[dict[str, Any]]
    created_at: Mapped[float]


class WorldRow(Base):
    __tablename__ = "worlds"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    card: Mapped[dict[str, Any]]
    created_at: Mapped[float]


class SceneRow(Base):
    __tablename__ = "scenes"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(index=True)
    episode_id: Mapped[str]
    summary: Mapped[dict[str, Any]]
    created_at: Mapped[float]


class EvaluationRow(Base):
    __tablename__ = "evaluations"

    id: Mapped[str] = mapped_column(primary_key=True)
    config: Mapped[dict[str, Any]]
    config_sha256: Mapped[str] = mapped_column(index=True)
    seed: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str]
    result: Mapped[dict[str, Any] | None]
    created_at: Mapped[float]
    finished_at: Mapped[float | None]


class RolloutRow(Base):
    """`id` is the content address of policy, world, scene, seed and config: the same trial is stored once."""

    __tablename__ = "rollouts"

    id: Mapped[str] = mapped_column(primary_key=True)
    policy: Mapped[str] = mapped_column(index=True)
    world: Mapped[str]
    scene_id: Mapped[str]
    task: Mapped[str]
    instruction: Mapped[str]
    seed: Mapped[int] = mapped_column(BigInteger)
    frames: Mapped[int]
    fps: Mapped[float]
    success: Mapped[bool | None]
    provenance: Mapped[dict[str, Any]]
    step_seconds: Mapped[list[float]]
    artifact: Mapped[str]
    created_at: Mapped[float]


class EvaluationRolloutRow(Base):
    """Which rollouts an evaluation rests on: one rollout may serve several."""

    __tablename__ = "evaluation_rollouts"

    evaluation_id: Mapped[str] = mapped_column(ForeignKey("evaluations.id"), primary_key=True)
    rollout_id: Mapped[str] = mapped_column(ForeignKey("rollouts.id"), primary_key=True)


class VerdictRow(Base):
    __tablename__ = "verdicts"

    rollout_id: Mapped[str] = mapped_column(ForeignKey("rollouts.id"), primary_key=True)
    judge_sha256: Mapped[str] = mapped_column(primary_key=True)
    judge: Mapped[str]
    success_probability: Mapped[float | None]
    progress: Mapped[float | None]
    reason: Mapped[str]
    abstained: Mapped[bool]
    created_at: Mapped[float]


class VoterRow(Base):
    """Who votes. `external` is a pseudonym of who that is elsewhere, never a name: NULL for strangers and forgotten."""

    __tablename__ = "voters"
    __table_args__ = (UniqueConstraint("origin", "external"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    origin: Mapped[str]
    external: Mapped[str | None]
    facts: Mapped[dict[str, Any]]
    created_at: Mapped[float]
    tutored_at: Mapped[float | None]
    forgotten_at: Mapped[float | None]


class OfferRow(Base):
    """A blind pair that one voter was shown, once: its row is there before anyone can vote on it.

    `pair` names the two rollouts whichever side they are on. `expected` is the known answer of a gold pair, `repeats`
    the offer whose sides this one swaps. `propensity` is the probability with which it was chosen.
    """

    __tablename__ = "offers"
    __table_args__ = (UniqueConstraint("id"), UniqueConstraint("voter", "pair", "kind"))

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str]
    voter: Mapped[str] = mapped_column(ForeignKey("voters.id"))
    kind: Mapped[str]
    pair: Mapped[str]
    scene_id: Mapped[str]
    left_rollout: Mapped[str]
    right_rollout: Mapped[str]
    left_policy: Mapped[str]
    right_policy: Mapped[str]
    expected: Mapped[str | None]
    repeats: Mapped[str | None]
    propensity: Mapped[float]
    issued_at: Mapped[float]
    skipped_at: Mapped[float | None]


class VoteRow(Base):
    """Append-only: triggers refuse UPDATE and DELETE. `offer_id` is unique, so that a pair is voted on once."""

    __tablename__ = "votes"
    __table_args__ = (UniqueConstraint("offer_id"), Index(None, "voter", "created_at"))

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    offer_id: Mapped[str] = mapped_column(ForeignKey("offers.id"))
    voter: Mapped[str] = mapped_column(ForeignKey("voters.id"))
    choice: Mapped[str]
    left_success: Mapped[float | None]
    right_success: Mapped[float | None]
    reason: Mapped[str]
    seconds: Mapped[float]
    created_at: Mapped[float]


class AuditRow(Base):
    """What happened around voting that is no vote: append-only, like the votes."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    event: Mapped[str] = mapped_column(index=True)
    voter: Mapped[str | None]
    detail: Mapped[dict[str, Any]]
    created_at: Mapped[float]


class OwnerRow(Base):
    """Who submitted a policy, and so has no vote on it."""

    __tablename__ = "owners"

    policy: Mapped[str] = mapped_column(primary_key=True)
    voter: Mapped[str] = mapped_column(ForeignKey("voters.id"), primary_key=True)


class JobRow(Base):
    """The truth about a unit of work; a broker's message only carries `key`.

    `sent_at` is the outbox: NULL means that a broker has still to be told. `fence` grows with every
    lease, and every UPDATE by a worker names it, so a worker that lost its lease changes nothing.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("key"),
        Index(None, "status", "kind", "priority", "id"),
        Index(None, "status", "sent_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    key: Mapped[str]
    kind: Mapped[str]
    inputs: Mapped[dict[str, Any]]
    status: Mapped[str]
    attempts: Mapped[int]
    done: Mapped[int]
    total: Mapped[int]
    stage: Mapped[str]
    lease_owner: Mapped[str | None]
    lease_expires: Mapped[float | None]
    fence: Mapped[int]
    sent_at: Mapped[float | None]
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    created_at: Mapped[float]
    updated_at: Mapped[float]
    finished_at: Mapped[float | None]
    priority: Mapped[int] = mapped_column(server_default="0")
    """Of two that wait, the one with the higher number is done first."""
    cancel_at: Mapped[float | None]
    """When somebody asked for a job that was being done to stop."""
    not_before: Mapped[float | None]
    """Until then it waits, although it is queued: what it lacks was not there."""
    postponed: Mapped[int] = mapped_column(server_default="0")
    """How often it was put off so."""
    pinned: Mapped[str | None] = mapped_column(index=True)
    """The queue that somebody chose for it; NULL is that of its kind."""


class JobAskerRow(Base):
    """Who asked for a job over the network; several may have asked for the same."""

    __tablename__ = "job_askers"

    key: Mapped[str] = mapped_column(ForeignKey("jobs.key"), primary_key=True)
    owner: Mapped[str] = mapped_column(primary_key=True, index=True)
    created_at: Mapped[float]


class TokenRow(Base):
    """What a program shows to be let in. The secret itself is told once and kept nowhere."""

    __tablename__ = "tokens"
    __table_args__ = (UniqueConstraint("secret_sha256"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    secret_sha256: Mapped[str]
    owner: Mapped[str] = mapped_column(index=True)
    scopes: Mapped[list[str]]
    note: Mapped[str]
    created_at: Mapped[float]
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class PolicyOwnerRow(Base):
    """Who submitted a policy first, by its content hash, and whether only they may see what came of it."""

    __tablename__ = "policy_owners"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    private: Mapped[bool]
    created_at: Mapped[float]
