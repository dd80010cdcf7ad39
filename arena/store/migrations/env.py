"""Alembic's entry point: runs on the connection that `arena.store.database.migrate` hands over."""

from alembic import context

from arena.store.tables import Base

# Batch mode, because SQLite cannot alter a column in place: Alembic copies the table instead.
context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
