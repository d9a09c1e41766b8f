"""Answers that were given to idempotency keys. They are stored with the change that they tell of."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, insert, select

from rotator.adapters.state.mapping import from_json, instant_to_text, to_json
from rotator.adapters.state.tables import idempotency_keys as table
from rotator.errors import StateUnavailable
from rotator.ports.state_store import Receipt

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

LIFE: Final = timedelta(hours=24)


async def find(
    connection: AsyncConnection, principal: str, key: str, *, now: datetime
) -> Receipt | None:
    """The answer that was given to this key within 24 h."""
    row = await connection.execute(
        select(table).where(
            table.c.principal == principal,
            table.c.key == key,
            table.c.at > instant_to_text(now - LIFE),
        )
    )
    found = row.mappings().first()
    return None if found is None else from_json(Receipt, found)


async def add(connection: AsyncConnection, receipt: Receipt) -> None:
    """Store it, and drop those that are too old to count.

    `StateUnavailable` if another request was faster with the key: repeated, it gets that answer.
    """
    await connection.execute(delete(table).where(table.c.at <= instant_to_text(receipt.at - LIFE)))
    if await find(connection, receipt.principal, receipt.key, now=receipt.at) is not None:
        raise StateUnavailable("this idempotency key is being used by another request; try again")
    await connection.execute(insert(table).values(to_json(receipt)))
