"""Rebuild a lost or old state store from the documents in the secrets manager (`rotator recover`).

Each cluster takes two writes: L1, one transaction of the state store, and KL, the document in the
new store's name. Killed between any two, it goes on when it is repeated; what is done is not done
again. The caller holds the lease, so no service is running.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rotator.domain import document as documents
from rotator.domain import recovery
from rotator.domain.actions import Line
from rotator.domain.cluster import Cluster
from rotator.domain.document import Stamp
from rotator.domain.ids import EpochNumber
from rotator.domain.recovery import Finding, Need, Sources
from rotator.errors import RotatorError, SecretStoreError, StoreDocumentInvalid
from rotator.ports.state_store import EpochRow
from rotator.services.rewriting import rewrite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rotator.domain.document import ClusterDocument
    from rotator.domain.ids import ClusterName, Fence, MasterName
    from rotator.ports.cookie_store import CookieStore, Stored
    from rotator.ports.master_store import MasterStore
    from rotator.ports.state_store import ClusterStates, Epochs
    from rotator.services.heads import Heads
    from rotator.services.keyring import KeyRing

_GAP: Final = 16  #: numbers without an epoch, after which none is expected (some are burned)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One cluster, as both stores have it now."""

    cluster: Cluster
    master: MasterName
    stored: Stored | None
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What came of one cluster."""

    cluster: ClusterName
    need: Need
    why: str
    generation: int | None = None
    phase: str | None = None  #: of the rotation that goes on; None: none does
    next_version: int | None = None


class Recovery:
    """Looks at clusters, and rebuilds those that need it."""

    def __init__(
        self,
        *,
        states: ClusterStates,
        epochs: Epochs,
        cookies: CookieStore,
        masters: MasterStore,
        keyring: KeyRing,
        heads: Heads,
    ) -> None:
        self._states = states
        self._epochs = epochs
        self._cookies = cookies
        self._masters = masters
        self._keyring = keyring
        self._heads = heads

    async def look(self, wanted: Mapping[ClusterName, MasterName]) -> tuple[Case, ...]:
        """Each of these clusters, with its master as configured; writes nothing."""
        return tuple([await self._look(name, master) for name, master in wanted.items()])

    async def _look(self, name: ClusterName, master: MasterName) -> Case:
        # A dry run declares nothing: what is not there yet is as empty.
        cluster = await self._states.load(name) or Cluster(name=name)
        try:
            stored = await self._cookies.read(name)
        except SecretStoreError as error:
            finding = Finding(need=Need.REFUSED, why=f"{error.code}: {error}")
            return Case(cluster=cluster, master=master, stored=None, finding=finding)
        seen, is_native = None, True
        if stored is not None:
            is_native = await self._heads.is_native(cluster, stored.document)
            seen = await self._heads.view(cluster, stored.document)
        finding = recovery.find(cluster, seen, is_native=is_native)
        return Case(cluster=cluster, master=master, stored=stored, finding=finding)

    async def recover(self, case: Case, *, fence: Fence) -> Recovered:
        """Do what the cluster needs. What is not as we derive it is refused, by name."""
        if case.stored is None or case.finding.need not in {Need.REBUILD, Need.STAMP}:
            return _told(case)
        try:
            cluster = case.cluster
            if case.finding.need is Need.REBUILD:
                cluster = await self._rebuild(case, case.stored.document, fence=fence)
            await self._stamp(cluster, case.stored, fence=fence)
        except RotatorError as error:
            if isinstance(error, SecretStoreError) and error.is_transient:
                raise
            return Recovered(
                cluster=case.cluster.name, need=Need.REFUSED, why=f"{error.code}: {error}"
            )
        return _told(case, cluster)

    async def plan(self, case: Case) -> Recovered:
        """What `recover` would do now; writes nothing."""
        if case.stored is None or case.finding.need is not Need.REBUILD:
            return _told(case)
        sources = Sources(document=case.stored.document, master=case.master, first_epoch=None)
        change = recovery.rebuild(case.cluster, sources, now=await self._states.now())
        return _told(case, change.cluster)

    async def _rebuild(self, case: Case, document: ClusterDocument, *, fence: Fence) -> Cluster:
        open_epochs = await self._take_up_epochs(case.master, document)
        await self._require_derived(case.master, document)
        sources = Sources(
            document=document,
            master=case.master,
            first_epoch=await self._first_epoch(case.master, document, open_epochs),
        )
        change = recovery.rebuild(case.cluster, sources, now=await self._states.now())
        return await self._states.save(case.cluster, change, line=Line.L1, fence=fence)

    async def _take_up_epochs(
        self, master: MasterName, document: ClusterDocument
    ) -> tuple[EpochNumber, ...]:
        """Every epoch that the secrets manager has is on record afterwards."""
        needed = max((v.epoch for v in document.versions() if v.epoch is not None), default=0)
        found, number, gap = [], 0, 0
        while number < needed or gap < _GAP:
            number += 1
            epoch = await self._masters.read(master, EpochNumber(number))
            gap = 0 if epoch else gap + 1
            if epoch is None:
                continue
            found.append(EpochNumber(number))
            known = await self._epochs.get(master, EpochNumber(number))
            opened_at = known.opened_at if known is not None else None
            row = EpochRow(
                master=master,
                number=EpochNumber(number),
                opened_for=epoch.opened_for,
                is_open=True,
                opened_at=opened_at or await self._states.now(),
            )
            if known != row:
                await self._epochs.take_up(row)
        return tuple(found)

    async def _require_derived(self, master: MasterName, document: ClusterDocument) -> None:
        """A cookie that somebody else put there is not taken up as ours."""
        for version in document.versions():
            if version.epoch is None:
                continue
            cookie = await self._keyring.cookie(
                master, version.epoch, uid=document.cluster_uid, number=version.number
            )
            if cookie != version.cookie:
                raise StoreDocumentInvalid(
                    f"version {version.number} in the document is not the cookie that we derive"
                )

    async def _first_epoch(
        self, master: MasterName, document: ClusterDocument, found: Sequence[EpochNumber]
    ) -> EpochNumber | None:
        """The epoch that the document's fingerprint key comes from."""
        for epoch in found:
            key = await self._keyring.fingerprint_key(master, epoch, uid=document.cluster_uid)
            if key == document.fingerprint_key:
                return epoch
        return None

    async def _stamp(self, cluster: Cluster, stored: Stored, *, fence: Fence) -> None:
        mark = Stamp(
            fence=fence,
            generation=cluster.generation,
            facts_head=cluster.facts_head,
            rotation=cluster.rotation.id if cluster.rotation else stored.document.stamp.rotation,
        )
        document = documents.restamped(stored.document, mark)
        await rewrite(self._cookies, cluster.name, over=stored, document=document, line=Line.KL)


def _told(case: Case, after: Cluster | None = None) -> Recovered:
    need, why = case.finding.need, case.finding.why
    if after is None:
        return Recovered(cluster=case.cluster.name, need=need, why=why)
    return Recovered(
        cluster=case.cluster.name,
        need=need,
        why=why,
        generation=after.generation,
        phase=str(after.rotation.phase) if after.rotation else None,
        next_version=after.last_version + 1,
    )
