"""A database gets to the newest schema, whole, whatever happens on the way."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from rotator.adapters.state import database, migrations, tables
from rotator.adapters.state.store import migrate_postgres, open_postgres, open_state
from rotator.errors import DatabaseTooNew, DatabaseTooOld
from rotator.testing.state.values import declared
from tests.support import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from rotator.adapters.state.migrations import upgrade_file, upgrade_server
from rotator.adapters.state.postgres.server import Server

left = [int(sys.argv[2])]

@event.listens_for(Engine, "after_cursor_execute")
def count(*_):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1].isdigit():
    upgrade_server(Server(host="127.0.0.1", port=int(sys.argv[1]), dbname=sys.argv[3], user="postgres"))
else:
    upgrade_file(Path(sys.argv[1]))
print("done", -left[0])
"""
OPENED = """
import asyncio, sys
from pathlib import Path
from rotator.adapters.state.store import open_state

async def main():
    async with open_state(Path(sys.argv[1])):
        pass

asyncio.run(main())
"""


def schema(place: Path) -> set[tuple[str, str]]:
    """Everything that the file's schema consists of, as SQL."""
    connection = sqlite3.connect(place)
    found = set(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    connection.close()
    return {(name, " ".join(sql.split())) for name, sql in found}


def test_migrations_end_where_the_tables_are(tmp_path: Path) -> None:
    """The migrated schema is that of `tables`, constraint by constraint."""
    migrations.upgrade_file(tmp_path / "migrated")
    engine = create_engine(f"sqlite:///{tmp_path / 'made'}")
    tables.metadata.create_all(engine)
    engine.dispose()
    migrated = {pair for pair in schema(tmp_path / "migrated") if pair[0] != "alembic_version"}
    assert migrated == schema(tmp_path / "made")
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    engine.dispose()


def test_the_program_knows_the_newest_migration() -> None:
    """The constant that spares loading Alembic is Alembic's own head."""
    config = Config()
    config.set_main_option("script_location", next(iter(migrations.__path__)))
    config.set_main_option("path_separator", "newline")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [database.HEAD]
    assert {script.revision for script in scripts.walk_revisions()} == set(database.KNOWN)


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    """A second run finds the work done."""
    migrations.upgrade_file(tmp_path / "s")
    before = schema(tmp_path / "s")
    migrations.upgrade_file(tmp_path / "s")
    assert schema(tmp_path / "s") == before


@pytest.mark.parametrize("statements", [1, 3, 6, 10, 14, 20])
async def test_a_migration_that_was_killed_is_repeated(tmp_path: Path, statements: int) -> None:
    """Half of a migration is none: the file is empty afterwards, and opening it does it all."""
    place = tmp_path / "s"
    command = [sys.executable, "-c", KILLED, str(place), str(statements)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    assert schema(place) == set()
    async with open_state(place) as state:
        await declared(state)


@pytest.fixture
def empty() -> Iterator[postgres.Database]:
    """A PostgreSQL database without tables."""
    made = postgres.empty_database()
    yield made
    postgres.drop(made)


def test_a_server_ends_where_the_tables_are(empty: postgres.Database) -> None:
    """The one history makes the tables on PostgreSQL, too, and a second run changes nothing."""
    for _ in range(2):
        migrations.upgrade_server(empty.server)
        engine = create_engine("postgresql+psycopg://", creator=empty.connect)
        with engine.connect() as connection:
            options = {"compare_type": True}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, tables.metadata) == []
        engine.dispose()
    collations = empty.ask(
        "SELECT DISTINCT collation_name FROM information_schema.columns"
        " WHERE data_type = 'character varying' AND table_name <> 'alembic_version'"
    )
    assert collations == [("C",)], "names and instants would sort by the server's language"


@pytest.mark.parametrize("statements", [1, 4, 12])
async def test_a_migration_of_a_server_that_was_killed_is_none(
    empty: postgres.Database, statements: int
) -> None:
    """Half of it is nothing, and whoever comes next does it all."""
    host = empty.parameters["host"], empty.parameters["user"]
    if host != ("127.0.0.1", "postgres"):
        pytest.skip("the server of TEST_DATABASE_URL is reached in another way")
    place = [str(empty.parameters["port"]), str(statements), empty.parameters["dbname"]]
    command = [sys.executable, "-c", KILLED, *place]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    assert empty.ask("SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []
    await migrate_postgres(empty.server)
    async with open_postgres(empty.server) as state:
        await declared(state)


async def test_servers_are_migrated_by_one_of_those_who_try(
    empty: postgres.Database, tmp_path: Path
) -> None:
    """Three programs at once all end well, and the tables are there once."""
    place = tmp_path / "rotator.yaml"
    settings = {
        "state_store": empty.settings,
        "secret_store": {"kind": "local", "directory": "secrets"},
        "clusters": {"orders": {"members": {"expect": "none"}}},
    }
    place.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [sys.executable, "-m", "rotator", "migrate", "--config", str(place)]
    started = [await asyncio.create_subprocess_exec(*command) for _ in range(3)]
    assert [await process.wait() for process in started] == [0, 0, 0]
    assert empty.ask("SELECT version_num FROM alembic_version") == [(database.HEAD,)]
    async with open_postgres(empty.server) as state:
        await declared(state)


async def test_a_server_is_not_migrated_in_passing(empty: postgres.Database) -> None:
    """Opening a database without our tables says what to run, and makes none."""
    with pytest.raises(DatabaseTooOld, match="run `rotator migrate"):
        async with open_postgres(empty.server):
            pass
    assert empty.ask("SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []


async def test_a_newer_server_is_refused_and_left_alone(empty: postgres.Database) -> None:
    """A program that does not know the schema neither serves nor migrates it."""
    empty.migrate().ask("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseTooNew, match=r"9999.*upgrade the program"):
        async with open_postgres(empty.server):
            pass
    with pytest.raises(DatabaseTooNew):
        await migrate_postgres(empty.server)
    assert empty.ask("SELECT version_num FROM alembic_version") == [("9999",)]


async def test_programs_that_start_together_migrate_once(tmp_path: Path) -> None:
    """The service and the command line on a new machine do not trip over each other."""
    command = [sys.executable, "-c", OPENED, str(tmp_path / "s")]
    started = [await asyncio.create_subprocess_exec(*command) for _ in range(3)]
    assert [await process.wait() for process in started] == [0, 0, 0]
