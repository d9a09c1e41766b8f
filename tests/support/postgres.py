"""A real PostgreSQL for tests: one server a test process, a database for each test."""

from __future__ import annotations

import atexit
import functools
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from rotator.adapters.state.migrations import upgrade_server
from rotator.adapters.state.postgres.server import Server
from rotator.cli.demo.postgres import Postgres

GIVEN = "TEST_DATABASE_URL"


@dataclass(frozen=True)
class Database:
    """A database of its own, and ways to look at it from outside."""

    parameters: dict[str, Any]  #: libpq's

    @property
    def server(self) -> Server:
        """As the adapter takes it; no password but through a file."""
        known = {"host", "port", "dbname", "user", "sslmode"}
        return Server(**{name: value for name, value in self.parameters.items() if name in known})

    @property
    def settings(self) -> dict[str, Any]:
        """As rotator.yaml has it."""
        names = {"host": "host", "port": "port", "dbname": "database", "user": "user"}
        found = {ours: self.parameters[name] for name, ours in names.items()}
        return {"kind": "postgresql", **found, "port": int(found["port"])}

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of the test's own."""
        return psycopg.connect(**self.parameters, autocommit=True)

    def ask(self, statement: str, *values: Any) -> list[Any]:
        """The rows of one statement."""
        with self.connect() as connection:
            found = connection.execute(statement, values or None)  # type: ignore[call-overload]
            return found.fetchall() if found.description else []

    def migrate(self) -> Database:
        """With our tables."""
        upgrade_server(self.server)
        return self

    def content(self) -> dict[str, bytes]:
        """Every row of every table, as text."""
        names = self.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        found = {}
        for (name,) in names:
            rows = self.ask(f"SELECT row_to_json(t)::text FROM {name} t")  # noqa: S608
            found[f"table {name}"] = "\n".join(row for (row,) in rows).encode()
        return found

    def terminate(self) -> int:
        """End the sessions of this database in the middle of what they do; how many."""
        rows = self.ask(
            "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'rotator%'"
        )
        return len(rows)


@functools.cache
def shared() -> Postgres:
    """One server for each test process."""
    place = Path(tempfile.mkdtemp(prefix="postgres-"))
    server = Postgres(place)
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    atexit.register(server.stop)
    server.start()
    return server


def program(name: str) -> Path:
    """One of PostgreSQL's programs: those of the wheel, which fit its server."""
    return shared().programs / name


def _administration() -> dict[str, Any]:
    given = os.environ.get(GIVEN)
    return conninfo_to_dict(given) if given else shared().parameters("postgres")


def empty_database(server: Postgres | None = None) -> Database:
    """A fresh one, on the shared server, or that of TEST_DATABASE_URL."""
    where = _administration() if server is None else server.parameters("postgres")
    return _made(where, "template1")


def new_database() -> Database:
    """A fresh one with our tables."""
    return _made(_administration(), _template())


def copied(database: Database) -> Database:
    """A copy of it as it is now; whoever is connected to it is cut off."""
    database.terminate()
    made = _made(_administration(), database.parameters["dbname"])
    if os.environ.get(GIVEN):
        atexit.register(drop, made)
    return made


def put_back(database: Database, former: Database | None) -> None:
    """*former* under the name of *database*; None: an empty one with our tables."""
    drop(database)
    template = _template() if former is None else former.parameters["dbname"]
    _made(_administration(), template, name=database.parameters["dbname"])


def _made(where: dict[str, Any], template: str, *, name: str = "") -> Database:
    name = name or f"t{secrets.token_hex(8)}"
    names = (sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(**where, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
    return Database({**where, "dbname": name})


@functools.cache
def _template() -> str:
    """Migrated once; a copy takes a fraction of the time."""
    made = empty_database().migrate()
    if os.environ.get(GIVEN):
        atexit.register(drop, made)
    return str(made.parameters["dbname"])


def drop(database: Database) -> None:
    """Remove it, whoever is connected."""
    name = sql.Identifier(database.parameters["dbname"])
    with psycopg.connect(**{**database.parameters, "dbname": "postgres"}, autocommit=True) as one:
        one.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
