"""Alembic's entry: one connection, one transaction."""

from __future__ import annotations

from alembic import context

from rotator.adapters.state.tables import metadata

with context.config.attributes["engine"].begin() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
