"""Voters, blind pairs, votes that belong to one pair each, and an audit trail."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

APPEND_ONLY = ("votes", "audit")


def upgrade() -> None:
    # Nothing before this migration could cast a vote.
    op.drop_table("votes")
    _create_people()
    _create_votes()
    for table in APPEND_ONLY:
        _make_append_only(table)


def downgrade() -> None:
    for table in ("owners", "audit", "votes", "offers", "voters"):
        op.drop_table(table)
    if _postgresql():
        op.execute("DROP FUNCTION refuse_audit_change")
    op.create_table(
        "votes", _serial(), _text("left_policy"), _text("right_policy"), _text("choice"), _text("voter"),
        _text("scene_id"), _number("seconds", nullable=True), _number("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_votes"),
    )  # fmt: skip
    op.create_index("ix_votes_voter", "votes", ["voter"])
    _make_append_only("votes")


def _create_people() -> None:
    op.create_table(
        "voters", _text("id"), _text("origin"), _text("external", nullable=True), _json("facts"),
        _number("created_at"), _number("tutored_at", nullable=True), _number("forgotten_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_voters"),
        sa.UniqueConstraint("origin", "external", name="uq_voters_origin_external"),
    )  # fmt: skip
    op.create_table(
        "owners", _text("policy"), _text("voter"), sa.PrimaryKeyConstraint("policy", "voter", name="pk_owners"),
        _of_voter("owners"),
    )  # fmt: skip
    op.create_table(
        "audit", _serial(), _text("event"), _text("voter", nullable=True), _json("detail"), _number("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )  # fmt: skip
    op.create_index("ix_audit_event", "audit", ["event"])


def _create_votes() -> None:
    op.create_table(
        "offers", _serial("number"), _text("id"), _text("voter"), _text("kind"), _text("pair"), _text("scene_id"),
        _text("left_rollout"), _text("right_rollout"), _text("left_policy"), _text("right_policy"),
        _text("expected", nullable=True), _text("repeats", nullable=True), _number("propensity"),
        _number("issued_at"), _number("skipped_at", nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_offers"), _of_voter("offers"),
        sa.UniqueConstraint("id", name="uq_offers_id"),
        sa.UniqueConstraint("voter", "pair", "kind", name="uq_offers_voter_pair_kind"),
    )  # fmt: skip
    op.create_table(
        "votes", _serial(), _text("offer_id"), _text("voter"), _text("choice"),
        _number("left_success", nullable=True), _number("right_success", nullable=True), _text("reason"),
        _number("seconds"), _number("created_at"), sa.PrimaryKeyConstraint("id", name="pk_votes"),
        sa.ForeignKeyConstraint(["offer_id"], ["offers.id"], name="fk_votes_offer_id_offers"), _of_voter("votes"),
        sa.UniqueConstraint("offer_id", name="uq_votes_offer_id"),
    )  # fmt: skip
    op.create_index("ix_votes_voter_created_at", "votes", ["voter", "created_at"])


def _make_append_only(table: str) -> None:
    if _postgresql():
        function = f"refuse_{table.removesuffix('s')}_change"
        op.execute(
            f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{table} are append-only'; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {function}()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_append_only_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} are append-only'); END"
        )


def _postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _of_voter(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["voter"], ["voters.id"], name=f"fk_{table}_voter_voters")


def _serial(name: str = "id") -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, autoincrement=True, nullable=False)


def _text(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.String, nullable=nullable)


def _number(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Double, nullable=nullable)


def _json(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(none_as_null=True), nullable=False)
