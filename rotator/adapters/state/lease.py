"""The right to reconcile: its fencing token, and who has it where SQLite is the state store."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from rotator.adapters.state.database import undisturbed
from rotator.adapters.state.tables import lease
from rotator.domain.ids import Fence
from rotator.errors import AnotherProcess, FenceLost, StateUnavailable
from rotator.ports.state_store import Tenure

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from rotator.adapters.state.sqlite import SqliteDatabase


async def require_fence(connection: AsyncConnection, fence: Fence) -> None:
    """Raise `FenceLost` unless *fence* is the newest; it stays so until this transaction ends.

    The row is locked FOR KEY SHARE: whoever takes the lease waits for the writes that go by the one
    before, and whoever renews it waits for none of them, however many there are.
    """
    held = select(lease.c.fence).with_for_update(read=True, key_share=True)
    newest = await connection.execute(held)
    if newest.scalar() != fence:
        raise FenceLost


async def newest_fence(connection: AsyncConnection) -> Fence:
    """The fencing token of whoever took the lease last; 0 if nobody ever did."""
    found = (await connection.execute(select(lease.c.fence))).scalar()
    return Fence(found or 0)


class FileLease:
    """An exclusive lock on a file beside the database: ours until the process ends.

    The kernel gives it back at once after a crash, so a restart need not wait for anything.
    """

    life: timedelta | None = None

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._path = database.path.with_name(database.path.name + ".lock")
        self._descriptor: int | None = None

    async def acquire(self, *, above: Fence = Fence(0)) -> Fence:
        """Take it and raise the fencing token; `AnotherProcess` if it is taken."""
        try:
            # O_CLOEXEC: a program that we start must not hold the lock when we are gone.
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateUnavailable(f"{self._path.name}: {error.strerror}") from None
        try:
            self._lock(descriptor)
            fence = await self._raise_fence(above)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return fence

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            raise AnotherProcess(
                f"process {holder or 'unknown'} has the database {self._database.path} open;"
                " SQLite serves one replica"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    @undisturbed
    async def _raise_fence(self, above: Fence) -> Fence:
        async with self._database.transaction() as connection:
            before = (await connection.execute(select(lease.c.fence))).scalar()
            fence = max(before or 0, above) + 1
            if before is None:
                await connection.execute(insert(lease).values(id=1, fence=fence))
            else:
                await connection.execute(update(lease).values(fence=fence))
            return Fence(fence)

    async def renew(self) -> None:
        """It does not run out."""

    @undisturbed
    async def look(self) -> Tenure:
        """See the port."""
        async with self._database.glance() as connection:
            fence = await newest_fence(connection)
        is_ours = self._descriptor is not None
        return Tenure(fence=fence, holder=str(os.getpid()) if is_ours else None, is_free=False)

    async def release(self) -> None:
        """Give it back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
