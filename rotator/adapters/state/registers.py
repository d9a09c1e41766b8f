"""Epochs, tokens and emergencies: the small registers of the state store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, or_, select, update

from rotator.adapters.state import chain, news
from rotator.adapters.state import tables as t
from rotator.adapters.state.batch import Batch
from rotator.adapters.state.database import FACTS, TOKENS, about, undisturbed
from rotator.adapters.state.mapping import from_json, instant_to_text, to_json
from rotator.domain.ids import EpochNumber
from rotator.ports.state_store import EmergencyRow, EpochRow, TokenRow

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from rotator.adapters.state.database import Database
    from rotator.domain.facts import Fact
    from rotator.domain.ids import MasterName


class SqlEpochs:
    """`ports.state_store.Epochs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @undisturbed
    async def allocate(self, master: MasterName, opened_for: str) -> EpochNumber:
        """See the port."""
        table = t.epochs
        async with self._database.transaction(f"epochs {master}") as connection:
            found = await connection.execute(
                select(table.c.number).where(
                    table.c.master == master, table.c.opened_for == opened_for
                )
            )
            number = found.scalar()
            if number is None:
                last = await connection.execute(
                    select(func.max(table.c.number)).where(table.c.master == master)
                )
                number = (last.scalar() or 0) + 1
                await connection.execute(
                    insert(table).values(
                        master=master, number=number, opened_for=opened_for, is_open=False
                    )
                )
        return EpochNumber(number)

    async def newest(self, master: MasterName) -> EpochRow | None:
        """See the port."""
        table = t.epochs.c
        return await self._one(
            select(t.epochs)
            .where(table.master == master, table.is_open.is_(True))
            .order_by(table.number.desc())
            .limit(1)
        )

    async def get(self, master: MasterName, number: EpochNumber) -> EpochRow | None:
        """See the port."""
        table = t.epochs.c
        return await self._one(
            select(t.epochs).where(table.master == master, table.number == number)
        )

    @undisturbed
    async def _one(self, query: Select[tuple[object, ...]]) -> EpochRow | None:
        async with self._database.glance() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            return None
        return from_json(EpochRow, row)

    @undisturbed
    async def mark_open(
        self, master: MasterName, number: EpochNumber, *, fact: Fact | None = None
    ) -> None:
        """See the port."""
        table = t.epochs
        opened_at = instant_to_text(await self._database.now())
        subjects = [f"epochs {master}"]
        subjects += [about(chain.SERVICE), FACTS] if fact is not None else []
        async with self._database.transaction(*subjects) as connection:
            opened = await connection.execute(
                update(table)
                .where(table.c.master == master, table.c.number == number)
                .where(table.c.is_open.is_(False))
                .values(is_open=True, opened_at=opened_at)
            )
            if fact is not None and opened.rowcount:
                head = await chain.head(connection, chain.SERVICE)
                await chain.append(connection, chain.SERVICE, after=head, new=(fact,))

    @undisturbed
    async def take_up(self, row: EpochRow) -> None:
        """See the port; what has its number or its reason makes way."""
        table = t.epochs
        values = to_json(row)
        async with self._database.transaction(f"epochs {row.master}") as connection:
            await connection.execute(
                delete(table).where(
                    table.c.master == row.master,
                    or_(table.c.number == row.number, table.c.opened_for == row.opened_for),
                )
            )
            await connection.execute(insert(table).values(values))


async def _find_tokens(connection: AsyncConnection, ids: Collection[str]) -> dict[str, TokenRow]:
    query = select(t.tokens).where(t.tokens.c.id.in_(ids))
    rows = (await connection.execute(query)).mappings().all()
    return {row["id"]: from_json(TokenRow, row) for row in rows}


class SqlTokens:
    """`ports.state_store.Tokens`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batch: Batch[str, TokenRow] = Batch(database, _find_tokens)

    @undisturbed
    async def add(self, token: TokenRow) -> None:
        """See the port."""
        async with self._database.transaction(TOKENS) as connection:
            await connection.execute(insert(t.tokens).values(to_json(token)))

    async def find(self, token_id: str) -> TokenRow | None:
        """See the port."""
        return await self._batch.find(token_id)

    async def all(self) -> tuple[TokenRow, ...]:
        """See the port."""
        return await self._rows(
            select(t.tokens).order_by(t.tokens.c.created_at.desc(), t.tokens.c.id.desc())
        )

    @undisturbed
    async def usable(
        self, *, now: datetime, since: datetime | None = None
    ) -> tuple[tuple[str, str], ...]:
        """See the port."""
        table = t.tokens.c
        query = select(table.digest, table.nodes).order_by(table.created_at)
        query = query.where(table.revoked_at.is_(None), table.expires_at > instant_to_text(now))
        if since is not None:
            query = query.where(table.created_at > instant_to_text(since))
        async with self._database.glance() as connection:
            found = await connection.execute(query)
            return tuple((digest, nodes) for digest, nodes in found)

    @undisturbed
    async def _rows(self, query: Select[tuple[object, ...]]) -> tuple[TokenRow, ...]:
        async with self._database.glance() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return tuple(from_json(TokenRow, row) for row in rows)

    @undisturbed
    async def revoke(self, token_id: str, *, now: datetime) -> bool:
        """See the port."""
        table = t.tokens
        async with self._database.transaction(TOKENS) as connection:
            written = await connection.execute(
                update(table)
                .where(table.c.id == token_id, table.c.revoked_at.is_(None))
                .values(revoked_at=instant_to_text(now))
            )
            await self._database.tell(connection, news.REVOKED)
        return bool(written.rowcount)

    @undisturbed
    async def used(self, last_used: Mapping[str, datetime]) -> None:
        """See the port."""
        async with self._database.transaction(TOKENS) as connection:
            for token_id, at in last_used.items():
                used = t.tokens.c.last_used_at
                await connection.execute(
                    update(t.tokens)
                    .where(
                        t.tokens.c.id == token_id,
                        or_(used.is_(None), used < instant_to_text(at)),
                    )
                    .values(last_used_at=instant_to_text(at))
                )


class SqlEmergencies:
    """`ports.state_store.Emergencies`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @undisturbed
    async def add(self, emergency: EmergencyRow) -> None:
        """See the port."""
        async with self._database.transaction(f"emergency {emergency.id}") as connection:
            there = await connection.execute(
                select(t.emergencies.c.id).where(t.emergencies.c.id == emergency.id)
            )
            if there.first() is None:
                await connection.execute(insert(t.emergencies).values(to_json(emergency)))

    @undisturbed
    async def get(self, emergency_id: str) -> EmergencyRow | None:
        """See the port."""
        async with self._database.glance() as connection:
            found = await connection.execute(
                select(t.emergencies).where(t.emergencies.c.id == emergency_id)
            )
            row = found.mappings().first()
        if row is None:
            return None
        return from_json(EmergencyRow, row)
