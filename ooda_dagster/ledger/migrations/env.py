"""Alembic's entry: migrations run on the connection that `ledger.database.migrate` hands over."""

from __future__ import annotations

from alembic import context

from ooda_dagster.ledger.tables import SCHEMA, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_schemas=True,
    version_table_schema=SCHEMA,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
