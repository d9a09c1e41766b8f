"""The clusters' documents, with the last one read kept in memory for the node path."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rotator.domain.ids import ClusterName, VersionNumber
    from rotator.ports.cookie_store import CookieStore, Stored

#: Seconds between two reads that nodes can cause for one cluster.
_MIN_BETWEEN_READS: Final = 0.2
_NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class _Known:
    """A document, and when the read that brought it began."""

    stored: Stored
    began: float


@dataclass(frozen=True, slots=True)
class _Reading:
    """A read under way."""

    answer: asyncio.Task[Stored | None]
    began: float


class Documents:
    """Reads documents, and keeps the newest of them.

    Whoever wants what a read under way will bring waits for that one: a fleet that asks for what is
    not kept yet causes one read for each cluster. It goes on when who began it is gone.

    What is kept came from a read that began after the last write had ended, and after the read
    that it replaces: a slow answer never brings back what was written over.
    """

    def __init__(self, store: CookieStore) -> None:
        self.store = store
        self._known: dict[ClusterName, _Known] = {}
        self._readings: dict[ClusterName, _Reading] = {}
        self._tried_at: dict[ClusterName, float] = {}
        self._trusted_from: dict[ClusterName, float] = {}
        self._forgotten_at = _NEVER

    async def read(self, cluster: ClusterName, *, max_age: float = 0) -> Stored | None:
        """The document, at most *max_age* seconds old. A failed read leaves nothing fresher."""
        known, since = self._known.get(cluster), time.monotonic() - max_age
        if known is not None and known.began > since:
            return known.stored
        return await (self._under_way(cluster, since=since) or self._begin(cluster))

    async def holding(self, cluster: ClusterName, number: VersionNumber) -> Stored | None:
        """The document that holds this version; read anew, though not too often, if it is not kept."""
        known = self._known.get(cluster)
        if known is not None and known.stored.document.find(number) is not None:
            return known.stored
        answer = self._under_way(cluster, since=_NEVER)
        if answer is None:
            if time.monotonic() - self._tried_at.get(cluster, _NEVER) < _MIN_BETWEEN_READS:
                return None
            answer = self._begin(cluster)
        stored = await answer
        holds = stored is not None and stored.document.find(number) is not None
        return stored if holds else None

    def _under_way(
        self, cluster: ClusterName, *, since: float
    ) -> asyncio.Future[Stored | None] | None:
        """What a read will bring that began after *since* and can be trusted, if there is one."""
        reading = self._readings.get(cluster)
        if reading is None or reading.began <= since or reading.began < self._trusted(cluster):
            return None
        return asyncio.shield(reading.answer)

    def _begin(self, cluster: ClusterName) -> asyncio.Future[Stored | None]:
        began = self._tried_at[cluster] = time.monotonic()
        answer = asyncio.get_running_loop().create_task(self._fetch(cluster, began))
        reading = self._readings[cluster] = _Reading(answer, began)

        def ended(answer: asyncio.Task[Stored | None]) -> None:
            if not answer.cancelled():
                answer.exception()  # nobody may be there any more whom it concerns
            if self._readings.get(cluster) is reading:
                del self._readings[cluster]

        answer.add_done_callback(ended)
        return asyncio.shield(answer)

    def _trusted(self, cluster: ClusterName) -> float:
        return max(self._trusted_from.get(cluster, _NEVER), self._forgotten_at)

    async def _fetch(self, cluster: ClusterName, began: float) -> Stored | None:
        stored = await self.store.read(cluster)
        known = self._known.get(cluster)
        is_newest = known is None or began >= known.began
        if is_newest and began >= self._trusted(cluster):
            if stored is None:
                self._known.pop(cluster, None)
            else:
                self._known[cluster] = _Known(stored, began)
        return stored

    async def finish(self, cluster: ClusterName, stored: Stored) -> None:
        """Have the store do what is missing of a write that is decided; raises as `replace` does."""
        with self.writing(cluster):
            await self.store.replace(cluster, stored.document, mark=stored.mark)

    def forget(self) -> None:
        """Somebody else may have written every document until now: nothing that is kept counts."""
        self._known.clear()
        self._forgotten_at = time.monotonic()

    @contextmanager
    def writing(self, cluster: ClusterName) -> Iterator[None]:
        """While it is written nothing is kept: a replaced cookie must not live on in memory.

        After it, whether its answer came or not, only a read that begins then is trusted.
        """
        self._known.pop(cluster, None)
        self._trusted_from[cluster] = float("inf")
        try:
            yield
        finally:
            self._trusted_from[cluster] = time.monotonic()
