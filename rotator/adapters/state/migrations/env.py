"""Alembic's entry: one connection, one transaction."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import URL, create_engine, event
from sqlalchemy.pool import NullPool

from rotator.adapters.state.tables import metadata

engine = create_engine(
    URL.create("sqlite", database=str(context.config.attributes["database"])),
    hide_parameters=True,
    poolclass=NullPool,
)


@event.listens_for(engine, "connect")
def _no_implicit_commit(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection
    # sqlite3 would commit before DDL; only so is a migration all or nothing.
    connection.isolation_level = None


@event.listens_for(engine, "begin")
def _begin(connection: Any) -> None:  # noqa: ANN401 - an SQLAlchemy connection
    # IMMEDIATE: of two programs that start at once, the second finds the work done.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


with engine.begin() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
