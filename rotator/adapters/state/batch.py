"""Look-ups that wait for the same connection are made in one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from rotator.adapters.state.database import begun, undisturbed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from rotator.adapters.state.database import Database

K = TypeVar("K")
V = TypeVar("V")


class _Coming(Generic[K, V]):
    """A look that has not begun yet."""

    def __init__(self) -> None:
        self.keys: set[K] = set()
        self.found: asyncio.Task[Mapping[K, V]] | None = None


class Batch(Generic[K, V]):
    """Reads rows by key: nodes that ask at the same moment cost one statement together.

    What is found is never older than the question: a look takes those keys that were asked for
    before its statement began, and whoever comes later waits for the next one. Nothing is kept.
    """

    def __init__(
        self,
        database: Database,
        look: Callable[[AsyncConnection, Collection[K]], Awaitable[Mapping[K, V]]],
    ) -> None:
        self._database = database
        self._look = look
        self._coming: _Coming[K, V] | None = None

    @undisturbed
    async def find(self, key: K) -> V | None:
        """What *key* stands for now, or None; `StateUnavailable`."""
        coming = self._coming
        if coming is None or coming.found is None:
            coming = self._coming = _Coming()
            coming.found = begun(self._make(coming))
        coming.keys.add(key)
        found = await coming.found
        return found.get(key)

    async def _make(self, coming: _Coming[K, V]) -> Mapping[K, V]:
        try:
            async with self._database.glance() as connection:
                self._coming = None
                return await self._look(connection, tuple(coming.keys))
        finally:
            if self._coming is coming:
                self._coming = None
