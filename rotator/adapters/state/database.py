"""One SQLite file: opened, migrated, locked, and written by one transaction at a time."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event, insert, select, text, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

from rotator.adapters.state import tables
from rotator.domain.ids import Fence
from rotator.errors import AnotherProcess, DatabaseTooNew, StateUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

HEAD: Final = "0001"  #: the newest migration that this program knows
KNOWN: Final = ("0001",)
_BUSY_MILLISECONDS: Final = 5000


def now() -> datetime:
    """The clock of an embedded database is that of its machine."""
    return datetime.now(UTC)  # noqa: TID251 - the state store owns the clock that windows end by


class Database:
    """A connection to one file. Reads and writes take turns on it, each a few milliseconds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._engine = create_async_engine(
            f"sqlite+aiosqlite:///{path}",
            poolclass=StaticPool,
            hide_parameters=True,
            connect_args={"isolation_level": None, "timeout": _BUSY_MILLISECONDS / 1000},
        )
        event.listen(self._engine.sync_engine, "connect", _on_connect)
        event.listen(self._engine.sync_engine, "begin", _on_begin)
        self._turn = asyncio.Lock()

    async def prepare(self) -> None:
        """Bring the schema to this program's version; `DatabaseTooNew` if it is beyond it."""
        if not self.path.exists():
            self.path.touch(mode=0o600)
        found = await self._revision()
        if found == HEAD:
            return
        if found is not None and found not in KNOWN:
            raise DatabaseTooNew(
                f"the database is at schema {found}, which this version of the program"
                f" does not know (it knows {HEAD}); upgrade the program"
            )
        from rotator.adapters.state.migrations import upgrade  # noqa: PLC0415 - Alembic is large

        try:
            await asyncio.to_thread(upgrade, self.path)
        except SQLAlchemyError:
            raise StateUnavailable(f"{self.path.name} could not be migrated") from None

    async def _revision(self) -> str | None:
        async with self.transaction() as connection:
            there = await connection.execute(
                text("SELECT name FROM sqlite_master WHERE name = 'alembic_version'")
            )
            if there.first() is None:
                return None
            row = (
                await connection.execute(text("SELECT version_num FROM alembic_version"))
            ).first()
            return None if row is None else str(row[0])

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """All or nothing; database errors come out as `StateUnavailable`."""
        try:
            async with self._turn, self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            reason = str(error.orig).splitlines()[0] if error.orig else "unknown"
            raise StateUnavailable(f"the state store {self.path.name} failed: {reason}") from None

    async def close(self) -> None:
        """Give back the file."""
        await self._engine.dispose()


def _on_connect(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_begin(connection: Any) -> None:  # noqa: ANN401 - an SQLAlchemy connection
    # IMMEDIATE: a transaction that reads and then writes must not meet another writer in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


class FileLease:
    """An exclusive lock on a file beside the database: ours until the process ends.

    The kernel gives it back at once after a crash, so a restart need not wait for anything.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._path = database.path.with_name(database.path.name + ".lock")
        self._descriptor: int | None = None

    async def acquire(self) -> Fence:
        """Take it and raise the fencing token; `AnotherProcess` if it is taken."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise AnotherProcess(
                f"process {holder or 'unknown'} has the database {self._database.path} open;"
                " SQLite serves one replica"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._descriptor = descriptor
        return await self._raise_fence()

    async def _raise_fence(self) -> Fence:
        table = tables.lease
        async with self._database.transaction() as connection:
            before = (await connection.execute(select(table.c.fence))).scalar()
            if before is None:
                await connection.execute(insert(table).values(id=1, fence=1))
                return Fence(1)
            await connection.execute(update(table).values(fence=before + 1))
            return Fence(before + 1)

    async def release(self) -> None:
        """Give it back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
