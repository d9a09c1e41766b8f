"""Rebuild what a lost or old secrets manager lacks (`rotator rederive`).

The state store says which versions there are; masters and imported cookies come from the secrets
manager itself as far as it has them, and from a recovery kit. Nothing is written whose fingerprint
is not the one on record. Killed at any point it goes on when it is repeated.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from rotator.domain import rederivation
from rotator.domain.actions import Line
from rotator.domain.derivation import derive_cookie, derive_fingerprint_key
from rotator.domain.document import ClusterDocument, StoredVersion
from rotator.domain.facts import Fact, FactKind
from rotator.domain.ids import Fence
from rotator.domain.recovery import BY
from rotator.domain.rederivation import Need
from rotator.errors import (
    EpochForeign,
    EpochMissing,
    InvariantViolated,
    NotFound,
    RotatorError,
    StoreConflict,
    StoreDeletionScheduled,
    StoreDocumentInvalid,
    StoreUnreachable,
)
from rotator.services.executor import stamp
from rotator.services.rewriting import rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rotator.domain.cluster import Cluster
    from rotator.domain.cookie import Cookie
    from rotator.domain.ids import ClusterName, EpochNumber, MasterName, VersionNumber
    from rotator.domain.rederivation import Slots
    from rotator.domain.version import Version
    from rotator.ports.cookie_store import CookieStore, Stored
    from rotator.ports.key_stretcher import KeyStretcher
    from rotator.ports.master_store import Epoch, MasterStore
    from rotator.ports.recovery_kit import RecoveryKit
    from rotator.ports.state_store import ClusterStates, Epochs
    from rotator.services.heads import Heads


_OF_ONE_EPOCH: Final = (EpochForeign, EpochMissing, StoreDocumentInvalid, StoreDeletionScheduled)


class Came(StrEnum):
    """What came of an epoch or a document."""

    THERE = "there"  #: it is as it should be
    MISSING = "missing"  #: a dry run: it would be written
    WRITTEN = "written"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One epoch or document."""

    what: str  #: ``epoch default/2`` or ``cluster orders``
    came: Came
    why: str = ""


