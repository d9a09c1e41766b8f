"""Carry out what the resolver decided: one write to the state store, or to the secrets manager.

Whatever is interrupted here is decided anew from what is then found, so nothing is remembered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator import failpoints
from rotator.domain import claims, invariants, schedule_steps, steps
from rotator.domain import document as documents
from rotator.domain.actions import (
    Discard,
    Enter,
    Excuse,
    Initialise,
    Line,
    Lock,
    OpenEpoch,
    Promote,
    Retire,
    Revoke,
    RollBack,
    SettleClaims,
    Stage,
)
from rotator.domain.cluster import Change
from rotator.domain.commands import Start
from rotator.domain.document import ClusterDocument, Stamp, StoredVersion
from rotator.domain.ids import RotationId
from rotator.domain.rotation import Kind
from rotator.domain.schedule import Begin, PassOver, TakeUp
from rotator.errors import (
    FenceLost,
    InvariantViolated,
    StoreConflict,
    StoreDocumentInvalid,
    StoreUnreachable,
)
from rotator.services.commands import new_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from rotator.domain.actions import Decision, Deed
    from rotator.domain.cluster import Cluster
    from rotator.domain.cookie import Cookie
    from rotator.domain.ids import ClusterName, Fence, VersionNumber
    from rotator.domain.liveness import Crowd
    from rotator.ports.cookie_store import Mark, Stored
    from rotator.ports.state_store import ClusterStates
    from rotator.services.documents import Documents
    from rotator.services.keyring import KeyRing


#: Lines after which a fingerprint is on record for a version that was just written.
_TAKES_UP: Final = frozenset({Line.I2, Line.S2, Line.E3})


def stamp(cluster: Cluster, fence: Fence) -> Stamp:
    """What a write of the cluster's present rotation carries."""
    return Stamp(
        fence=fence,
        generation=cluster.generation,
        facts_head=cluster.facts_head,
        rotation=cluster.rotation.id if cluster.rotation else None,
    )


