"""The secret stores in memory, for unit tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rotator.adapters.secret_stores.places import one_step
from rotator.errors import StoreConflict
from rotator.ports.cookie_store import Stored

if TYPE_CHECKING:
    from rotator.domain.document import ClusterDocument
    from rotator.domain.ids import ClusterName, EpochNumber, MasterName
    from rotator.ports.cookie_store import Mark
    from rotator.ports.master_store import Epoch


class MemoryCookieStore:
    """A `CookieStore` that keeps documents as they are."""

    def __init__(self) -> None:
        self.documents: dict[ClusterName, Stored] = {}

    async def read(self, cluster: ClusterName) -> Stored | None:
        """The newest document."""
        one_step(cluster)
        return self.documents.get(cluster)

    async def create(self, cluster: ClusterName, document: ClusterDocument) -> None:
        """Write the first document."""
        if one_step(cluster) in self.documents:
            raise StoreConflict
        self.documents[cluster] = Stored(document=document, mark=1)

    async def replace(self, cluster: ClusterName, document: ClusterDocument, *, mark: Mark) -> None:
        """Write over exactly *mark*."""
        found = self.documents.get(cluster)
        if found is None or found.mark != mark:
            raise StoreConflict
        self.documents[cluster] = Stored(document=document, mark=int(mark) + 1)

    async def check(self) -> None:
        """Memory is always there."""

    async def close(self) -> None:
        """There is nothing to give back."""


class MemoryMasterStore:
    """A `MasterStore` that keeps epochs as they are."""

    def __init__(self) -> None:
        self.epochs: dict[tuple[MasterName, EpochNumber], Epoch] = {}

    async def read(self, master: MasterName, epoch: EpochNumber) -> Epoch | None:
        """The epoch."""
        one_step(master)
        return self.epochs.get((master, epoch))

    async def create(self, master: MasterName, epoch: EpochNumber, value: Epoch) -> Epoch:
        """Write the epoch unless it is there."""
        one_step(master)
        return self.epochs.setdefault((master, epoch), value)
