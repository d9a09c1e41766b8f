"""Cookie documents and master secrets in a directory of this machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rotator.adapters.secret_stores import epochs
from rotator.adapters.secret_stores.local.files import Envelope, SealedFiles
from rotator.adapters.secret_stores.places import one_step
from rotator.domain import document as documents
from rotator.errors import StoreConflict
from rotator.ports.cookie_store import Stored

if TYPE_CHECKING:
    from pathlib import Path

    from rotator.domain.document import ClusterDocument
    from rotator.domain.ids import ClusterName, EpochNumber, MasterName
    from rotator.ports.cookie_store import Mark
    from rotator.ports.master_store import Epoch


class LocalCookieStore:
    """A `CookieStore` in ``<directory>/clusters``; *mark* counts the writes of a document."""

    def __init__(self, directory: Path) -> None:
        self._files = SealedFiles(directory)

    async def read(self, cluster: ClusterName) -> Stored | None:
        """The document; needs no lock, as a file is replaced as a whole."""
        place = _cluster_place(cluster)
        found = await asyncio.to_thread(self._files.read, place)
        if found is None:
            return None
        return Stored(document=documents.from_json(found.document), mark=found.mark)

    async def create(self, cluster: ClusterName, document: ClusterDocument) -> None:
        """Write the first document."""
        await self._write(cluster, document, over=None)

    async def replace(self, cluster: ClusterName, document: ClusterDocument, *, mark: Mark) -> None:
        """Write over exactly *mark*."""
        await self._write(cluster, document, over=mark)

    async def _write(
        self, cluster: ClusterName, document: ClusterDocument, *, over: Mark | None
    ) -> None:
        place, raw = _cluster_place(cluster), documents.to_json(document)

        def compare_and_set() -> None:
            found = self._files.read(place)
            if (None if found is None else found.mark) != over:
                raise StoreConflict
            self._files.write(place, Envelope(mark=int(over or 0) + 1, document=raw))

        await self._files.alone(compare_and_set)

    async def check(self) -> None:
        """Raise unless the directory can be written to and the key is kept to its owner."""
        await self._files.alone(self._files.check)

    async def close(self) -> None:
        """Nothing is held open."""


class LocalMasterStore:
    """A `MasterStore` in ``<directory>/masters/<name>``."""

    def __init__(self, directory: Path) -> None:
        self._files = SealedFiles(directory)

    async def read(self, master: MasterName, epoch: EpochNumber) -> Epoch | None:
        """The epoch."""
        found = await asyncio.to_thread(self._files.read, _epoch_place(master, epoch))
        return None if found is None else epochs.from_json(found.document)

    async def create(self, master: MasterName, epoch: EpochNumber, value: Epoch) -> Epoch:
        """Write the epoch unless it is there; returns what is there."""
        place = _epoch_place(master, epoch)

        def once() -> Epoch:
            found = self._files.read(place)
            if found is not None:
                return epochs.from_json(found.document)
            self._files.write(place, Envelope(mark=1, document=epochs.to_json(value)))
            return value

        return await self._files.alone(once)


def _cluster_place(cluster: ClusterName) -> str:
    return f"clusters/{one_step(cluster)}"


def _epoch_place(master: MasterName, epoch: EpochNumber) -> str:
    return f"masters/{one_step(master)}/{int(epoch)}"
