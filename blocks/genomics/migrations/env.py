"""Alembic runs this file; `schema.py` gives it an open connection."""

from alembic import context

from blocks.genomics.tables import Base

connection = context.config.attributes["connection"]
# Batches, because SQLite cannot alter a table in place.
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,
    version_table="limsflow_schema",
)
with context.begin_transaction():
    context.run_migrations()
