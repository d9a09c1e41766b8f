"""Whether a chain of facts is as it was written: read from its beginning, link by link."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy import Row, select, union

from rotator.adapters.state import chain
from rotator.adapters.state.mapping import from_json
from rotator.adapters.state.tables import clusters, facts
from rotator.domain.cluster import GENESIS
from rotator.domain.document import FactsHead
from rotator.domain.facts import Fact
from rotator.ports.records import Break, Verified

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.ext.asyncio import AsyncConnection

    Reading: TypeAlias = "Callable[[], AbstractAsyncContextManager[AsyncConnection]]"

_PAGE: Final = 500


async def chains(connection: AsyncConnection) -> list[str]:
    """Every chain that there is, the service's own among them, and clusters without a fact."""
    names = union(select(facts.c.chain), select(clusters.c.name))
    return sorted({chain.SERVICE, *await connection.scalars(names)})


async def verify(reading: Reading, name: str, *, kept: FactsHead | None = None) -> Verified:
    """Follow the chain from its first fact to its head, in pages that need not be one view.

    *kept* is a head from elsewhere, which the chain must contain. Facts may be added meanwhile:
    each time the head is read after the facts before it and before those after it.
    """
    newest = GENESIS
    while True:
        async with reading() as connection:
            told = await chain.head(connection, name)
            rows = await _page(connection, name, newest.seq)
        if not rows:
            return _ended(newest, told, kept)
        for row in rows:
            why = _why_broken(row, newest, kept)
            if why is not None:
                return Verified(head=newest, broken_at=newest.seq + 1, why=why)
            newest = FactsHead(seq=row.seq, hash=row.hash)


async def first_broken(
    connection: AsyncConnection, name: str, *, kept: FactsHead | None = None
) -> int | None:
    """The seq of the first fact that is not as it was written, or is missing; None if none."""

    @asynccontextmanager
    async def same() -> AsyncIterator[AsyncConnection]:
        yield connection

    return (await verify(same, name, kept=kept)).broken_at


def _ended(newest: FactsHead, told: FactsHead, kept: FactsHead | None) -> Verified:
    """Whether the last fact that is there is the last one that there was."""
    if told.seq > newest.seq or (kept is not None and kept.seq > newest.seq):
        return Verified(head=newest, broken_at=newest.seq + 1, why=Break.CUT)
    if told.seq < newest.seq:
        return Verified(head=newest, broken_at=told.seq + 1, why=Break.ADDED)
    if told.hash != newest.hash:
        return Verified(head=newest, broken_at=newest.seq, why=Break.CHANGED)
    return Verified(head=newest)


async def _page(connection: AsyncConnection, name: str, after: int) -> list[Row[Any]]:
    query = select(facts).where(facts.c.chain == name, facts.c.seq > after)
    return list(await connection.execute(query.order_by(facts.c.seq).limit(_PAGE)))


def _why_broken(row: Row[Any], previous: FactsHead, kept: FactsHead | None) -> Break | None:
    if row.seq != previous.seq + 1:
        return Break.MISSING
    if row.hash != chain.link(previous.hash, row.body) or not _says_the_same(row):
        return Break.CHANGED
    if kept is not None and kept.seq == row.seq and kept.hash != row.hash:
        return Break.ANOTHER
    return None


def _says_the_same(row: Row[Any]) -> bool:
    """The columns that are searched are not hashed themselves: they must say what the text says."""
    try:
        body = json.loads(row.body)
        fact = from_json(Fact, body)
        return (
            (body["chain"], body["seq"]) == (row.chain, row.seq)
            and (fact.kind.value, fact.rotation, fact.once_key)
            == (row.kind, row.rotation, row.once_key)
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        return False
