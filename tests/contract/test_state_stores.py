"""Every state store passes the same suite."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from rotator.adapters.state.store import State, open_state
from rotator.testing.state import clusters, crashes, history, registers
from rotator.testing.state.values import failing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

__all__ = ["failing"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the database lies."""
    return tmp_path / "state" / "state.sqlite"


@pytest.fixture
async def state(place: Path) -> AsyncIterator[State]:
    """An empty store."""
    async with open_state(place) as opened:
        yield opened


@pytest.fixture
async def other(state: State, place: Path) -> AsyncIterator[State]:
    """The same one through a connection of its own, as the command line has it."""
    async with open_state(place) as opened:
        yield opened


@pytest.fixture
def meddle(place: Path) -> Callable[[str], Awaitable[None]]:
    """Runs SQL with nothing but SQLite."""

    async def run(statement: str) -> None:
        connection = sqlite3.connect(place)
        with connection:
            connection.execute(statement)
        connection.close()

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
