"""Look-ups of the same moment share a statement, and none sees less than it would alone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from rotator.adapters.state import tables as t
from rotator.adapters.state.batch import Batch
from rotator.adapters.state.database import Database
from rotator.adapters.state.store import State, open_state
from rotator.errors import StateUnavailable
from rotator.testing.factories import NAME, NOW


class Looks:
    """Looks at generations, and which keys each look was for."""

    def __init__(self, state: State) -> None:
        self.database: Database = state.clusters._database
        self.asked: list[set[str]] = []
        self.batch: Batch[str, int] = Batch(self.database, self.look)

    async def look(self, connection: AsyncConnection, names: Collection[str]) -> dict[str, int]:
        """One look."""
        self.asked.append(set(names))
        query = select(t.clusters.c.name, t.clusters.c.generation)
        rows = await connection.execute(query.where(t.clusters.c.name.in_(names)))
        return {name: generation for name, generation in rows}  # noqa: C416 - rows are no pairs


async def test_those_who_ask_together_share_a_look_and_each_gets_their_own(tmp_path: Path) -> None:
    """Twenty questions cost one statement, and what is not there is None."""
    async with open_state(tmp_path / "s") as state:
        await state.clusters.declare([NAME], now=NOW)
        looks = Looks(state)
        names = [NAME, "nowhere"] * 10
        found = await asyncio.gather(*(looks.batch.find(name) for name in names))
        assert found == [0, None] * 10
        assert looks.asked == [{NAME, "nowhere"}]
        assert await looks.batch.find(NAME) == 0
        assert len(looks.asked) == 2, "nothing is kept"


async def test_who_asks_after_a_look_has_begun_waits_for_the_next(tmp_path: Path) -> None:
    """A look is never older than the question: a change before it is seen."""
    async with open_state(tmp_path / "s") as state:
        await state.clusters.declare([NAME], now=NOW)
        looks = Looks(state)
        begun, go_on, look = asyncio.Event(), asyncio.Event(), looks.look

        async def slow(connection: AsyncConnection, names: Collection[str]) -> dict[str, int]:
            found = await look(connection, names)
            begun.set()
            await go_on.wait()
            return found

        looks.batch = Batch(looks.database, slow)
        early = asyncio.ensure_future(looks.batch.find(NAME))
        await begun.wait()

        async def change() -> None:
            async with looks.database.transaction() as connection:
                await connection.execute(update(t.clusters).values(generation=7))

        changing = asyncio.ensure_future(change())
        await asyncio.sleep(0)
        late = asyncio.ensure_future(looks.batch.find(NAME))
        go_on.set()
        await changing
        assert (await early, await late) == (0, 7)
        assert len(looks.asked) == 2


async def test_a_look_that_fails_fails_for_those_alone_who_waited_for_it(tmp_path: Path) -> None:
    """Whoever asks later gets a look of their own."""
    async with open_state(tmp_path / "s") as state:
        looks = Looks(state)
        await looks.database.close()
        for _ in range(2):
            failed = await asyncio.gather(
                *(looks.batch.find(NAME) for _ in range(2)), return_exceptions=True
            )
            assert [type(error) for error in failed] == [StateUnavailable] * 2
    assert looks.asked == []


async def test_who_hangs_up_takes_nobody_with_them(tmp_path: Path) -> None:
    """A cancelled question does not cancel the look that others wait for."""
    async with open_state(tmp_path / "s") as state:
        await state.clusters.declare([NAME], now=NOW)
        looks = Looks(state)
        first = asyncio.ensure_future(looks.batch.find(NAME))
        second = asyncio.ensure_future(looks.batch.find(NAME))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == 0
        with pytest.raises(asyncio.CancelledError):
            await first
