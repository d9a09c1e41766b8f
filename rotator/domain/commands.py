"""How a cluster and its rotations begin, as pure changes; a `Conflict` says why not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rotator.domain.cluster import LEAP, Change, Cluster
from rotator.domain.document import MAX_NUMBER
from rotator.domain.facts import Fact, FactKind
from rotator.domain.ids import Generation, VersionNumber
from rotator.domain.rotation import Kind, Phase, Rotation
from rotator.domain.version import Origin, Stage, Version
from rotator.errors import (
    AlreadyInitialised,
    ClusterFrozen,
    Conflict,
    CoolingDown,
    NotInitialised,
    RotationUnderway,
    TooManyRotations,
)

if TYPE_CHECKING:
    from datetime import datetime

    from rotator.domain.ids import ClusterUid, EpochNumber, NodeName, RotationId
    from rotator.domain.liveness import Crowd

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who asks, and why."""

    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A rotation that is asked for."""

    id: RotationId
    kind: Kind
    epoch: EpochNumber
    excludes: tuple[NodeName, ...] = ()
    force: bool = False
    emergency_id: str | None = None


def fact_of(kind: FactKind, request: Request, rotation: Rotation | None, **details: object) -> Fact:
    """The fact that *request* has led to this."""
    return Fact(
        kind=kind,
        at=request.at,
        by=request.by,
        reason=request.reason,
        rotation=rotation.id if rotation else None,
        version=rotation.target if rotation else None,
        details=details,
    )


def initialise(
    crowd: Crowd, request: Request, *, uid: ClusterUid, epoch: EpochNumber, origin: Origin
) -> Change:
    """I1: the cluster gets its uid, its first epoch and version 1."""
    cluster = crowd.cluster
    if cluster.uid is not None:
        raise AlreadyInitialised
    if not cluster.is_declared:
        raise ClusterFrozen("the cluster is not in the configuration any more")
    number = VersionNumber(1)
    derived_from = epoch if origin is Origin.DERIVED else None
    version = Version(
        number=number, stage=Stage.PENDING, origin=origin, epoch=derived_from, created_at=request.at
    )
    cluster = replace(cluster, uid=uid, master=crowd.policy.master, first_epoch=epoch)
    fact = fact_of(FactKind.INITIALISATION_REQUESTED, request, None, origin=str(origin))
    return Change(cluster=cluster.with_version(version), facts=(replace(fact, version=number),))


def why_not_start(crowd: Crowd, kind: Kind, *, force: bool) -> None:
    """Raise the `Conflict` that stands in the way of a new rotation."""
    cluster = crowd.cluster
    if not cluster.is_initialised:
        raise without_version(cluster)
    if not cluster.is_declared:
        raise ClusterFrozen("the cluster is not in the configuration any more")
    if kind is Kind.EMERGENCY:
        last = cluster.last_emergency_at
        if last and not force and crowd.now - last < crowd.policy.emergency_cooldown:
            ends_at = last + crowd.policy.emergency_cooldown
            raise CoolingDown(
                f"an emergency began a moment ago; the cool-down ends at {ends_at:%H:%M:%S} UTC,"
                " and force does not wait for it"
            )
        return
    if (frozen := _frozen(cluster)) is not None:
        raise frozen
    if cluster.rotation is not None:
        raise RotationUnderway(cluster.rotation.id, ends=_what_ends(cluster.rotation))
    recent = [at for at in cluster.recent_starts if abs(crowd.now - at) < _HOUR]
    if len(recent) >= crowd.policy.max_rotations_per_hour:
        raise TooManyRotations(
            f"{len(recent)} rotations have begun within the hour, and the cap is"
            f" {crowd.policy.max_rotations_per_hour} (max_rotations_per_hour)"
        )


def without_version(cluster: Cluster) -> Conflict:
    """Why nothing goes on in a cluster that has no version here; it may have one elsewhere."""
    return _frozen(cluster) or NotInitialised()


def _frozen(cluster: Cluster) -> ClusterFrozen | None:
    for standing in cluster.blockers:
        if standing.blocker.subject == "frozen":
            return ClusterFrozen(f"the cluster is frozen: {standing.blocker.detail}")
    return None


#: Of an ordinary rotation, by phase: what ends it sooner; in the other phases nothing does.
_ENDS: Final = {
    Phase.STAGED: ", or end it with `abort`",
    Phase.INSTALLING: ", or end it with `abort`",
    Phase.ROLLING_OUT: ", or end it with `rollback`",
    Phase.GRACE: ", or end it with `end-grace` or `rollback`",
}


def _what_ends(rotation: Rotation) -> str:
    if rotation.kind is Kind.EMERGENCY or rotation.abort_requested:
        return ""
    return _ENDS.get(rotation.phase, "")


def next_number(cluster: Cluster, last_used: VersionNumber = VersionNumber(0)) -> VersionNumber:
    """The number of the next version: a burned one is not used again.

    *last_used* is the `last_version` of the cluster's document, where that can be read: a state
    store that was restored from a copy may know less. One that leaves no number is somebody's
    edit: the rotation begins, so that an emergency can, and waits where it would be written.
    """
    if last_used >= MAX_NUMBER:
        last_used = VersionNumber(0)
    highest = max(cluster.last_version, last_used)
    if cluster.ahead is None:
        return VersionNumber(highest + 1)
    # Both stores are old copies: nobody knows which numbers were used since.
    return VersionNumber(max(highest, cluster.ahead.version) + LEAP)


def _onward(cluster: Cluster, seen: Generation) -> Cluster:
    """The next generation; above all that nodes have seen, where this state store is an old copy."""
    if cluster.ahead is not None:
        return cluster.leap(seen, cluster.ahead.generation)
    return cluster.leap(seen) if seen > cluster.generation else cluster.next_generation()


def start(
    crowd: Crowd,
    request: Request,
    wanted: Start,
    *,
    last_used: VersionNumber = VersionNumber(0),
    seen: Generation = Generation(0),
) -> Change:
    """S1 or E1: a rotation with the next version number (*last_used* as in `next_number`).

    *seen* is the generation that the cluster's document was written at.
    """
    why_not_start(crowd, wanted.kind, force=wanted.force)
    is_emergency = wanted.kind is Kind.EMERGENCY
    cluster = crowd.cluster
    superseded: Rotation | None = None
    facts: list[Fact] = []
    if is_emergency:
        cluster = _onward(cluster, seen)
        cluster, superseded, facts = _supersede(cluster, request)
        cluster, excluded = _exclude(cluster, request, wanted.excludes)
        facts += excluded
    current = cluster.current
    if current is None:
        raise NotInitialised
    number = next_number(cluster, last_used)
    rotation = Rotation(
        id=wanted.id,
        cluster=cluster.name,
        kind=wanted.kind,
        phase=Phase.LOCKING if is_emergency else Phase.STAGED,
        from_version=current.number,
        to_version=number,
        epoch=wanted.epoch,
        reason=request.reason,
        by=request.by,
        started_at=request.at,
        entered_at=request.at,
        entered_generation=cluster.generation,
        ends_at=request.at + crowd.policy.lock_timeout if is_emergency else None,
        lock_round=1 if is_emergency else 0,
        revokes=_ever_readable(crowd.cluster) if is_emergency else (),
        supersedes=superseded.id if superseded else None,
        excludes=wanted.excludes,
        emergency_id=wanted.emergency_id,
    )
    version = Version(
        number=number,
        stage=Stage.PENDING,
        origin=Origin.DERIVED,
        epoch=wanted.epoch,
        created_at=request.at,
    )
    cluster = _note_start(cluster, request.at, is_emergency=is_emergency)
    cluster = replace(cluster.with_version(version), rotation=rotation)
    kind = FactKind.EMERGENCY_STARTED if is_emergency else FactKind.ROTATION_STARTED
    facts.append(fact_of(kind, request, rotation, rotation_kind=str(wanted.kind)))
    rows = (superseded, rotation) if superseded else (rotation,)
    return Change(cluster=cluster, facts=tuple(facts), rotations=rows)


def _note_start(cluster: Cluster, at: datetime, *, is_emergency: bool) -> Cluster:
    if is_emergency:
        return replace(cluster, last_emergency_at=at)
    recent = (*(begun for begun in cluster.recent_starts if at - begun < _HOUR), at)
    return replace(cluster, recent_starts=recent)


def _ever_readable(cluster: Cluster) -> tuple[VersionNumber, ...]:
    """Every version that somebody may have read and that is not over yet.

    Of an emergency that is superseded itself: what it was about to revoke, too.
    """
    stages = (Stage.CURRENT, Stage.PREVIOUS, Stage.PENDING)
    readable = {v.number for v in cluster.versions.values() if v.stage in stages}
    if cluster.rotation is not None:
        readable |= set(cluster.rotation.revokes)
    return tuple(sorted(readable))


def _supersede(cluster: Cluster, request: Request) -> tuple[Cluster, Rotation | None, list[Fact]]:
    rotation = cluster.rotation
    if rotation is None:
        return cluster, None, []
    ended = rotation.enter(Phase.SUPERSEDED, at=request.at, generation=cluster.generation)
    over = [cluster.at_stage(Stage.PENDING)]
    if rotation.phase is Phase.RETIRING:
        # Nodes refuse it already; without its rotation it would be accepted again until E3.
        over.append(cluster.at_stage(Stage.PREVIOUS))
    for version in over:
        if version is not None:
            cluster = cluster.to_stage(version.number, Stage.REVOKED)
    return cluster, ended, [fact_of(FactKind.ROTATION_SUPERSEDED, request, ended)]


def _exclude(
    cluster: Cluster, request: Request, names: tuple[NodeName, ...]
) -> tuple[Cluster, list[Fact]]:
    """Members that are shut out: nobody waits for them, and their links are cut."""
    facts = []
    for name in names:
        member = cluster.members.get(name)
        if member is None or member.is_shut_out:
            continue
        out = replace(member, is_excused=True, is_shut_out=True, is_admitted=False)
        cluster = cluster.with_member(out)
        told = {"node": name, "forced": True, "shut_out": True}
        facts.append(fact_of(FactKind.MEMBER_EXCUSED, request, None, **told))
    return cluster, facts
