"""Decide the single next action. The only place where rotation policy decides.

`resolve` looks at what is (state store, secrets manager, members, clock) and never at what was
done before: whatever was interrupted, the next step follows from the present state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rotator.domain import adoption
from rotator.domain.actions import (
    Action,
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
    Stage,
    Wait,
)
from rotator.domain.cluster import Blocker
from rotator.domain.rotation import Kind, Phase, Rotation
from rotator.domain.version import Origin
from rotator.domain.version import Stage as VersionStage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from rotator.domain.cluster import Cluster
    from rotator.domain.document import ClusterDocument
    from rotator.domain.ids import ClusterUid, Fence, RotationId, VersionNumber
    from rotator.domain.liveness import Crowd


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


def view(document: ClusterDocument, cluster: Cluster) -> DocumentView:
    """Hold a document against what the state store has on record."""
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
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that the decision depends on, observed at one instant."""

    crowd: Crowd
    document: DocumentView | None
    epoch_is_open: bool  #: of the version under way: its master secret is in the secrets manager
    fence: Fence  #: of the leader that asks

    @property
    def cluster(self) -> Cluster:
        """The cluster in question."""
        return self.crowd.cluster


def _frozen(code: str, detail: str) -> Wait:
    return Wait(blockers=(Blocker(code=code, subject="frozen", detail=detail),))


def _disagreement(snapshot: Snapshot, document: DocumentView | None) -> Wait | None:
    """Why nothing may be written: the two stores do not agree, and a person has to look."""
    cluster = snapshot.cluster
    if document is None:
        return _frozen(
            "document_missing", "the cluster's document is gone from the secrets manager"
        )
    if document.uid != cluster.uid:
        return _frozen("foreign_document", "the document belongs to a cluster with another uid")
    if document.fence > snapshot.fence:
        return _frozen("state_store_behind", "the document was written by a newer leader")
    rotation = cluster.rotation
    if rotation is not None and rotation.is_locking_out:
        # KE2 writes over whatever is there: tampering must not be able to stop an emergency.
        return None
    if document.edited:
        numbers = ", ".join(str(number) for number in sorted(document.edited))
        return _frozen("edited_document", f"version {numbers} is not what was written")
    known = {None, cluster.last_writer}
    known |= {rotation.id, rotation.supersedes} if rotation else set()
    if document.rotation not in known:
        return _frozen("foreign_writer", "the document was written for a rotation that is not ours")
    return None


def resolve(snapshot: Snapshot) -> Action | None:
    """The next action; None when there is nothing under way."""
    cluster = snapshot.cluster
    if cluster.uid is None:
        return None
    if not cluster.is_declared:
        return _frozen("undeclared", "the cluster is not in the configuration any more")
    if not cluster.is_initialised:
        return _while_initialising(snapshot)
    disagreement = _disagreement(snapshot, snapshot.document)
    if disagreement is not None:
        return disagreement
    lost = snapshot.crowd.to_excuse()
    if lost is not None:
        return Excuse(node=lost.name)
    return _under_way(snapshot, cluster.rotation) if cluster.rotation else None


def _while_initialising(snapshot: Snapshot) -> Action:
    cluster, document = snapshot.cluster, snapshot.document
    (first,) = cluster.versions.values()
    if document is not None:
        if document.uid != cluster.uid:
            return _frozen("foreign_document", "there is a document with another uid already")
        return Enter(line=Line.I2)
    if first.origin is Origin.IMPORTED:
        return Wait(blockers=(Blocker(code="import_interrupted", detail="repeat the import"),))
    if not snapshot.epoch_is_open and first.epoch is not None:
        return OpenEpoch(epoch=first.epoch, line=Line.KI1)
    return Initialise()


def _under_way(snapshot: Snapshot, rotation: Rotation) -> Action:
    if rotation.abort_requested:
        return _while_aborting(snapshot, rotation)
    return _WHILE[rotation.phase](snapshot, rotation)


def _gate(
    rotation: Rotation, blockers: Iterable[Blocker], then: Action, *, until: datetime | None = None
) -> Action:
    """*then*, if nothing blocks and nobody holds it."""
    found = tuple(blockers)
    if rotation.is_held:
        found = (Blocker(code="held", subject="operator", detail="release to go on"), *found)
    return Wait(blockers=found, until=until) if found else then


def _while_aborting(snapshot: Snapshot, rotation: Rotation) -> Action:
    document = snapshot.document
    assert document is not None  # noqa: S101 - _disagreement stops before
    if document.pending is not None or document.last_version < rotation.to_version:
        return Discard()
    return Enter(line=Line.A2)


