"""One SQLite file: opened, migrated, and written by one transaction at a time."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from sqlalchemy import URL, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

from rotator.errors import DatabaseTooNew, InvariantViolated, StateUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

P = ParamSpec("P")
T = TypeVar("T")

HEAD: Final = "0002"  #: the newest migration that this program knows
KNOWN: Final = ("0001", HEAD)
_BUSY_SECONDS: Final = 5.0


def now() -> datetime:
    """The clock of an embedded database is that of its machine."""
    return datetime.now(UTC)  # noqa: TID251 - the state store owns the clock that windows end by


def undisturbed(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Let *work* come to its end when its caller is cancelled.

    A cancelled statement would take its connection with it, and leave a transaction open that
    nobody else can write beside.
    """

    @wraps(work)
    async def finish(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.shield(begun(work(*args, **kwargs)))

    return finish


def begun(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """*work* as a task that is kept until its end, whether somebody waits for it or not."""
    task = asyncio.get_running_loop().create_task(work)
    _running.add(task)
    task.add_done_callback(_forget)
    return task


_running: Final[set[asyncio.Task[Any]]] = set()


def _forget(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # where the caller is gone, nobody wants to know


class Database:
    """A connection to one file. Reads and writes take turns on it, each a few milliseconds.

    Another process may have the file open too (the command line on the server): SQLite orders
    their transactions.
    """

    def __init__(self, path: Path) -> None:
        # Two names of one file would be two locks beside it.
        self.path = path.resolve()
        self._engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(self.path)),
            poolclass=StaticPool,
            hide_parameters=True,
            connect_args={"isolation_level": None, "timeout": _BUSY_SECONDS},
        )
        event.listen(self._engine.sync_engine, "connect", _on_connect)
        event.listen(self._engine.sync_engine, "begin", _on_begin)
        self._reading = self._engine.execution_options(begin="BEGIN")
        self._glancing = self._engine.execution_options(begin=None)
        self._turn = asyncio.Lock()
        self._is_closed = False

    async def prepare(self) -> None:
        """Make the file if there is none, and bring its schema to this program's version.

        Raises `DatabaseTooNew`; `StateUnavailable` if it is no database, or cannot be opened.
        """
        self._make_file()
        found = await self._revision()
        if found == HEAD:
            return
        if found is not None and found not in KNOWN:
            raise DatabaseTooNew(
                f"the database is at schema {found}, which this version of the program"
                f" does not know (it knows {HEAD}); upgrade the program"
            )
        # Alembic costs memory and time at every start, and is wanted at one in a hundred.
        from rotator.adapters.state.migrations import upgrade  # noqa: PLC0415

        with _understood(self.path):
            await asyncio.to_thread(upgrade, self.path)

    def _make_file(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite gives its files beside it the same mode.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StateUnavailable(f"{self.path}: {error.strerror}") from None

    @undisturbed
    async def _revision(self) -> str | None:
        tables = text("SELECT name FROM sqlite_master WHERE name = 'alembic_version'")
        async with self.reading() as connection:
            if (await connection.execute(tables)).first() is None:
                return None
            found = await connection.execute(text("SELECT version_num FROM alembic_version"))
            row = found.first()
        return None if row is None else str(row[0])

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """All or nothing, in turn with every other writer; only inside what is `undisturbed`.

        Raises `StateUnavailable` (also where the outcome is unknown), and `InvariantViolated`
        where a constraint of the schema forbids what was to be written.
        """
        async with self._connected(self._engine) as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """One consistent view for several statements; waits for no writer of another process."""
        async with self._connected(self._reading) as connection:
            yield connection

    @asynccontextmanager
    async def glance(self) -> AsyncIterator[AsyncConnection]:
        """For one statement that reads, which is a consistent view by itself."""
        async with self._connected(self._glancing) as connection:
            yield connection

    @asynccontextmanager
    async def _connected(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        with _understood(self.path):
            async with self._turn:
                if self._is_closed:
                    raise StateUnavailable("the state store is closed")
                async with engine.begin() as connection:
                    yield connection

    async def close(self) -> None:
        """Give back the file."""
        async with self._turn:
            self._is_closed = True
            await self._engine.dispose()


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    """Database errors as ours: SQLite's own words, never a statement's parameters."""
    try:
        yield
    except IntegrityError as error:
        raise InvariantViolated(f"the state store refuses a change: {error.orig}") from None
    except (DBAPIError, sqlite3.Error) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise StateUnavailable(f"the state store {path} failed: {reason}") from None


def _on_connect(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    # IMMEDIATE: a transaction that reads and then writes must not meet another writer in between.
    begin = connection.get_execution_options().get("begin", "BEGIN IMMEDIATE")
    if begin is not None:
        connection.exec_driver_sql(begin)
