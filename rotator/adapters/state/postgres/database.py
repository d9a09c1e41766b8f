"""PostgreSQL: short transactions from a pool, each bounded in time, in turn by subject.

Isolation is READ COMMITTED, and writers about the same subject take turns by advisory locks of
the transaction, taken before anything is read: what a writer has read nobody changes before it
commits. The compare-and-set of the cluster's revision stands behind that, for whoever goes around
the locks. SERIALIZABLE would ask every caller to repeat what the server gave up.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import psycopg
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from rotator.adapters.state.batch import Batch
from rotator.adapters.state.database import is_current, undisturbed
from rotator.adapters.state.postgres.server import LONGEST_SECONDS, said
from rotator.errors import DatabaseTooOld, InvariantViolated, StateUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from rotator.adapters.state.postgres.server import Server

CHANNEL: Final = "rotator"
_POOL: Final = 12  #: connections of a pool
_STAY_OPEN: Final = 6  #: of them
CONNECTIONS: Final = _POOL + 2  #: of a replica at most; one listens, one is for the lease
_POOL_SECONDS: Final = 8.0  #: to wait for one
_LOCKS: Final = 0x726F7461  #: the first half of the key of our advisory locks: "rota"

_TURNS: Final = text(
    f"SELECT pg_advisory_xact_lock({_LOCKS}, turn) FROM"  # noqa: S608 - a number of our own
    " (SELECT DISTINCT hashtext(subject) AS turn"
    " FROM unnest(CAST(:subjects AS text[])) AS subject ORDER BY turn) AS turns"
)
_TELL: Final = text("SELECT pg_notify(:channel, :news)")
# now() would be the begin of the transaction.
_CLOCK: Final = text("SELECT clock_timestamp()")


class PostgresDatabase:
    """`database.Database`. Nothing is open before the first use."""

    def __init__(self, server: Server, *, replica: str, connections: int = _POOL) -> None:
        self.server = server
        self.replica = replica  #: who tells: news of our own can be told apart
        self._engine = create_async_engine(
            "postgresql+psycopg://",
            async_creator=server.connect,
            hide_parameters=True,
            pool_size=min(connections, _STAY_OPEN),
            max_overflow=max(connections - _STAY_OPEN, 0),
            pool_timeout=_POOL_SECONDS,
        )
        event.listen(self._engine.sync_engine, "checkout", _refuse_dead)
        self._reading = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._glancing = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._clock: Batch[None, datetime] = Batch(self, _read_clock)
        self._is_closed = False

    async def prepare(self) -> None:
        """See `Database`; `DatabaseTooOld` says to migrate first."""
        found = await self._revision()
        if not is_current(found):
            state = "has no tables of ours yet" if found is None else f"is at schema {found}"
            raise DatabaseTooOld(
                f"the database {state}; run `rotator migrate --config rotator.yaml` once"
            )

    async def migrate(self) -> None:
        """See `Database`: whoever comes second waits, and finds the work done."""
        if is_current(await self._revision()):
            return
        from rotator.adapters.state.migrations import upgrade_server  # noqa: PLC0415 - see SQLite

        with _understood():
            await asyncio.to_thread(upgrade_server, self.server)

    @undisturbed
    async def _revision(self) -> str | None:
        async with self.reading() as connection:
            there = await connection.execute(text("SELECT to_regclass('alembic_version')"))
            if there.scalar() is None:
                return None
            found = await connection.execute(text("SELECT version_num FROM alembic_version"))
            return found.scalar()

    @asynccontextmanager
    async def transaction(self, *subjects: str) -> AsyncIterator[AsyncConnection]:
        """See `Database`."""
        async with self._connected(self._engine) as connection:
            if subjects:
                # Everybody takes them in the same order, so that nobody waits in a circle: that of
                # what is locked, for two subjects may have one hash.
                await connection.execute(_TURNS, {"subjects": list(subjects)})
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """See `Database`."""
        async with self._connected(self._reading) as connection:
            yield connection

    @asynccontextmanager
    async def glance(self) -> AsyncIterator[AsyncConnection]:
        """See `Database`."""
        async with self._connected(self._glancing) as connection:
            yield connection

    @asynccontextmanager
    async def _connected(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        if self._is_closed:
            raise StateUnavailable("the state store is closed")
        cutting: asyncio.TimerHandle | None = None
        try:
            with _understood():
                async with engine.begin() as connection:
                    raw = (await connection.get_raw_connection()).driver_connection
                    loop = asyncio.get_running_loop()
                    cutting = loop.call_later(LONGEST_SECONDS, _cut, raw)
                    yield connection
        finally:
            if cutting is not None:
                cutting.cancel()

    async def tell(self, connection: AsyncConnection, news: str) -> None:
        """See `Database`."""
        told = {"channel": CHANNEL, "news": f"{self.replica} {news}"}
        await connection.execute(_TELL, told)

    async def now(self) -> datetime:
        """See `Database`; those who ask at the same moment share the question."""
        found = await self._clock.find(None)
        if found is None:
            raise StateUnavailable("the database has no clock")
        return found

    async def close(self) -> None:
        """Close every connection."""
        self._is_closed = True
        await self._engine.dispose()


async def _read_clock(connection: AsyncConnection, keys: Collection[None]) -> dict[None, datetime]:
    at: datetime = (await connection.execute(_CLOCK)).scalar_one()
    return dict.fromkeys(keys, at.astimezone(UTC))


def _refuse_dead(adapted: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401 - SQLAlchemy's
    """A connection that lies idle hears nothing, unless the server has ended it.

    Costs no way to the server and back, as a ping would.
    """
    raw = adapted.driver_connection
    if raw.closed or _has_news(raw.fileno()):
        raise DisconnectionError


def _has_news(descriptor: int) -> bool:
    poll = select.poll()  # `select` knows the first 1024 descriptors only
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _cut(raw: Any) -> None:  # noqa: ANN401 - psycopg's connection, as SQLAlchemy gives it
    """Whoever waits for an answer on this connection finds it closed."""
    with suppress(OSError, psycopg.Error):
        if not raw.closed:
            with socket.socket(fileno=os.dup(raw.fileno())) as cut:
                cut.shutdown(socket.SHUT_RDWR)


@contextmanager
def _understood() -> Iterator[None]:
    """Database errors as ours: PostgreSQL's own sentence, never a statement's parameters."""
    try:
        yield
    except IntegrityError as error:
        reason = said(error.orig) if error.orig is not None else "a constraint"
        raise InvariantViolated(f"the state store refuses a change: {reason}") from None
    except (SQLAlchemyError, psycopg.Error, OSError) as error:
        wrapped = error.orig if isinstance(error, DBAPIError) and error.orig else error
        raise StateUnavailable(f"PostgreSQL failed: {said(wrapped)}") from None
