"""Clusters are declared all together, at a price that does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from rotator.adapters.state.store import State, open_state
from rotator.domain.ids import ClusterName
from rotator.errors import InvariantViolated
from rotator.testing.factories import NOW

MANY = [ClusterName(f"c{number:03}") for number in range(200)]


@contextmanager
def statements(state: State) -> Iterator[list[str]]:
    """Those that are sent meanwhile, but for begin and commit."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            sent.append(statement)

    database: Any = state.clusters._database
    event.listen(database._engine.sync_engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(database._engine.sync_engine, "before_cursor_execute", note)


async def declared(state: State) -> dict[str, bool]:
    """Every cluster, and whether it is declared."""
    found = [await state.clusters.load(name) for name in await state.clusters.names()]
    return {cluster.name: cluster.is_declared for cluster in found if cluster is not None}


async def test_what_is_declared_already_costs_one_look(tmp_path: Path) -> None:
    """A term of a service with many clusters begins at once."""
    async with open_state(tmp_path / "s") as state:
        with statements(state) as first:
            await state.clusters.declare(MANY, now=NOW)
        assert len(first) < 10
        with statements(state) as again:
            await state.clusters.declare(MANY, now=NOW)
        assert len(again) == 1
        assert await declared(state) == dict.fromkeys(MANY, True)
        with statements(state) as other:
            await state.clusters.declare(MANY[100:], now=NOW)
        assert len(other) < 10
        assert await declared(state) == {name: name in MANY[100:] for name in MANY}
        facts = await state.clusters.facts(MANY[0])
        assert [one.fact.kind for one in facts] == ["ClusterDeclared", "ClusterUndeclared"]
        assert await state.clusters.broken_link(MANY[0]) is None


async def test_clusters_are_declared_all_together_or_not_at_all(tmp_path: Path) -> None:
    """A failure at the last of them leaves all as they were."""
    async with open_state(tmp_path / "s") as state:
        await state.clusters.declare(MANY[:2], now=NOW)
        last = MANY[-1]
        database = state.clusters._database
        async with database.transaction() as connection:
            await connection.exec_driver_sql(
                "CREATE TRIGGER refuse BEFORE INSERT ON clusters"
                f" WHEN NEW.name = '{last}' BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
        with pytest.raises(InvariantViolated):
            await state.clusters.declare(MANY[1:], now=NOW)
        assert await declared(state) == dict.fromkeys(MANY[:2], True)
        assert len(await state.clusters.facts(None)) == 2