class Executor:
    """The hands of the reconciler."""

    def __init__(
        self,
        states: ClusterStates,
        read: Documents,
        keyring: KeyRing,
        *,
        may_act: Callable[[], bool] = lambda: True,
    ) -> None:
        self._states = states
        self._documents = read
        self._keyring = keyring
        self._may_act = may_act

    async def write(self, deed: Deed, crowd: Crowd, stored: Stored | None, *, fence: Fence) -> None:
        """One write to the secrets manager; raises `SecretStoreError`, `FenceLost`.

        *stored* is the document that the decision was based on, and exactly that one is replaced.
        """
        cluster = crowd.cluster
        match deed:
            case OpenEpoch():
                await self._keyring.open(
                    cluster.master or crowd.policy.master, deed.epoch, line=deed.line
                )
            case Initialise():
                document = await self.first_document(cluster, None, fence=fence)
                await self.create(cluster.name, document)
            case _:
                if stored is None:
                    raise InvariantViolated("there is no document to write over")
                line, document = await self._rewritten(deed, cluster, stored.document, fence)
                await self._replace(cluster.name, document, line, mark=stored.mark)

    async def decide(
        self, decision: Decision, crowd: Crowd, stored: Stored | None, *, fence: Fence
    ) -> Change:
        """One write to the state store; what was written. Raises `RevisionConflict`, `FenceLost`.

        It waits for no secrets manager: what is derived comes from an epoch that was seen to be open.
        """
        match decision:
            case Enter():
                return await self._enter(decision.line, crowd, stored, fence=fence)
            case Lock():
                return await self._save(crowd, steps.lock_again(crowd), Line.E1, fence)
            case Excuse():
                change = steps.excuse_lost(crowd, decision.node)
                return await self._save(crowd, change, None, fence)
            case SettleClaims():
                settled = claims.settle(crowd) or Change(cluster=crowd.cluster)
                return await self._save(crowd, settled, None, fence)
            case TakeUp():
                return await self._save(crowd, schedule_steps.take_up(crowd), Line.T1, fence)
            case PassOver():
                change = schedule_steps.pass_over(crowd, decision)
                return await self._save(crowd, change, Line.T2, fence)
            case Begin():
                return await self._begin(decision, crowd, stored, fence=fence)

    async def _rewritten(
        self,
        action: Stage | Promote | Retire | Discard | RollBack | Revoke,
        cluster: Cluster,
        document: ClusterDocument,
        fence: Fence,
    ) -> tuple[Line, ClusterDocument]:
        mark = stamp(cluster, fence)
        rotation = cluster.rotation
        if rotation is None:
            raise InvariantViolated("there is no rotation to go on with")
        match action:
            case Stage():
                version = await self._derive(cluster, rotation.to_version)
                return Line.K1, documents.staged(document, version, mark)
            case Promote():
                return Line.K2, documents.promoted(document, mark)
            case Retire():
                return action.line, documents.retired(document, mark)
            case Discard():
                return Line.KA, documents.discarded(document, rotation.to_version, mark)
            case RollBack():
                return Line.KR1, documents.rolled_back(document, mark)
            case Revoke():
                version = await self._derive(cluster, rotation.to_version)
                return Line.KE2, documents.revoked(document, version, mark)

    async def _derive(self, cluster: Cluster, number: VersionNumber) -> StoredVersion:
        version = cluster.versions[number]
        if cluster.uid is None or cluster.master is None or version.epoch is None:
            raise InvariantViolated(f"version {number} cannot be derived")
        cookie = await self._keyring.cookie(
            cluster.master, version.epoch, uid=cluster.uid, number=number
        )
        return StoredVersion(
            number=number, cookie=cookie, epoch=version.epoch, origin=version.origin
        )

    async def first_document(
        self, cluster: Cluster, imported: Cookie | None, *, fence: Fence
    ) -> ClusterDocument:
        """KI2: the document with version 1, derived unless a cookie was imported."""
        (first,) = cluster.versions.values()
        if cluster.uid is None or cluster.master is None or cluster.first_epoch is None:
            raise InvariantViolated("the cluster has no uid yet")
        if imported is None:
            version = await self._derive(cluster, first.number)
        else:
            version = StoredVersion(
                number=first.number, cookie=imported, epoch=None, origin=first.origin
            )
        return ClusterDocument(
            cluster_uid=cluster.uid,
            last_version=first.number,
            fingerprint_key=await self._keyring.fingerprint_key(
                cluster.master, cluster.first_epoch, uid=cluster.uid
            ),
            stamp=stamp(cluster, fence),
            current=version,
        )

    async def create(self, cluster: ClusterName, document: ClusterDocument) -> None:
        """KI2. `StoreConflict` if there is a document already."""
        try:
            failpoints.hit(Line.KI2, "before")
            await self._documents.store.create(cluster, document)
            failpoints.hit(Line.KI2, "after")
            failpoints.hit(Line.KI2, "lost")
        except failpoints.AnswerLost as lost:
            raise StoreUnreachable(str(lost)) from None

    async def _replace(
        self, cluster: ClusterName, document: ClusterDocument, line: Line, *, mark: Mark
    ) -> None:
        try:
            failpoints.hit(line, "before")
            # The secrets manager knows no lease: a leader that was stopped until here ends here.
            if not self._may_act():
                raise FenceLost
            with self._documents.writing(cluster):
                await self._documents.store.replace(cluster, document, mark=mark)
            failpoints.hit(line, "after")
            failpoints.hit(line, "lost")
        except failpoints.AnswerLost as lost:
            raise StoreUnreachable(str(lost)) from None
        await self._read_back(cluster, document)

    async def _read_back(self, cluster: ClusterName, document: ClusterDocument) -> None:
        stored = await self._documents.read(cluster)
        if stored is None or stored.document != document:
            raise StoreConflict("the document read back is not the one that was written")

    async def _begin(
        self, action: Begin, crowd: Crowd, stored: Stored | None, *, fence: Fence
    ) -> Change:
        """S1 by the clock. The slot is settled in the same write, so none begins twice."""
        if stored is None:
            raise InvariantViolated("there is no document to rotate")
        wanted = Start(
            id=RotationId(new_id(crowd.now)),
            kind=Kind.SCHEDULED,
            epoch=await self._keyring.current_epoch(crowd.cluster.master or crowd.policy.master),
        )
        change = schedule_steps.begin(
            crowd, wanted, slot=action.slot, last_used=stored.document.last_version
        )
        return await self._save(crowd, change, Line.S1, fence)

    async def _enter(
        self, line: Line, crowd: Crowd, stored: Stored | None, *, fence: Fence
    ) -> Change:
        noted = crowd
        if stored is not None and line in _TAKES_UP:
            await self._require_derived(crowd.cluster, stored.document)
            noted = crowd.with_cluster(steps.record_fingerprints(crowd.cluster, stored.document))
        return await self._save(crowd, steps.enter(noted, line), line, fence)

    async def _require_derived(self, cluster: Cluster, document: ClusterDocument) -> None:
        """What is taken up as the new version is what we derive, not what somebody put there."""
        for number, version in cluster.versions.items():
            found = document.find(number)
            if found is None or version.fingerprint is not None or version.epoch is None:
                continue
            if found != await self._derive(cluster, number):
                raise StoreDocumentInvalid(f"version {number} is not the cookie that we derive")

    async def _save(self, crowd: Crowd, change: Change, line: Line | None, fence: Fence) -> Change:
        invariants.check(crowd, change)
        await self._states.save(crowd.cluster, change, line=line or "", fence=fence)
        return change
