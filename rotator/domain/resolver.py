"""Decide the single next action. The only place where rotation policy decides.

`resolve` looks at what is (state store, secrets manager, members, clock) and never at what was
done before: whatever was interrupted, the next step follows from the present state.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rotator.domain import adoption, claims, drift, rollout
from rotator.domain import schedule as schedules
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
    SettleClaims,
    Stage,
    Wait,
)
from rotator.domain.agreement import DocumentView, disagreement, frozen, lost_state_store, view
from rotator.domain.cluster import Blocker
from rotator.domain.rotation import Kind, Phase, Rotation
from rotator.domain.schedule import Begin, Rest
from rotator.domain.version import Origin
from rotator.domain.version import Stage as VersionStage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from rotator.domain.cluster import Cluster
    from rotator.domain.ids import Fence
    from rotator.domain.liveness import Crowd

__all__ = ["DocumentView", "Snapshot", "resolve", "view"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """A rotation under way, in a cluster whose two stores do not contradict each other."""

    crowd: Crowd
    rotation: Rotation
    document: DocumentView
    epoch_is_open: bool

    @property
    def is_emergency(self) -> bool:
        return self.rotation.kind is Kind.EMERGENCY

    @property
    def number_was_used(self) -> bool:
        """Whether the number of the new version stands for something else already."""
        return self.document.last_version >= self.rotation.to_version


_BEHIND: Final = frozen("state_store_behind", "the document has used this version number already")

#: Of locking. What so many have not ended no round ends soon (a link that is half open, somebody
#: under a member's name): each of those after them waits a second longer than the one before.
_ROUNDS_AT_ONCE: Final = 5


def resolve(snapshot: Snapshot) -> Action | None:
    """The next action; None when there is nothing under way."""
    cluster, document = snapshot.cluster, snapshot.document
    if cluster.uid is None:
        return None if document is None else lost_state_store(cluster, document)
    if not cluster.is_declared:
        return frozen("undeclared", "the cluster is not in the configuration any more")
    if not cluster.is_initialised:
        return _while_initialising(snapshot)
    if document is None:
        return frozen("document_missing", "the cluster's document is gone from the secrets manager")
    return disagreement(cluster, document, fence=snapshot.fence) or _go_on(snapshot, document)


def _go_on(snapshot: Snapshot, document: DocumentView) -> Action | None:
    cluster = snapshot.cluster
    lost = snapshot.crowd.to_excuse()
    if lost is not None:
        return Excuse(node=lost.name)
    if claims.settle(snapshot.crowd) is not None:
        return SettleClaims()
    if cluster.rotation is None:
        return _while_idle(snapshot.crowd)
    scene = _Scene(
        crowd=snapshot.crowd,
        rotation=cluster.rotation,
        document=document,
        epoch_is_open=snapshot.epoch_is_open,
    )
    if scene.rotation.abort_requested:
        return _while_aborting(scene)
    return _WHILE[scene.rotation.phase](scene)


def _while_idle(crowd: Crowd) -> Action | None:
    if any(standing.blocker.subject == "frozen" for standing in crowd.cluster.blockers):
        return Wait()  # it has thawed: that is written before anything begins
    drifting = tuple(drift.drifters(crowd))
    wanted = schedules.turn(crowd)
    if isinstance(wanted, Rest):
        blockers = (*drifting, *wanted.blockers)
        return Wait(until=wanted.until, blockers=blockers) if blockers or wanted.until else None
    if drifting and isinstance(wanted, Begin):
        return Wait(blockers=drifting)
    return wanted


def _while_initialising(snapshot: Snapshot) -> Action:
    cluster, document = snapshot.cluster, snapshot.document
    (first,) = cluster.versions.values()
    if document is not None:
        if document.uid != cluster.uid:
            return frozen("foreign_document", "there is a document with another uid already")
        return Enter(line=Line.I2)
    if first.origin is Origin.IMPORTED:
        return Wait(blockers=(Blocker(code="import_interrupted", detail="repeat the import"),))
    if not snapshot.epoch_is_open and first.epoch is not None:
        return OpenEpoch(epoch=first.epoch, line=Line.KI1)
    return Initialise()


def _wait(scene: _Scene, blockers: Iterable[Blocker], deadline: datetime | None = None) -> Wait:
    """Until the deadline, or the moment at which somebody's silence changes who is awaited."""
    ends = (deadline, scene.crowd.next_silence())
    coming = [end for end in ends if end is not None and end > scene.crowd.now]
    return Wait(blockers=tuple(blockers), until=min(coming, default=None))


