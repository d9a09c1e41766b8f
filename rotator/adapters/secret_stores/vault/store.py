"""Cookie documents and master secrets in Vault or OpenBao."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rotator.adapters.secret_stores import epochs
from rotator.adapters.secret_stores.places import one_step
from rotator.adapters.secret_stores.vault.kv import KvDocuments
from rotator.domain import document as documents
from rotator.errors import EpochMissing, StoreConflict
from rotator.ports.cookie_store import Stored

if TYPE_CHECKING:
    from rotator.adapters.secret_stores.vault.connection import Ask, VaultConnection
    from rotator.domain.document import ClusterDocument
    from rotator.domain.ids import ClusterName, EpochNumber, MasterName
    from rotator.ports.cookie_store import Mark
    from rotator.ports.master_store import Epoch


class VaultCookieStore:
    """A `CookieStore` at ``<mount>/<prefix>/clusters/<cluster>``; *mark* is the KV version."""

    def __init__(self, connection: VaultConnection, *, mount: str, prefix: str) -> None:
        self._connection = connection
        self._kv = KvDocuments(mount)
        self._below = f"{prefix.strip('/')}/clusters"

    async def read(self, cluster: ClusterName) -> Stored | None:
        """The newest document; a deleted one reads as none."""
        path = self._path(cluster)
        found = await self._connection.run(lambda ask: self._kv.look(ask, path))
        if found.raw is None:
            return None
        return Stored(document=documents.from_json(found.raw), mark=found.version)

    async def create(self, cluster: ClusterName, document: ClusterDocument) -> None:
        """Write the first document, also where one was deleted."""
        path, raw = self._path(cluster), documents.to_json(document)

        def first(ask: Ask) -> None:
            found = self._kv.look(ask, path)
            if found.raw is not None:
                raise StoreConflict
            self._kv.write(ask, path, raw, over=found.version)

        await self._connection.run(first)

    async def replace(self, cluster: ClusterName, document: ClusterDocument, *, mark: Mark) -> None:
        """Write over exactly *mark*; with one version kept, the former is gone with this."""
        path, raw = self._path(cluster), documents.to_json(document)
        await self._connection.run(lambda ask: self._kv.write(ask, path, raw, over=int(mark)))

    async def check(self) -> None:
        """Raise unless the mount can be read."""
        path = f"{self._below}/readiness"
        await self._connection.run(lambda ask: self._kv.check(ask, path))

    async def close(self) -> None:
        """Close the connection, which the master store may share."""
        await self._connection.close()

    def _path(self, cluster: ClusterName) -> str:
        return f"{self._below}/{one_step(cluster)}"


class VaultMasterStore:
    """A `MasterStore` at ``<mount>/<prefix>/masters/<name>/<epoch>``."""

    def __init__(self, connection: VaultConnection, *, mount: str, prefix: str) -> None:
        self._connection = connection
        self._kv = KvDocuments(mount)
        self._below = f"{prefix.strip('/')}/masters"

    async def read(self, master: MasterName, epoch: EpochNumber) -> Epoch | None:
        """The epoch; one that was deleted raises `EpochMissing`, as cookies came from it."""
        path = self._path(master, epoch)
        return await self._connection.run(lambda ask: self._present(ask, path))

    async def create(self, master: MasterName, epoch: EpochNumber, value: Epoch) -> Epoch:
        """Write the epoch unless it is there; returns what is there."""
        path, raw = self._path(master, epoch), epochs.to_json(value)

        def once(ask: Ask) -> Epoch:
            present = self._present(ask, path)
            if present is not None:
                return present
            try:
                self._kv.write_once(ask, path, raw)
            except StoreConflict:
                present = self._present(ask, path)
                if present is None:
                    raise
                return present
            return value

        return await self._connection.run(once)

    def _present(self, ask: Ask, path: str) -> Epoch | None:
        found = self._kv.look(ask, path)
        if found.raw is None and found.version:
            raise EpochMissing(f"{path!r} was deleted from the secrets manager; undelete it")
        return None if found.raw is None else epochs.from_json(found.raw)

    def _path(self, master: MasterName, epoch: EpochNumber) -> str:
        return f"{self._below}/{one_step(master)}/{int(epoch)}"
