"""Read the state store as it lies there: no lease, no migration, no file made, no row changed."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import URL, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from rotator.adapters.state import chain, rows
from rotator.adapters.state import tables as t
from rotator.adapters.state.database import HEAD, KNOWN
from rotator.adapters.state.mapping import from_json
from rotator.adapters.state.sqlite import now
from rotator.domain.cluster import GENESIS
from rotator.domain.ids import ClusterName
from rotator.errors import DatabaseTooNew, StateUnavailable
from rotator.ports.records import Records
from rotator.ports.state_store import TokenRow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from rotator.adapters.state.postgres.server import Server
    from rotator.adapters.state.verification import Reading
    from rotator.domain.document import FactsHead


async def read_records(
    path: Path, *, kinds: Sequence[str], heads: Mapping[ClusterName, FactsHead]
) -> Records | None:
    """Clusters, tokens, the last fact of each of *kinds*, which *heads* are known; None: no file.

    Works beside a service that runs, and when none does. Raises `StateUnavailable`,
    `DatabaseTooNew`.
    """
    try:
        address = _address(path)
        if address is None:
            return None
        async with _read_only(address) as connection:
            return await _records(connection, kinds, heads, now=now())
    except (DBAPIError, OSError, ValueError, KeyError) as error:
        # Only the driver's own words: an error of the mapping may hold what it read.
        reason = error.orig if isinstance(error, DBAPIError) else type(error).__name__
        raise StateUnavailable(f"the state store {path} cannot be read: {reason}") from None


async def read_server_records(
    server: Server, *, kinds: Sequence[str], heads: Mapping[ClusterName, FactsHead]
) -> Records:
    """The same of a PostgreSQL database, in one transaction that reads.

    Raises `StateUnavailable`, `DatabaseTooNew`, `DatabaseTooOld`.
    """
    # Who keeps a file needs no driver of PostgreSQL.
    from rotator.adapters.state.postgres.database import PostgresDatabase  # noqa: PLC0415

    database = PostgresDatabase(server, replica="")
    try:
        await database.prepare()
        at = await database.now()
        async with database.reading() as connection:
            return await _records(connection, kinds, heads, now=at)
    except (ValueError, KeyError) as error:
        reason = type(error).__name__
        raise StateUnavailable(f"the state store cannot be read: {reason}") from None
    finally:
        await database.close()


@asynccontextmanager
async def reading_file(path: Path) -> AsyncIterator[Reading]:
    """A way to read the file again and again; raises `StateUnavailable`, `DatabaseTooNew`."""
    try:
        address = _address(path)
        if address is None:
            raise StateUnavailable(f"there is no state store at {path}")
        async with _read_only(address) as connection:
            await _require_known(connection)

            @asynccontextmanager
            async def same() -> AsyncIterator[AsyncConnection]:
                yield connection
                await connection.rollback()  # the next look sees what was written meanwhile

            yield same
    except (DBAPIError, OSError) as error:
        reason = error.orig if isinstance(error, DBAPIError) else type(error).__name__
        raise StateUnavailable(f"the state store {path} cannot be read: {reason}") from None


@asynccontextmanager
async def reading_server(server: Server) -> AsyncIterator[Reading]:
    """The same of PostgreSQL; raises `StateUnavailable`, `DatabaseTooNew`, `DatabaseTooOld`."""
    from rotator.adapters.state.postgres.database import PostgresDatabase  # noqa: PLC0415 - above

    database = PostgresDatabase(server, replica="")
    try:
        await database.prepare()
        yield database.glance
    finally:
        await database.close()


def _address(path: Path) -> URL | None:
    """The file in a way that cannot write to it.

    Where no service runs there is no write-ahead log, and SQLite would make one in order to read;
    `immutable` keeps it from that.
    """
    if not path.exists():
        return None
    query = {"mode": "ro", "uri": "true"}
    if not path.with_name(f"{path.name}-wal").exists():
        query["immutable"] = "1"
    place = f"file:{quote(str(path.resolve()))}"
    return URL.create("sqlite+aiosqlite", database=place, query=query)


@asynccontextmanager
async def _read_only(address: URL) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(address, poolclass=NullPool, hide_parameters=True)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


async def _records(
    connection: AsyncConnection,
    kinds: Sequence[str],
    heads: Mapping[ClusterName, FactsHead],
    *,
    now: datetime,
) -> Records:
    await _require_known(connection)
    names = await connection.scalars(select(t.clusters.c.name).order_by(t.clusters.c.name))
    clusters = [await rows.read_cluster(connection, ClusterName(name)) for name in names.all()]
    tokens = (await connection.execute(select(t.tokens))).mappings().all()
    newest = await _newest(connection, kinds)
    native = {
        name
        for name, head in heads.items()
        if head == GENESIS or await chain.has_link(connection, name, head)
    }
    return Records(
        clusters=tuple(clusters),
        tokens=tuple(from_json(TokenRow, row) for row in tokens),
        newest_facts={kind: datetime.fromisoformat(body["at"]) for kind, body in newest.items()},
        newest_details={kind: body.get("details", {}) for kind, body in newest.items()},
        native=frozenset(native),
        now=now,
    )


async def _require_known(connection: AsyncConnection) -> None:
    found = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
    if found == HEAD:
        return
    if found in KNOWN:
        raise StateUnavailable("the state store is of an older version; start the service first")
    raise DatabaseTooNew


async def _newest(connection: AsyncConnection, kinds: Sequence[str]) -> dict[str, Any]:
    table = t.facts.c
    last = (
        select(func.max(table.position).label("position"))
        .where(table.kind.in_(kinds))
        .group_by(table.kind)
        .subquery()
    )
    query = select(table.kind, table.body).where(table.position == last.c.position)
    return {row.kind: json.loads(row.body) for row in await connection.execute(query)}
