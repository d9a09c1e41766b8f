"""The clusters' documents, with the last one read kept in memory for the node path."""

from __future__ import annotations

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


class Documents:
    """Reads documents, and keeps the newest of them.

    What is kept came from a read that began after the last write had ended, and after the read
    that it replaces: a slow answer never brings back what was written over.
    """

    def __init__(self, store: CookieStore) -> None:
        self.store = store
        self._known: dict[ClusterName, _Known] = {}
        self._tried_at: dict[ClusterName, float] = {}
        self._trusted_from: dict[ClusterName, float] = {}

    async def read(self, cluster: ClusterName, *, max_age: float = 0) -> Stored | None:
        """The document, at most *max_age* seconds old. A failed read leaves nothing fresher."""
        known = self._known.get(cluster)
        if known is not None and time.monotonic() - known.began < max_age:
            return known.stored
        return await self._fetch(cluster)

    async def holding(self, cluster: ClusterName, number: VersionNumber) -> Stored | None:
        """The document that holds this version; read anew, though not too often, if it is not kept."""
        known = self._known.get(cluster)
        if known is not None and known.stored.document.find(number) is not None:
            return known.stored
        if time.monotonic() - self._tried_at.get(cluster, _NEVER) < _MIN_BETWEEN_READS:
            return None
        stored = await self._fetch(cluster)
        holds = stored is not None and stored.document.find(number) is not None
        return stored if holds else None

    async def _fetch(self, cluster: ClusterName) -> Stored | None:
        began = self._tried_at[cluster] = time.monotonic()
        stored = await self.store.read(cluster)
        known = self._known.get(cluster)
        is_newest = known is None or began >= known.began
        if is_newest and began >= self._trusted_from.get(cluster, _NEVER):
            if stored is None:
                self._known.pop(cluster, None)
            else:
                self._known[cluster] = _Known(stored, began)
        return stored

    async def finish(self, cluster: ClusterName, stored: Stored) -> None:
        """Have the store do what is missing of a write that is decided; raises as `replace` does."""
        with self.writing(cluster):
            await self.store.replace(cluster, stored.document, mark=stored.mark)

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