def _while_staged(snapshot: Snapshot, rotation: Rotation) -> Action:
    document = snapshot.document
    assert document is not None  # noqa: S101 - _disagreement stops before
    if document.pending == rotation.to_version:
        return Enter(line=Line.S2)
    if document.last_version >= rotation.to_version:
        return _frozen("state_store_behind", "the document has used this version number already")
    if rotation.is_held:
        return _gate(rotation, (), Stage())
    if not snapshot.epoch_is_open:
        return OpenEpoch(epoch=rotation.epoch, line=Line.KE1)
    return Stage()


def _while_installing(snapshot: Snapshot, rotation: Rotation) -> Action:
    crowd = snapshot.crowd
    deadline = rotation.entered_at + crowd.policy.install_timeout
    unknown = tuple(adoption.unknown_cookies(crowd))
    if crowd.now < deadline:
        waiting = tuple(adoption.not_holding(crowd, rotation))
    else:
        waiting = tuple(adoption.nobody_holding(crowd, rotation))
    return _gate(rotation, (*unknown, *waiting), Enter(line=Line.S3), until=deadline)


def _while_locking(snapshot: Snapshot, rotation: Rotation) -> Action:
    crowd = snapshot.crowd
    deadline = rotation.ends_at or rotation.entered_at
    blockers = tuple(adoption.unlocked(crowd, rotation))
    if not blockers or crowd.now >= deadline:
        return Enter(line=Line.E2)
    if all(blocker.code == "foreign_link" for blocker in blockers):
        return Lock()
    return Wait(blockers=blockers, until=deadline)


def _while_promoting(snapshot: Snapshot, rotation: Rotation) -> Action:
    document = snapshot.document
    assert document is not None  # noqa: S101 - _disagreement stops before
    is_emergency = rotation.kind is Kind.EMERGENCY
    if document.current == rotation.to_version:
        return Enter(line=Line.E3 if is_emergency else Line.S4)
    if not is_emergency:
        return Promote()
    if document.last_version >= rotation.to_version:
        return _frozen("state_store_behind", "the document has used this version number already")
    if not snapshot.epoch_is_open:
        return OpenEpoch(epoch=rotation.epoch, line=Line.KE1)
    return Revoke()


def _while_rolling_out(snapshot: Snapshot, rotation: Rotation) -> Action:
    line = Line.E4 if rotation.kind is Kind.EMERGENCY else Line.S5
    return _gate(rotation, adoption.laggards(snapshot.crowd, rotation), Enter(line=line))


def _while_in_grace(snapshot: Snapshot, rotation: Rotation) -> Action:
    crowd = snapshot.crowd
    ends_at = rotation.ends_at or rotation.entered_at
    blockers = [*adoption.laggards(crowd, rotation), *adoption.absent(crowd)]
    if crowd.now < ends_at:
        blockers.append(
            Blocker(code="grace_window", subject="clock", detail="the way back is open")
        )
    return _gate(rotation, blockers, Enter(line=Line.S6), until=ends_at)


def _while_rolling_back(snapshot: Snapshot, rotation: Rotation) -> Action:
    crowd, document = snapshot.crowd, snapshot.document
    assert document is not None  # noqa: S101 - _disagreement stops before
    former = crowd.cluster.versions[rotation.from_version]
    if former.stage is VersionStage.CURRENT:
        blockers = (*adoption.laggards(crowd, rotation), *adoption.absent(crowd))
        return _gate(rotation, blockers, Enter(line=Line.R3))
    if document.current == former.number:
        return Enter(line=Line.R2)
    return RollBack()


def _while_retiring(snapshot: Snapshot, rotation: Rotation) -> Action:
    crowd, document = snapshot.crowd, snapshot.document
    assert document is not None  # noqa: S101 - _disagreement stops before
    is_emergency = rotation.kind is Kind.EMERGENCY
    blockers = [*adoption.unproven(crowd, rotation)]
    if not is_emergency:
        blockers += adoption.absent(crowd)
    if document.previous is None:
        # Removed already: nothing is left to protect, so the proof that led here stands.
        end = Line.E5 if is_emergency else Line.S7
        if is_emergency:
            return _gate(rotation, blockers, Enter(line=end))
        return Enter(line=Line.R4 if rotation.is_rollback else end)
    line = Line.KR2 if rotation.is_rollback else Line.K3
    return _gate(rotation, blockers, Retire(line=line))


_WHILE: Final[Mapping[Phase, Callable[[Snapshot, Rotation], Action]]] = {
    Phase.STAGED: _while_staged,
    Phase.INSTALLING: _while_installing,
    Phase.LOCKING: _while_locking,
    Phase.PROMOTING: _while_promoting,
    Phase.ROLLING_OUT: _while_rolling_out,
    Phase.GRACE: _while_in_grace,
    Phase.ROLLING_BACK: _while_rolling_back,
    Phase.RETIRING: _while_retiring,
}