def _gate(
    scene: _Scene, blockers: Iterable[Blocker], then: Action, *, deadline: datetime | None = None
) -> Action:
    """*then*, if nothing blocks and nobody holds it."""
    found = tuple(blockers)
    if scene.rotation.is_held:
        found = (Blocker(code="held", subject="operator", detail="release to go on"), *found)
    return _wait(scene, found, deadline) if found else then


def _while_aborting(scene: _Scene) -> Action:
    if scene.document.pending is not None or not scene.number_was_used:
        return Discard()
    return Enter(line=Line.A2)


def _while_staged(scene: _Scene) -> Action:
    rotation = scene.rotation
    if scene.document.pending is not None:
        return Enter(line=Line.S2)
    if scene.number_was_used:
        return _BEHIND
    write = Stage() if scene.epoch_is_open else OpenEpoch(epoch=rotation.epoch, line=Line.KE1)
    return _gate(scene, (), write)


def _while_installing(scene: _Scene) -> Action:
    crowd, rotation = scene.crowd, scene.rotation
    deadline = rotation.entered_at + crowd.policy.install_timeout
    gate = adoption.not_holding if crowd.now < deadline else adoption.nobody_holding
    closed = schedules.outside_window(crowd)
    blockers = (*drift.drifters(crowd), *gate(crowd, rotation), *closed)
    return _gate(scene, blockers, Enter(line=Line.S3), deadline=deadline)


def _while_locking(scene: _Scene) -> Action:
    crowd, rotation = scene.crowd, scene.rotation
    deadline = rotation.ends_at or rotation.entered_at
    blockers = tuple(adoption.unlocked(crowd, rotation))
    if not blockers or crowd.now >= deadline:
        return Enter(line=Line.E2)
    if all(blocker.code == "foreign_link" for blocker in blockers):
        in_vain = rotation.lock_round - _ROUNDS_AT_ONCE
        due = rotation.entered_at + timedelta(seconds=in_vain)
        if in_vain <= 0 or crowd.now >= due:
            return Lock()
        deadline = min(deadline, due)
    return _wait(scene, blockers, deadline)


def _while_promoting(scene: _Scene) -> Action:
    rotation = scene.rotation
    if scene.document.current == rotation.to_version:
        return Enter(line=Line.E3 if scene.is_emergency else Line.S4)
    if not scene.is_emergency:
        return Promote()
    if scene.number_was_used:
        return _BEHIND
    return Revoke() if scene.epoch_is_open else OpenEpoch(epoch=rotation.epoch, line=Line.KE1)


def _while_rolling_out(scene: _Scene) -> Action:
    line = Line.E4 if scene.is_emergency else Line.S5
    return _gate(scene, rollout.laggards(scene.crowd, scene.rotation), Enter(line=line))


def _while_in_grace(scene: _Scene) -> Action:
    crowd, rotation = scene.crowd, scene.rotation
    ends_at = rotation.ends_at or rotation.entered_at
    blockers = [*rollout.laggards(crowd, rotation), *adoption.absent(crowd)]
    if crowd.now < ends_at:
        blockers.append(
            Blocker(code="grace_window", subject="clock", detail="the way back is open")
        )
    blockers += schedules.outside_window(crowd)
    return _gate(scene, blockers, Enter(line=Line.S6), deadline=ends_at)


def _while_rolling_back(scene: _Scene) -> Action:
    crowd, former = scene.crowd, scene.rotation.from_version
    if crowd.cluster.at(former) is VersionStage.CURRENT:
        blockers = (*rollout.laggards(crowd, scene.rotation), *adoption.absent(crowd))
        return _gate(scene, blockers, Enter(line=Line.R3))
    return Enter(line=Line.R2) if scene.document.current == former else RollBack()


def _while_retiring(scene: _Scene) -> Action:
    crowd, rotation = scene.crowd, scene.rotation
    proof = adoption.unproven(crowd, rotation)
    if scene.is_emergency:
        return _gate(scene, proof, Enter(line=Line.E5))
    if scene.document.previous is None:
        # Removed already: nothing is left to protect, so the proof that led here stands.
        return Enter(line=Line.R4 if rotation.is_rollback else Line.S7)
    line = Line.KR2 if rotation.is_rollback else Line.K3
    return _gate(scene, (*proof, *adoption.absent(crowd)), Retire(line=line))


_WHILE: Final[Mapping[Phase, Callable[[_Scene], Action]]] = {
    Phase.STAGED: _while_staged,
    Phase.INSTALLING: _while_installing,
    Phase.LOCKING: _while_locking,
    Phase.PROMOTING: _while_promoting,
    Phase.ROLLING_OUT: _while_rolling_out,
    Phase.GRACE: _while_in_grace,
    Phase.ROLLING_BACK: _while_rolling_back,
    Phase.RETIRING: _while_retiring,
}
