"""A database gets to the newest schema, whole, whatever happens on the way."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from rotator.adapters.state import database, migrations, tables
from rotator.adapters.state.store import open_state
from rotator.testing.state.values import declared

if TYPE_CHECKING:
    from pathlib import Path

KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from rotator.adapters.state.migrations import upgrade

left = [int(sys.argv[2])]

@event.listens_for(Engine, "after_cursor_execute")
def count(*_):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

upgrade(Path(sys.argv[1]))
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
    migrations.upgrade(tmp_path / "migrated")
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
    migrations.upgrade(tmp_path / "s")
    before = schema(tmp_path / "s")
    migrations.upgrade(tmp_path / "s")
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


async def test_programs_that_start_together_migrate_once(tmp_path: Path) -> None:
    """The service and the command line on a new machine do not trip over each other."""
    command = [sys.executable, "-c", OPENED, str(tmp_path / "s")]
    started = [await asyncio.create_subprocess_exec(*command) for _ in range(3)]
    assert [await process.wait() for process in started] == [0, 0, 0]
