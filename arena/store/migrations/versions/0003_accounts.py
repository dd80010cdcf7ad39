"""Tokens and who owns what; jobs that have a priority, were asked for by somebody, and can be cancelled."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003_accounts"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "tokens", _text("id"), _text("secret_sha256"), _text("owner"), sa.Column("scopes", sa.JSON(), nullable=False),
        _text("note"), _number("created_at"), _number("expires_at", nullable=True),
        _number("revoked_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("secret_sha256", name="uq_tokens_secret_sha256"),
    )  # fmt: skip
    op.create_index("ix_tokens_owner", "tokens", ["owner"])
    op.create_table(
        "policy_owners", _text("sha256"), _text("owner"), sa.Column("private", sa.Boolean, nullable=False),
        _number("created_at"), sa.PrimaryKeyConstraint("sha256", name="pk_policy_owners"),
    )  # fmt: skip
    op.create_table(
        "job_askers", _text("key"), _text("owner"), _number("created_at"),
        sa.PrimaryKeyConstraint("key", "owner", name="pk_job_askers"),
        sa.ForeignKeyConstraint(["key"], ["jobs.key"], name="fk_job_askers_key_jobs"),
    )  # fmt: skip
    op.create_index("ix_job_askers_owner", "job_askers", ["owner"])
    op.add_column("jobs", sa.Column("priority", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", _number("cancel_at", nullable=True))


def downgrade() -> None:
    for table in ("job_askers", "policy_owners", "tokens"):
        op.drop_table(table)
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("cancel_at")
        jobs.drop_column("priority")


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.String, nullable=False)


def _number(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Double, nullable=nullable)
