"""Every state store passes the same suite."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from rotator.adapters.state.store import State, open_postgres, open_state
from rotator.testing.state import clusters, crashes, history, registers
from rotator.testing.state.values import failing
from tests.support import postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

__all__ = ["failing"]


@dataclass(frozen=True)
class Place:
    """A database, how to open it, and how to go around the program."""

    open: Callable[[], AbstractAsyncContextManager[State]]
    meddle: Callable[[str], None]


def sqlite_place(directory: Path) -> Place:
    """A file."""
    path = directory / "state" / "state.sqlite"

    def meddle(statement: str) -> None:
        connection = sqlite3.connect(path)
        with connection:
            connection.execute(statement)
        connection.close()

    return Place(open=lambda: open_state(path), meddle=meddle)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where the database lies: one kind after the other."""
    if request.param == "sqlite":
        yield sqlite_place(tmp_path)
        return
    database = postgres.new_database()
    yield Place(open=lambda: open_postgres(database.server), meddle=database.ask)
    postgres.drop(database)


@pytest.fixture
async def state(place: Place) -> AsyncIterator[State]:
    """An empty store."""
    async with place.open() as opened:
        yield opened


@pytest.fixture
async def other(state: State, place: Place) -> AsyncIterator[State]:
    """The same one through a connection of its own, as the command line or a replica has it."""
    async with place.open() as opened:
        yield opened


@pytest.fixture
def meddle(place: Place) -> Callable[[str], Awaitable[None]]:
    """Runs SQL with nothing but the driver."""

    async def run(statement: str) -> None:
        place.meddle(statement)

    return run


class TestClusterStates(clusters.ClusterStatesContract): ...


class TestDeclaration(clusters.DeclarationContract): ...


class TestFacts(history.FactsContract): ...


class TestHeartbeats(clusters.HeartbeatContract): ...


class TestRotations(history.RotationsContract): ...


class TestReceipts(crashes.ReceiptsContract): ...


class TestCrashes(crashes.CrashContract): ...


class TestEpochs(registers.EpochsContract): ...


class TestTokens(registers.TokensContract): ...


class TestEmergencies(registers.EmergenciesContract): ...
