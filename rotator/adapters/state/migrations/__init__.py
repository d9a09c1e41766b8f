"""Alembic migrations: one history for both kinds of database, each run in one transaction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, create_engine, event
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from rotator.adapters.state.postgres.server import Server

#: The second half of the key of the advisory lock that migrations take turns by.
_LOCK = "SELECT pg_advisory_xact_lock(1919906913, 1)"


def upgrade_file(path: Path) -> None:
    """Bring the SQLite file to the newest schema. Repeating it is harmless."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)), hide_parameters=True, poolclass=NullPool
    )
    event.listen(engine, "connect", _no_implicit_commit)
    # IMMEDIATE: of two programs that start at once, the second finds the work done.
    event.listen(engine, "begin", lambda found: found.exec_driver_sql("BEGIN IMMEDIATE"))
    _upgrade(engine)


def upgrade_server(server: Server) -> None:
    """Bring the PostgreSQL database to the newest schema. Repeating it is harmless."""
    engine = create_engine(
        "postgresql+psycopg://",
        creator=server.connect_to_migrate,
        hide_parameters=True,
        poolclass=NullPool,
    )
    # As above: it waits for the other one, and finds the work done.
    event.listen(engine, "begin", lambda found: found.exec_driver_sql(_LOCK))
    _upgrade(engine)


def _upgrade(engine: Engine) -> None:
    config = Config()
    # A per cent sign would be taken for the start of a substitution.
    place = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", place)
    config.set_main_option("path_separator", "newline")
    config.attributes["engine"] = engine
    try:
        command.upgrade(config, "head")
    finally:
        engine.dispose()


def _no_implicit_commit(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection
    # sqlite3 would commit before DDL; only so is a migration all or nothing.
    connection.isolation_level = None
