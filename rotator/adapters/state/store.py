"""The whole state store of one process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rotator.adapters.state.clusters import SqlClusterStates
from rotator.adapters.state.database import Database
from rotator.adapters.state.lease import FileLease
from rotator.adapters.state.registers import SqlEmergencies, SqlEpochs, SqlTokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One file, as all the ports of `ports.state_store`."""

    clusters: SqlClusterStates
    epochs: SqlEpochs
    tokens: SqlTokens
    emergencies: SqlEmergencies
    lease: FileLease


@asynccontextmanager
async def open_state(path: Path) -> AsyncIterator[State]:
    """Open and migrate the SQLite file at *path*; the lease is not taken yet."""
    database = Database(path)
    try:
        await database.prepare()
        yield State(
            clusters=SqlClusterStates(database),
            epochs=SqlEpochs(database),
            tokens=SqlTokens(database),
            emergencies=SqlEmergencies(database),
            lease=FileLease(database),
        )
    finally:
        await database.close()
