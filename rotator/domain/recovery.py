"""A state store that was lost, or is an old copy, as it is rebuilt from the cluster's document.

The document says which versions there are; where a rotation was under way, its slots say how far
it had come. What no document holds (members, tokens, reasons) is not invented.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from rotator.domain import agreement
from rotator.domain.cluster import Change
from rotator.domain.facts import Fact, FactKind
from rotator.domain.ids import EpochNumber, Fence, RotationId, VersionNumber
from rotator.domain.rotation import Kind, Phase, Rotation
from rotator.domain.version import Origin, Stage, Version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from rotator.domain.agreement import DocumentView
    from rotator.domain.cluster import Cluster
    from rotator.domain.document import ClusterDocument, StoredVersion
    from rotator.domain.ids import MasterName

BY = "local"  #: who facts name where a command on the server acted


class Need(StrEnum):
    """What a cluster needs of `recover`."""

    NOTHING = "nothing"
    REBUILD = "rebuild"  #: the state store is lost or behind: made anew from the document
    STAMP = "stamp"  #: it is rebuilt; the document is to say so
    REFUSED = "refused"  #: something else is wrong here


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one cluster needs, and why."""

    need: Need
    why: str = ""


def find(cluster: Cluster, document: DocumentView | None, *, is_native: bool) -> Finding:
    """What `recover` has to do for a cluster.

    *is_native*: the document's head of facts is in the cluster's own chain, or there is none yet.
    """
    if document is None:
        if cluster.uid is None:
            return Finding(need=Need.NOTHING, why="neither store knows this cluster")
        return Finding(
            need=Need.REFUSED, why="its document is gone from the secrets manager: rotator rederive"
        )
    refused = _why_not(cluster, document)
    if refused is not None:
        return Finding(need=Need.REFUSED, why=refused)
    if cluster.uid is None or not cluster.is_initialised:
        return _of_the_unknown(cluster, document)
    if document.knows_more:
        return Finding(need=Need.REBUILD, why="the state store is an old copy")
    if not is_native:
        return Finding(need=Need.STAMP, why="the state store is rebuilt, its document not yet")
    wrong = agreement.disagreement(cluster, document, fence=document.fence)
    if wrong is None:
        return Finding(need=Need.NOTHING, why="both stores agree")
    (blocker,) = wrong.blockers
    return Finding(
        need=Need.REFUSED, why=f"{blocker.code}: {blocker.detail}; that is no loss of this database"
    )


def _of_the_unknown(cluster: Cluster, document: DocumentView) -> Finding:
    if cluster.uid == document.uid:
        return Finding(need=Need.NOTHING, why="it is being initialised: start the service")
    return Finding(need=Need.REBUILD, why="the state store does not know this cluster")


