"""The clusters' documents, with the last one read kept in memory for the node path."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rotator.domain.document import StoredVersion
    from rotator.domain.ids import ClusterName, VersionNumber
    from rotator.ports.cookie_store import CookieStore, Stored

#: Seconds between two reads that nodes can cause for one cluster.
_MIN_BETWEEN_READS: Final = 0.2


class Documents:
    """Reads documents; what is cached is looked up by version number, which never changes."""

    def __init__(self, store: CookieStore) -> None:
        self.store = store
        self._cached: dict[ClusterName, Stored] = {}
        self._read_at: dict[ClusterName, float] = {}

    async def read(self, cluster: ClusterName, *, max_age: float = 0) -> Stored | None:
        """The document, at most *max_age* seconds old."""
        age = time.monotonic() - self._read_at.get(cluster, float("-inf"))
        if age < max_age and cluster in self._cached:
            return self._cached[cluster]
        return await self._fetch(cluster)

    async def _fetch(self, cluster: ClusterName) -> Stored | None:
        self._read_at[cluster] = time.monotonic()
        stored = await self.store.read(cluster)
        if stored is None:
            self._cached.pop(cluster, None)
        else:
            self._cached[cluster] = stored
        return stored

    def forget(self, cluster: ClusterName) -> None:
        """The document is about to change; a retired cookie must not live on in memory."""
        self._cached.pop(cluster, None)

    async def find(self, cluster: ClusterName, number: VersionNumber) -> StoredVersion | None:
        """A version by its number; reads again, though not too often, where it is not cached."""
        stored = self._cached.get(cluster)
        found = stored.document.find(number) if stored else None
        if found is not None:
            return found
        if stored is not None:
            age = time.monotonic() - self._read_at.get(cluster, float("-inf"))
            if age < _MIN_BETWEEN_READS:
                return None
        stored = await self._fetch(cluster)
        return stored.document.find(number) if stored else None
