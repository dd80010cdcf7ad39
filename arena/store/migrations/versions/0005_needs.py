"""Jobs that wait for a time of day, because a server was away, and jobs that are for one machine's GPU."""

import sqlalchemy as sa
from alembic import op

revision = "0005_needs"
down_revision: str | None = "0004_queue"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("not_before", sa.Double, nullable=True))
    op.add_column("jobs", sa.Column("postponed", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("pinned", sa.String, nullable=True))
    op.create_index("ix_jobs_pinned", "jobs", ["pinned"])


def downgrade() -> None:
    op.drop_index("ix_jobs_pinned", "jobs")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("pinned")
        jobs.drop_column("postponed")
        jobs.drop_column("not_before")