class Rederiving:
    """Works on both stores. With *fence* (of the lease that is held) it writes, else it only looks."""

    def __init__(
        self,
        *,
        states: ClusterStates,
        epochs: Epochs,
        cookies: CookieStore,
        masters: MasterStore,
        stretcher: KeyStretcher,
        heads: Heads,
        kit: RecoveryKit | None,
        fence: Fence | None,
    ) -> None:
        self._states = states
        self._epochs = epochs
        self._cookies = cookies
        self._masters = masters
        self._stretcher = stretcher
        self._heads = heads
        self._kit = kit
        self._fence = fence
        self._keys: dict[Epoch, bytes] = {}

    async def epochs(self) -> list[Outcome]:
        """The kit's epochs, each written unless it is there."""
        kept = self._kit.epochs if self._kit else {}
        outcomes = []
        for (master, number), epoch in sorted(kept.items(), key=lambda item: item[0]):
            what = f"epoch {master}/{number}"
            try:
                outcomes.append(await self._epoch(what, master, number, epoch))
            except _OF_ONE_EPOCH as error:
                outcomes.append(_refused(what, error))
        return outcomes

    async def _epoch(
        self, what: str, master: MasterName, number: EpochNumber, kept: Epoch
    ) -> Outcome:
        row = await self._epochs.get(master, number)
        if row is None or row.opened_for != kept.opened_for:
            raise EpochForeign(
                "the state store has no such epoch: another service's recovery file?"
            )
        await self._require_ours(master, number, kept)
        with _in_the_way():
            there = await self._masters.read(master, number)
        if there == kept:
            return Outcome(what=what, came=Came.THERE)
        if there is not None:
            raise EpochForeign("the secrets manager has another one there")
        if self._fence is None:
            return Outcome(what=what, came=Came.MISSING)
        fact = await self._fact(FactKind.EPOCH_REBUILT, master=master, epoch=number)
        await self._states.add_fact(fact)
        if await self._masters.create(master, number, kept) != kept:
            raise EpochForeign("the secrets manager has another one there by now")
        return Outcome(what=what, came=Came.WRITTEN)

    async def _require_ours(self, master: MasterName, number: EpochNumber, kept: Epoch) -> None:
        """What was made of this epoch, by the state store's record, comes out of this one.

        An epoch is written once and for good, so this is asked before.
        """
        for name, known in self._kit.clusters.items() if self._kit else ():
            cluster = await self._states.load(name)
            if cluster is None or cluster.master != master or cluster.uid is None:
                continue
            if cluster.uid != known.uid:
                raise EpochForeign(f"the recovery file is about another cluster {name}")
            made = [v for v in cluster.versions.values() if v.epoch == number and v.fingerprint]
            if not made:
                continue
            stretched = await self._stretched(kept)
            cookie = derive_cookie(stretched, uid=cluster.uid, number=made[-1].number)
            if cookie.fingerprint(known.fingerprint_key, cluster.uid) != made[-1].fingerprint:
                raise EpochForeign(f"version {made[-1].number} of {name} does not come out of it")

    async def document(self, name: ClusterName) -> Outcome:
        """The cluster's document, written if it is gone or from an earlier time."""
        what = f"cluster {name}"
        try:
            return await self._document(what, name)
        except RotatorError as error:
            if isinstance(error, StoreUnreachable | StoreConflict):
                raise
            return _refused(what, error)

    async def _document(self, what: str, name: ClusterName) -> Outcome:
        cluster = await self._loaded(name)
        with _in_the_way():
            stored = await self._cookies.read(name)
        seen = await self._heads.view(cluster, stored.document) if stored else None
        fence = self._fence or (stored.document.stamp.fence if stored else None)
        finding = rederivation.find(cluster, seen, fence=fence or Fence(0))
        if finding.need is Need.REFUSED:
            return Outcome(what=what, came=Came.REFUSED, why=finding.why)
        if finding.need is Need.NOTHING:
            return Outcome(what=what, came=Came.THERE, why=finding.why)
        wanted = rederivation.slots(cluster)
        if wanted is None:
            raise InvariantViolated(f"{name} has no current version")
        key = await self._fingerprint_key(cluster, stored)
        made = {v.number: await self._version(cluster, v, key, stored) for v in wanted.versions()}
        if self._fence is None:
            return Outcome(what=what, came=Came.MISSING, why=finding.why)
        fact = await self._fact(
            FactKind.DOCUMENT_REBUILT, versions=sorted(made), last_version=wanted.last_version
        )
        await self._states.add_fact(fact, cluster=name)
        # Loaded again: its head is now that of this fact.
        cluster = await self._loaded(name)
        new = _assembled(cluster, wanted, made, key, self._fence)
        await rewrite(self._cookies, name, over=stored, document=new, line=Line.KD)
        return Outcome(what=what, came=Came.WRITTEN, why=finding.why)

    async def _loaded(self, name: ClusterName) -> Cluster:
        cluster = await self._states.load(name)
        if cluster is None:
            raise NotFound(f"there is no cluster {name}")
        return cluster

    async def _fact(self, kind: FactKind, **details: object) -> Fact:
        return Fact(kind=kind, at=await self._states.now(), by=BY, details=details)

    async def _fingerprint_key(self, cluster: Cluster, stored: Stored | None) -> bytes:
        """From an older document, from the kit, or derived; what it makes is compared after that."""
        if cluster.uid is None or cluster.master is None:
            raise InvariantViolated(f"{cluster.name} has no uid")
        if stored is not None:
            return stored.document.fingerprint_key
        kept = self._kit.clusters.get(cluster.name) if self._kit else None
        if kept is not None:
            return kept.fingerprint_key
        if cluster.first_epoch is None:
            raise StoreDocumentInvalid("its fingerprint key is not known: give a recovery file")
        stretched = await self._key(cluster.master, cluster.first_epoch)
        return derive_fingerprint_key(stretched, uid=cluster.uid)

    async def _version(
        self, cluster: Cluster, version: Version, key: bytes, stored: Stored | None
    ) -> StoredVersion:
        """The version with its cookie; refused unless its fingerprint is the one on record."""
        if cluster.uid is None or cluster.master is None:
            raise InvariantViolated(f"{cluster.name} has no uid")
        if version.epoch is None:
            cookie = self._imported(cluster, version, stored)
        else:
            stretched = await self._key(cluster.master, version.epoch)
            cookie = derive_cookie(stretched, uid=cluster.uid, number=version.number)
        if cookie.fingerprint(key, cluster.uid) != version.fingerprint:
            raise StoreDocumentInvalid(
                f"version {version.number} does not come out with the fingerprint on record:"
                " these are not the masters that it was made with"
            )
        return StoredVersion(
            number=version.number, cookie=cookie, epoch=version.epoch, origin=version.origin
        )

    def _imported(self, cluster: Cluster, version: Version, stored: Stored | None) -> Cookie:
        there = stored.document.find(version.number) if stored else None
        if there is not None:
            return there.cookie
        kept = self._kit.clusters.get(cluster.name) if self._kit else None
        if kept is None or version.number not in kept.imported:
            raise StoreDocumentInvalid(
                f"version {version.number} was imported, and no recovery file holds its cookie;"
                " the nodes have it"
            )
        return kept.imported[version.number]

    async def _key(self, master: MasterName, number: EpochNumber) -> bytes:
        epoch = await self._masters.read(master, number)
        if epoch is None and self._kit is not None:
            epoch = self._kit.epochs.get((master, number))
        if epoch is None:
            raise EpochMissing(
                f"epoch {number} of master {master} is neither in the secrets manager nor in a"
                " recovery file"
            )
        return await self._stretched(epoch)

    async def _stretched(self, epoch: Epoch) -> bytes:
        """The slow step, once for each epoch."""
        if epoch not in self._keys:
            self._keys[epoch] = await self._stretcher.stretch(epoch)
        return self._keys[epoch]


@contextmanager
def _in_the_way() -> Iterator[None]:
    """What cannot be read is never written over."""
    try:
        yield
    except StoreDocumentInvalid as error:
        raise StoreDocumentInvalid(
            f"{error}; put it right, or remove it there and repeat this"
        ) from None


def _assembled(
    cluster: Cluster,
    wanted: Slots,
    made: dict[VersionNumber, StoredVersion],
    key: bytes,
    fence: Fence,
) -> ClusterDocument:
    if cluster.uid is None:
        raise InvariantViolated(f"{cluster.name} has no uid")
    previous, pending = wanted.previous, wanted.pending
    mark = stamp(cluster, fence)
    if mark.rotation is None:
        mark = replace(mark, rotation=cluster.last_writer)
    return ClusterDocument(
        cluster_uid=cluster.uid,
        last_version=wanted.last_version,
        fingerprint_key=key,
        stamp=mark,
        current=made[wanted.current.number],
        previous=None if previous is None else made[previous.number],
        pending=None if pending is None else made[pending.number],
    )


def _refused(what: str, error: RotatorError) -> Outcome:
    return Outcome(what=what, came=Came.REFUSED, why=f"{error.code}: {error}")
