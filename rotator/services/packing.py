"""Pack what a lost secrets manager is rebuilt from (`rotator master export`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rotator.domain.ids import EpochNumber
from rotator.errors import EpochMissing, StoreDocumentInvalid
from rotator.ports.recovery_kit import KeptCluster, RecoveryKit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rotator.domain.cluster import Cluster
    from rotator.domain.ids import ClusterName, MasterName
    from rotator.ports.cookie_store import CookieStore
    from rotator.ports.master_store import Epoch, MasterStore
    from rotator.ports.state_store import ClusterStates, Epochs


class Packing:
    """Reads both stores; changes nothing."""

    def __init__(
        self,
        *,
        states: ClusterStates,
        epochs: Epochs,
        cookies: CookieStore,
        masters: MasterStore,
    ) -> None:
        self._states = states
        self._epochs = epochs
        self._cookies = cookies
        self._masters = masters

    async def pack(self, masters: Sequence[MasterName]) -> RecoveryKit:
        """Every epoch of these masters, and every initialised cluster.

        Raises `SecretStoreError` where anything is missing or cannot be read: half a kit is none.
        """
        clusters = await self._clusters()
        epochs: dict[tuple[MasterName, EpochNumber], Epoch] = {}
        for master in sorted({*masters, *(cluster.master for cluster in clusters.values())}):
            newest = await self._epochs.newest(master)
            for number in range(1, (newest.number if newest else 0) + 1):
                row = await self._epochs.get(master, EpochNumber(number))
                if row is None or not row.is_open:
                    continue
                found = await self._masters.read(master, row.number)
                if found is None:
                    raise EpochMissing(f"epoch {number} of master {master} is gone")
                epochs[master, row.number] = found
        return RecoveryKit(made_at=await self._states.now(), epochs=epochs, clusters=clusters)

    async def _clusters(self) -> dict[ClusterName, KeptCluster]:
        found = {}
        for name in await self._states.names():
            cluster = await self._states.load(name)
            if cluster is not None and cluster.is_initialised and cluster.master is not None:
                found[name] = await self._cluster(cluster, cluster.master)
        return found

    async def _cluster(self, cluster: Cluster, master: MasterName) -> KeptCluster:
        stored = await self._cookies.read(cluster.name)
        if stored is None or cluster.uid != stored.document.cluster_uid:
            raise StoreDocumentInvalid(f"the document of {cluster.name} is missing, or another's")
        document = stored.document
        return KeptCluster(
            name=cluster.name,
            uid=document.cluster_uid,
            master=master,
            fingerprint_key=document.fingerprint_key,
            imported={v.number: v.cookie for v in document.versions() if v.epoch is None},
        )
