"""The whole state store of one process, on SQLite or PostgreSQL."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rotator.adapters.state.clusters import SqlClusterStates
from rotator.adapters.state.lease import FileLease
from rotator.adapters.state.registers import SqlEmergencies, SqlEpochs, SqlTokens
from rotator.adapters.state.sqlite import SqliteDatabase
from rotator.adapters.state.wakeups import LocalWakeups

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rotator.adapters.state.database import Database
    from rotator.adapters.state.postgres.listener import Listener
    from rotator.adapters.state.postgres.server import Server
    from rotator.ports.state_store import Lease
    from rotator.ports.wakeups import Ears

LEASE: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One database, as all the ports of `ports.state_store`, and the wake-ups that go with it."""

    clusters: SqlClusterStates
    epochs: SqlEpochs
    tokens: SqlTokens
    emergencies: SqlEmergencies
    lease: Lease
    wakeups: LocalWakeups
    listener: Listener | None = None

    def listen(self, ears: Ears) -> None:
        """From now on, hear what other replicas tell, if there can be any."""
        if self.listener is not None:
            self.listener.start(ears)


def _state(
    database: Database, lease: Lease, wakeups: LocalWakeups, listener: Listener | None = None
) -> State:
    return State(
        clusters=SqlClusterStates(database),
        epochs=SqlEpochs(database),
        tokens=SqlTokens(database),
        emergencies=SqlEmergencies(database),
        lease=lease,
        wakeups=wakeups,
        listener=listener,
    )


@asynccontextmanager
async def open_state(path: Path) -> AsyncIterator[State]:
    """Open and migrate the SQLite file at *path*; the lease is not taken yet."""
    database = SqliteDatabase(path)
    try:
        await database.prepare()
        yield _state(database, FileLease(database), LocalWakeups())
    finally:
        await database.close()


@asynccontextmanager
async def open_postgres(
    server: Server, *, holder: str = "", life: timedelta = LEASE
) -> AsyncIterator[State]:
    """Open a PostgreSQL database that is migrated; raises `DatabaseTooOld` if it is not.

    *holder* names this replica to people, for as long as it has the lease; *life* is the lease's.
    """
    # Who keeps a file needs no driver of PostgreSQL.
    from rotator.adapters.state.postgres.database import PostgresDatabase  # noqa: PLC0415
    from rotator.adapters.state.postgres.lease import RowLease  # noqa: PLC0415
    from rotator.adapters.state.postgres.listener import Listener  # noqa: PLC0415

    replica, wakeups = secrets.token_hex(4), LocalWakeups()
    database = PostgresDatabase(server, replica=replica)
    # Whoever renews waits for no request.
    apart = PostgresDatabase(server, replica=replica, connections=1)
    listener = Listener(server, replica=replica, wakeups=wakeups)
    try:
        await database.prepare()
        lease = RowLease(apart, holder=holder, life=life)
        yield _state(database, lease, wakeups, listener)
    finally:
        await listener.stop()
        await apart.close()
        await database.close()


async def migrate_postgres(server: Server) -> None:
    """Bring the schema to this program's version; safe where several do at once."""
    from rotator.adapters.state.postgres.database import PostgresDatabase  # noqa: PLC0415

    database = PostgresDatabase(server, replica="")
    try:
        await database.migrate()
    finally:
        await database.close()
