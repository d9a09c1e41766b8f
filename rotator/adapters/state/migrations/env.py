"""Alembic's entry: one connection, one transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, event

from rotator.adapters.state.tables import metadata

engine = create_engine(context.config.attributes["url"], hide_parameters=True)


@event.listens_for(engine, "connect")
def _no_implicit_commit(connection, _record):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    # sqlite3 would commit before DDL; only so is a migration all or nothing.
    connection.isolation_level = None


@event.listens_for(engine, "begin")
def _begin(connection):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    connection.exec_driver_sql("BEGIN IMMEDIATE")


with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
engine.dispose()
