"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

TABLES = (
    "verdicts", "evaluation_rollouts", "worlds", "votes", "scenes", "rollouts", "policies", "jobs", "evaluations",
    "episodes",
)  # fmt: skip
"""Every table of this migration, in an order in which they can be dropped."""


def upgrade() -> None:
    _create_catalog()
    _create_results()
    _create_judgements()
    _create_jobs()
    _make_votes_append_only()


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_vote_change")


def _column(name: str, kind: Any = sa.String, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind() if isinstance(kind, type) else kind, nullable=nullable)


def _json(name: str, nullable: bool = False) -> sa.Column[Any]:
    return _column(name, sa.JSON(none_as_null=True), nullable)


def _create(table: str, *columns: sa.Column[Any] | sa.schema.SchemaItem, key: tuple[str, ...], index: str = "") -> None:
    op.create_table(table, *columns, sa.PrimaryKeyConstraint(*key, name=f"pk_{table}"))
    if index:
        op.create_index(f"ix_{table}_{index}", table, [index])


def _reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=f"fk_{table}_{column}_{target}")


def _create_catalog() -> None:
    _create(
        "episodes", _column("dataset"), _column("id"), _column("sha256"), _json("summary"),
        _column("updated_at", sa.Double), key=("dataset", "id"),
    )  # fmt: skip
    _create(
        "policies", _column("sha256"), _column("name"), _column("spec"), _json("card"),
        _column("created_at", sa.Double), key=("sha256",), index="name",
    )  # fmt: skip
    _create(
        "worlds", _column("sha256"), _column("name"), _json("card"), _column("created_at", sa.Double),
        key=("sha256",), index="name",
    )  # fmt: skip
    _create(
        "scenes", _column("sha256"), _column("id"), _column("episode_id"), _json("summary"),
        _column("created_at", sa.Double), key=("sha256",), index="id",
    )  # fmt: skip


def _create_results() -> None:
    _create(
        "evaluations", _column("id"), _json("config"), _column("config_sha256"), _column("seed", sa.BigInteger),
        _column("status"), _json("result", nullable=True), _column("created_at", sa.Double),
        _column("finished_at", sa.Double, nullable=True), key=("id",), index="config_sha256",
    )  # fmt: skip
    _create(
        "rollouts", _column("id"), _column("policy"), _column("world"), _column("scene_id"), _column("task"),
        _column("instruction"), _column("seed", sa.BigInteger), _column("frames", sa.Integer),
        _column("fps", sa.Double), _column("success", sa.Boolean, nullable=True), _json("provenance"),
        _json("step_seconds"), _column("artifact"), _column("created_at", sa.Double), key=("id",), index="policy",
    )  # fmt: skip
    _create(
        "evaluation_rollouts", _column("evaluation_id"), _column("rollout_id"),
        _reference("evaluation_rollouts", "evaluation_id", "evaluations"),
        _reference("evaluation_rollouts", "rollout_id", "rollouts"), key=("evaluation_id", "rollout_id"),
    )  # fmt: skip


def _create_judgements() -> None:
    _create(
        "verdicts", _column("rollout_id"), _column("judge_sha256"), _column("judge"),
        _column("success_probability", sa.Double, nullable=True), _column("progress", sa.Double, nullable=True),
        _column("reason"), _column("abstained", sa.Boolean), _column("created_at", sa.Double),
        _reference("verdicts", "rollout_id", "rollouts"), key=("rollout_id", "judge_sha256"),
    )  # fmt: skip
    _create(
        "votes", sa.Column("id", sa.Integer, autoincrement=True, nullable=False), _column("left_policy"),
        _column("right_policy"), _column("choice"), _column("voter"), _column("scene_id"),
        _column("seconds", sa.Double, nullable=True), _column("created_at", sa.Double), key=("id",), index="voter",
    )  # fmt: skip


def _create_jobs() -> None:
    _create(
        "jobs", sa.Column("id", sa.Integer, autoincrement=True, nullable=False), _column("key"), _column("kind"),
        _json("inputs"), _column("status"), _column("attempts", sa.Integer), _column("done", sa.Integer),
        _column("total", sa.Integer), _column("stage"), _column("lease_owner", nullable=True),
        _column("lease_expires", sa.Double, nullable=True), _column("fence", sa.Integer),
        _column("sent_at", sa.Double, nullable=True), _json("error", nullable=True), _json("result", nullable=True),
        _column("created_at", sa.Double), _column("updated_at", sa.Double),
        _column("finished_at", sa.Double, nullable=True), sa.UniqueConstraint("key", name="uq_jobs_key"),
        key=("id",), index="status",
    )  # fmt: skip


def _make_votes_append_only() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_vote_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'votes are append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER votes_append_only BEFORE UPDATE OR DELETE ON votes "
            "FOR EACH ROW EXECUTE FUNCTION refuse_vote_change()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER votes_append_only_{change.lower()} BEFORE {change} ON votes "
            "BEGIN SELECT RAISE(ABORT, 'votes are append-only'); END"
        )
