"""Indices for a queue of a million jobs: the most urgent of a kind, and those that no broker was told of."""

from alembic import op

revision = "0004_queue"
down_revision: str | None = "0003_accounts"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_index("ix_jobs_status_kind_priority_id", "jobs", ["status", "kind", "priority", "id"])
    op.create_index("ix_jobs_status_sent_at", "jobs", ["status", "sent_at"])
    op.drop_index("ix_jobs_status", "jobs")


def downgrade() -> None:
    op.create_index("ix_jobs_status", "jobs", ["status"])
    op.drop_index("ix_jobs_status_sent_at", "jobs")
    op.drop_index("ix_jobs_status_kind_priority_id", "jobs")
