"""Hold the two stores against each other: what the secrets manager has, what is on record.

Where they contradict each other nothing is written, and a person has to look: a cluster is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rotator.domain.actions import Wait
from rotator.domain.cluster import Blocker
from rotator.domain.ids import VersionNumber
from rotator.domain.rotation import Kind, Phase
from rotator.domain.version import Stage

if TYPE_CHECKING:
    from rotator.domain.cluster import Ahead, Cluster
    from rotator.domain.document import ClusterDocument
    from rotator.domain.ids import ClusterUid, Fence, RotationId

    _Slots = tuple[VersionNumber, VersionNumber | None, VersionNumber | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentView:
    """What decisions need of a document: numbers, no cookie."""

    uid: ClusterUid
    fence: Fence
    rotation: RotationId | None
    last_version: VersionNumber
    current: VersionNumber
    previous: VersionNumber | None
    pending: VersionNumber | None
    edited: frozenset[VersionNumber]  #: those whose cookie has not the fingerprint on record
    knows_more: bool  #: it carries a fact that is not in the state store: this is an old copy


def view(document: ClusterDocument, cluster: Cluster, *, knows_more: bool = False) -> DocumentView:
    """Hold a document against what the state store has on record.

    *knows_more*: its head of facts is neither in the cluster's chain, nor the one that was taken
    up when the state store was recovered.
    """
    edited = {
        number
        for number, fingerprint in document.fingerprints().items()
        if (known := cluster.versions.get(number)) is None
        or known.fingerprint not in {None, fingerprint}
    }
    return DocumentView(
        uid=document.cluster_uid,
        fence=document.stamp.fence,
        rotation=document.stamp.rotation,
        last_version=document.last_version,
        current=document.current.number,
        previous=document.previous.number if document.previous else None,
        pending=document.pending.number if document.pending else None,
        edited=frozenset(edited),
        knows_more=knows_more,
    )


def frozen(code: str, detail: str) -> Wait:
    """Nothing is written until a person has looked."""
    return Wait(blockers=(Blocker(code=code, subject="frozen", detail=detail),))


def _possible(cluster: Cluster) -> set[_Slots]:
    """Every (current, previous, pending) that a crash can have left in the document."""
    rotation = cluster.rotation
    if rotation is None:
        return {(cluster.current.number, None, None)} if cluster.current else set()
    old, new = rotation.from_version, rotation.to_version
    before, written = (old, None, None), (old, None, new)
    promoted, restored = (new, old, None), (old, new, None)
    only = (rotation.target, None, None)
    if rotation.kind is Kind.EMERGENCY:
        return {only}
    if rotation.abort_requested or rotation.phase is Phase.STAGED:
        return {before, written}
    if rotation.phase is Phase.ROLLING_BACK and cluster.at(old) is Stage.CURRENT:
        return {restored}
    if rotation.phase is Phase.RETIRING:
        return {restored if rotation.is_rollback else promoted, only}
    by_phase: dict[Phase, set[_Slots]] = {
        Phase.INSTALLING: {written},
        Phase.PROMOTING: {written, promoted},
        Phase.ROLLING_BACK: {promoted, restored},
    }
    return by_phase.get(rotation.phase, {promoted})


def disagreement(cluster: Cluster, document: DocumentView, *, fence: Fence) -> Wait | None:
    """Why nothing may be written: the two stores do not agree, and a person has to look."""
    if document.uid != cluster.uid:
        return frozen("foreign_document", "the document belongs to a cluster with another uid")
    if document.fence > fence:
        return frozen("state_store_behind", "the document was written by a newer leader")
    ahead, rotation = cluster.ahead, cluster.rotation
    if rotation is not None and rotation.is_locking_out:
        # KE2 writes over an edited document: what it holds must not keep a leaked cookie alive.
        # It still waits, by name, where the document is missing, unreadable or of another uid, and
        # where its fence or its last_version was raised: then it may not be ours, or not free.
        if ahead is not None and ahead.version >= rotation.to_version:
            return frozen("both_stores_behind", nodes_know_more(ahead))
        return None
    if document.knows_more:
        return frozen("state_store_behind", "the document carries a fact that this database lacks")
    if ahead is not None:
        return frozen("both_stores_behind", nodes_know_more(ahead))
    return _changed(cluster, document)


def may_be_finished(cluster: Cluster, document: DocumentView, *, fence: Fence) -> bool:
    """Whether a write that was decided and cut short is the one that this cluster waits for.

    An old document that somebody put back looks cut short, too: finished, it would have cookies
    that are over at the places that nodes read. What an emergency is about to replace is left
    alone: it goes over whatever it finds.
    """
    if not cluster.is_initialised:
        return document.uid == cluster.uid
    if cluster.rotation is not None and cluster.rotation.is_locking_out:
        return False
    return disagreement(cluster, document, fence=fence) is None


def _changed(cluster: Cluster, document: DocumentView) -> Wait | None:
    """Why the document is not what this state store has seen of it."""
    rotation = cluster.rotation
    if document.edited:
        numbers = ", ".join(str(number) for number in sorted(document.edited))
        return frozen("edited_document", f"version {numbers} is not what was written")
    slots = (document.current, document.previous, document.pending)
    if slots not in _possible(cluster) or document.last_version < _written(cluster):
        # A restored snapshot looks like this: our own document, at another time.
        return frozen("reverted_document", "the document is not as this rotation has left it")
    if document.rotation not in {None, cluster.last_writer, rotation.id if rotation else None}:
        return frozen("foreign_writer", "the document was written for a rotation that is not ours")
    return None


def nodes_know_more(ahead: Ahead) -> str:
    """Why both stores are taken to be old copies."""
    what = f"generation {ahead.generation}"
    if ahead.version:
        what += f" and version {ahead.version}"
    return f"{ahead.node} has seen {what}, which this database never gave out"


def lost_state_store(cluster: Cluster, document: DocumentView) -> Wait:
    """There is a document, and the state store has never heard of it."""
    ahead = cluster.ahead
    if ahead is not None and ahead.version > document.last_version:
        return frozen("both_stores_behind", nodes_know_more(ahead))
    detail = (
        "there is a document of this cluster, and this database is empty: stop the service and run"
        " rotator recover"
    )
    return frozen("state_store_lost", detail)


def _written(cluster: Cluster) -> VersionNumber:
    """The highest number that the document has used for sure: that of no version under way."""
    over = (v.number for v in cluster.versions.values() if v.stage is not Stage.PENDING)
    return max(over, default=VersionNumber(0))