def _why_not(cluster: Cluster, document: DocumentView) -> str | None:
    if cluster.is_initialised and cluster.uid != document.uid:
        return "foreign_document: the document belongs to another cluster_uid"
    ahead = cluster.ahead
    if ahead is None:
        return None
    is_whole = cluster.is_initialised and not document.knows_more
    if is_whole or ahead.version > document.last_version:
        return (
            f"both_stores_behind: {agreement.nodes_know_more(ahead)}, and neither does the secrets"
            " manager know it: bring back a newer copy of either store, or run an emergency"
        )
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the secrets manager holds of one cluster."""

    document: ClusterDocument
    master: MasterName
    first_epoch: EpochNumber | None  #: whose fingerprint key the document holds; None: not found


def rebuild(cluster: Cluster, sources: Sources, *, now: datetime) -> Change:
    """L1: the cluster as its document says; a rotation under way goes on where the slots say.

    Numbers go on above all that was ever used: the next version is the document's last_version
    + 1, the generation leaps.
    """
    document = sources.document
    versions = {**_over(cluster, document), **_present(cluster, document, now)}
    if document.last_version not in versions:
        versions[document.last_version] = _burned(document.last_version, now)
    nodes = () if cluster.ahead is None else (cluster.ahead.generation,)
    found = replace(
        cluster.leap(document.stamp.generation, *nodes),
        uid=document.cluster_uid,
        is_initialised=True,
        master=sources.master,
        first_epoch=sources.first_epoch,
        versions=versions,
        last_writer=document.stamp.rotation,
        blockers=(),
        recovered_from=document.stamp.facts_head,
        ahead=None,
    )
    rotation = _under_way(found, document, now)
    ended = _ended(cluster, rotation, found, now)
    fact = Fact(
        kind=FactKind.STATE_RECOVERED,
        at=now,
        by=BY,
        rotation=rotation.id if rotation else None,
        version=document.current.number,
        details={
            "generation": found.generation,
            "last_version": document.last_version,
            "phase": str(rotation.phase) if rotation else None,
            "facts_head": {
                "seq": document.stamp.facts_head.seq,
                "hash": document.stamp.facts_head.hash,
            },
        },
    )
    rows = tuple(row for row in (ended, rotation) if row is not None)
    return Change(cluster=replace(found, rotation=rotation), facts=(fact,), rotations=rows)


def _present(
    cluster: Cluster, document: ClusterDocument, now: datetime
) -> Mapping[VersionNumber, Version]:
    fingerprints = document.fingerprints()

    def of(stored: StoredVersion, stage: Stage) -> Version:
        known = cluster.versions.get(stored.number)
        return Version(
            number=stored.number,
            stage=stage,
            origin=stored.origin,
            epoch=stored.epoch,
            created_at=known.created_at if known else now,
            fingerprint=fingerprints[stored.number],
        )

    slots = (
        (document.current, Stage.CURRENT),
        (document.previous, Stage.PREVIOUS),
        (document.pending, Stage.PENDING),
    )
    return {stored.number: of(stored, stage) for stored, stage in slots if stored is not None}


def _over(cluster: Cluster, document: ClusterDocument) -> dict[VersionNumber, Version]:
    """What the old copy knows and the document has no more: removed since."""
    ends = {Stage.PENDING: Stage.DISCARDED, Stage.CURRENT: Stage.RETIRED}
    ends[Stage.PREVIOUS] = Stage.RETIRED
    return {
        number: replace(version, stage=ends.get(version.stage, version.stage))
        for number, version in cluster.versions.items()
        if document.find(number) is None
    }


def _burned(number: VersionNumber, now: datetime) -> Version:
    """A number that was used, and of which nothing is left: it is not used again."""
    return Version(
        number=number, stage=Stage.DISCARDED, origin=Origin.DERIVED, epoch=None, created_at=now
    )


def _under_way(cluster: Cluster, document: ClusterDocument, now: datetime) -> Rotation | None:
    """By the slots: pending → installing, previous < current → rolling out, else rolling back."""
    current, previous, pending = document.current, document.previous, document.pending
    other = pending or previous
    if other is None:
        return None
    is_rollback = pending is None and other.number > current.number
    if pending is not None:
        phase, old, new = Phase.INSTALLING, current, pending
    elif is_rollback:
        phase, old, new = Phase.ROLLING_BACK, current, other
    else:
        phase, old, new = Phase.ROLLING_OUT, other, current
    name = document.stamp.rotation or RotationId(f"recovered-{document.last_version}")
    known = cluster.rotation
    if known is not None and known.id == name and known.phase is phase:
        return replace(known, entered_at=now, entered_generation=cluster.generation, ends_at=None)
    return Rotation(
        id=name,
        cluster=cluster.name,
        kind=Kind.MANUAL,
        phase=phase,
        from_version=old.number,
        to_version=new.number,
        # Only what is still to be derived needs one, and this is written already.
        epoch=new.epoch or EpochNumber(1),
        reason="found under way in the secrets manager",
        by=BY,
        started_at=now,
        entered_at=now,
        entered_generation=cluster.generation,
        is_rollback=is_rollback,
    )


def _ended(
    before: Cluster, rotation: Rotation | None, after: Cluster, now: datetime
) -> Rotation | None:
    """The rotation that the old copy has under way, unless it is the one that goes on."""
    known = before.rotation
    if known is None or (rotation is not None and rotation.id == known.id):
        return None
    return known.enter(Phase.SUPERSEDED, at=now, generation=after.generation)


def fence_above(documents: Mapping[str, ClusterDocument]) -> Fence:
    """The highest fencing token that any document was written under."""
    return Fence(max((found.stamp.fence for found in documents.values()), default=0))
