"""The right to reconcile, where replicas share a database: one row, by the database's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from rotator.adapters.state import news
from rotator.adapters.state.database import undisturbed
from rotator.domain.ids import Fence
from rotator.errors import AnotherProcess, FenceLost
from rotator.ports.state_store import Tenure

if TYPE_CHECKING:
    from datetime import timedelta

    from rotator.adapters.state.postgres.database import PostgresDatabase

_MAKE: Final = text("INSERT INTO lease (id, fence) VALUES (1, 0) ON CONFLICT DO NOTHING")
# Waits for every write that goes by the token (`state.lease.require_fence`); an UPDATE would not.
_SHUT: Final = text("SELECT fence FROM lease FOR UPDATE")
# The clock of the moment, not of the transaction's begin: a statement may have waited for the row.
_TAKE: Final = text("""
    UPDATE lease
    SET fence = greatest(fence, :above) + 1, holder = :holder, expires_at = clock_timestamp() + :life
    WHERE expires_at IS NULL OR expires_at <= clock_timestamp()
    RETURNING fence
""")
_RENEW: Final = text("""
    UPDATE lease SET expires_at = clock_timestamp() + :life
    WHERE fence = :fence AND expires_at IS NOT NULL
""")
_RELEASE: Final = text("UPDATE lease SET holder = NULL, expires_at = NULL WHERE fence = :fence")
_LOOK: Final = text("""
    SELECT fence, holder, expires_at IS NULL OR expires_at <= clock_timestamp() AS is_free
    FROM lease
""")


class RowLease:
    """`ports.state_store.Lease`: it runs out unless it is renewed.

    A token is unique to one taking, so it says whose the row is. A holder that was late may renew
    if nobody has taken the lease meanwhile: then nobody can have written in between, either.
    """

    def __init__(self, database: PostgresDatabase, *, holder: str, life: timedelta) -> None:
        self._database = database
        self._holder = holder
        self.life: timedelta | None = life
        self._fence: Fence | None = None

    @undisturbed
    async def acquire(self, *, above: Fence = Fence(0)) -> Fence:
        """See the port."""
        values = {"holder": self._holder, "life": self.life, "above": above}
        async with self._database.transaction() as connection:
            await connection.execute(_MAKE)
            await connection.execute(_SHUT)
            taken = await connection.execute(_TAKE, values)
            fence = taken.scalar()
        if fence is None:
            leader = (await self.look()).holder or "another replica"
            raise AnotherProcess(
                f"{leader} leads; if it was killed, that ends within its lease by itself"
            )
        self._fence = Fence(fence)
        return self._fence

    @undisturbed
    async def renew(self) -> None:
        """See the port."""
        async with self._database.transaction() as connection:
            renewed = await connection.execute(_RENEW, {"fence": self._fence, "life": self.life})
        if renewed.rowcount != 1:
            raise FenceLost

    @undisturbed
    async def release(self) -> None:
        """See the port; those who wait for it hear of it in the moment that it is free."""
        if self._fence is None:
            return
        async with self._database.transaction() as connection:
            await connection.execute(_RELEASE, {"fence": self._fence})
            await self._database.tell(connection, news.LEASE)
        self._fence = None

    @undisturbed
    async def look(self) -> Tenure:
        """See the port."""
        async with self._database.glance() as connection:
            row = (await connection.execute(_LOOK)).first()
        if row is None:
            return Tenure(fence=Fence(0), holder=None, is_free=True)
        return Tenure(
            fence=Fence(row.fence), holder=None if row.is_free else row.holder, is_free=row.is_free
        )
