"""The writes of the reconciler to the state store, one function a line of the order of writes.

Each takes the cluster and returns the change: the cluster after it, its fact, the rotation row.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rotator.domain import adoption
from rotator.domain.actions import Line
from rotator.domain.cluster import Change
from rotator.domain.facts import Fact, FactKind
from rotator.domain.rotation import Phase
from rotator.domain.version import Stage
from rotator.errors import InvariantViolated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from rotator.domain.cluster import Cluster
    from rotator.domain.document import ClusterDocument
    from rotator.domain.ids import NodeName
    from rotator.domain.liveness import Crowd
    from rotator.domain.rotation import Rotation

SERVICE: Final = "rotator"  #: who facts name where the service itself acted


def _rotation(cluster: Cluster) -> Rotation:
    if cluster.rotation is None:
        raise InvariantViolated("there is no rotation to go on with")
    return cluster.rotation


def _settle(
    cluster: Cluster, rotation: Rotation, kind: FactKind, *, now: datetime, **details: object
) -> Change:
    """Keep the rotation, or let go of it when it has finished."""
    fact = Fact(
        kind=kind,
        at=now,
        by=SERVICE,
        rotation=rotation.id,
        version=rotation.target,
        details=details,
    )
    kept = None if rotation.is_finished else rotation
    return Change(cluster=replace(cluster, rotation=kept), facts=(fact,), rotations=(rotation,))


def _enter(cluster: Cluster, phase: Phase, now: datetime) -> tuple[Cluster, Rotation]:
    """Grow the generation and enter the phase with it."""
    grown = cluster.next_generation()
    return grown, _rotation(cluster).enter(phase, at=now, generation=grown.generation)


def record_fingerprints(cluster: Cluster, document: ClusterDocument) -> Cluster:
    """Note the fingerprint of each version that has been written."""
    for number, fingerprint in document.fingerprints().items():
        known = cluster.versions.get(number)
        if known is not None and known.fingerprint is None:
            cluster = cluster.with_version(replace(known, fingerprint=fingerprint))
    return cluster


def _initialised(crowd: Crowd) -> Change:
    cluster, now = crowd.cluster, crowd.now
    (first,) = cluster.versions
    # What it waited for until now is over, but the word of a freeze is taken back with its fact.
    frozen = tuple(s for s in cluster.blockers if s.blocker.subject == "frozen")
    cluster = cluster.to_stage(first, Stage.CURRENT)
    cluster = replace(cluster, is_initialised=True, blockers=frozen)
    fact = Fact(kind=FactKind.CLUSTER_INITIALISED, at=now, by=SERVICE, version=first)
    return Change(cluster=cluster.next_generation(), facts=(fact,))


def _installing(crowd: Crowd) -> Change:
    cluster, rotation = _enter(crowd.cluster, Phase.INSTALLING, crowd.now)
    cluster = replace(cluster, last_writer=rotation.id)
    return _settle(cluster, rotation, FactKind.VERSION_STAGED, now=crowd.now)


def _promoting(crowd: Crowd) -> Change:
    cluster = crowd.cluster
    before = _rotation(cluster)
    rotation = before.enter(Phase.PROMOTING, at=crowd.now, generation=cluster.generation)
    return _settle(cluster, rotation, FactKind.PROMOTION_STARTED, now=crowd.now)


def _rolling_out(crowd: Crowd) -> Change:
    cluster, rotation = _enter(crowd.cluster, Phase.ROLLING_OUT, crowd.now)
    cluster = cluster.to_stage(rotation.from_version, Stage.PREVIOUS)
    cluster = cluster.to_stage(rotation.to_version, Stage.CURRENT)
    return _settle(cluster, rotation, FactKind.VERSION_PROMOTED, now=crowd.now)


def _grace(crowd: Crowd) -> Change:
    cluster, rotation = _enter(crowd.cluster, Phase.GRACE, crowd.now)
    rotation = replace(rotation, ends_at=crowd.now + crowd.policy.grace_window)
    return _settle(cluster, rotation, FactKind.GRACE_STARTED, now=crowd.now)


def _retiring(crowd: Crowd) -> Change:
    cluster, rotation = _enter(crowd.cluster, Phase.RETIRING, crowd.now)
    refused = list(rotation.refused)
    return _settle(cluster, rotation, FactKind.RETIREMENT_STARTED, now=crowd.now, refused=refused)


def _completed(crowd: Crowd) -> Change:
    cluster, rotation = _enter(crowd.cluster, Phase.COMPLETED, crowd.now)
    cluster = cluster.to_stage(rotation.from_version, Stage.RETIRED)
    proof = _proof(crowd, rotation)
    return _settle(cluster, rotation, FactKind.ROTATION_COMPLETED, now=crowd.now, proof=proof)


def _aborted(crowd: Crowd) -> Change:
    cluster, rotation = _enter(crowd.cluster, Phase.ABORTED, crowd.now)
    cluster = replace(cluster, last_writer=rotation.id)
    cluster = cluster.to_stage(rotation.to_version, Stage.DISCARDED)
    return _settle(cluster, rotation, FactKind.ROTATION_ABORTED, now=crowd.now)


def _restored(crowd: Crowd) -> Change:
    cluster, rotation = _enter(crowd.cluster, Phase.ROLLING_BACK, crowd.now)
    cluster = cluster.to_stage(rotation.to_version, Stage.PREVIOUS)
    cluster = cluster.to_stage(rotation.from_version, Stage.CURRENT)
    return _settle(cluster, rotation, FactKind.VERSION_RESTORED, now=crowd.now)


def _rolled_back(crowd: Crowd) -> Change:
    cluster, rotation = _enter(crowd.cluster, Phase.ROLLED_BACK, crowd.now)
    cluster = cluster.to_stage(rotation.to_version, Stage.RETIRED)
    proof = _proof(crowd, rotation)
    return _settle(cluster, rotation, FactKind.ROTATION_ROLLED_BACK, now=crowd.now, proof=proof)


def _locked(crowd: Crowd) -> Change:
    change = _promoting(crowd)
    named = adoption.never_locked(crowd, _rotation(crowd.cluster))
    if not named:
        return change
    (rotation,) = change.rotations
    rotation = replace(rotation, may_have_been_read=named)
    seen = _settle(
        change.cluster,
        rotation,
        FactKind.COOKIE_MAY_HAVE_BEEN_READ,
        now=crowd.now,
        nodes=list(rotation.may_have_been_read),
    )
    return replace(seen, facts=(*change.facts, *seen.facts))


def _revoked(crowd: Crowd) -> Change:
    cluster, rotation = _enter(crowd.cluster, Phase.ROLLING_OUT, crowd.now)
    cluster = replace(cluster, last_writer=rotation.id, ahead=None)
    for number in rotation.revokes:
        if cluster.versions[number].stage is not Stage.REVOKED:
            cluster = cluster.to_stage(number, Stage.REVOKED)
    cluster = cluster.to_stage(rotation.to_version, Stage.CURRENT)
    revoked = list(rotation.revokes)
    return _settle(cluster, rotation, FactKind.VERSIONS_REVOKED, now=crowd.now, revoked=revoked)


def _emergency_completed(crowd: Crowd) -> Change:
    cluster, rotation = _enter(crowd.cluster, Phase.COMPLETED, crowd.now)
    proof = _proof(crowd, rotation)
    return _settle(cluster, rotation, FactKind.ROTATION_COMPLETED, now=crowd.now, proof=proof)


def _proof(crowd: Crowd, rotation: Rotation) -> dict[str, dict[str, str]]:
    """Per member and refused version: how it is known to be refused."""
    proof: dict[str, dict[str, str]] = {}
    for member in crowd.awaited():
        if member.attestation is not None:
            refuses = member.attestation.refuses
            proof[member.name] = {
                str(number): str(refuses[number])
                for number in rotation.refused
                if number in refuses
            }
    return proof


_STEPS: Final[Mapping[Line, Callable[[Crowd], Change]]] = {
    Line.I2: _initialised,
    Line.S2: _installing,
    Line.S3: _promoting,
    Line.S4: _rolling_out,
    Line.S5: _grace,
    Line.S6: _retiring,
    Line.S7: _completed,
    Line.A2: _aborted,
    Line.R2: _restored,
    Line.R3: _retiring,
    Line.R4: _rolled_back,
    Line.E2: _locked,
    Line.E3: _revoked,
    Line.E4: _retiring,
    Line.E5: _emergency_completed,
}


def enter(crowd: Crowd, line: Line) -> Change:
    """The change that *line* writes."""
    return _STEPS[line](crowd)


def lock_again(crowd: Crowd) -> Change:
    """E1 again: the next round of locking, because of whom the members found in this one."""
    found = adoption.found(crowd, _rotation(crowd.cluster))
    cluster, rotation = _enter(crowd.cluster, Phase.LOCKING, crowd.now)
    rotation = replace(rotation, lock_round=rotation.lock_round + 1)
    return _settle(
        cluster,
        rotation,
        FactKind.LOCK_ROUND_STARTED,
        now=crowd.now,
        round=rotation.lock_round,
        found=found,
    )


def excuse_lost(crowd: Crowd, node: NodeName) -> Change:
    """A member has been lost for as long as the policy waits."""
    member = replace(crowd.cluster.members[node], is_excused=True)
    fact = Fact(
        kind=FactKind.MEMBER_EXCUSED,
        at=crowd.now,
        by=SERVICE,
        reason="lost for longer than on_lost allows",
        details={"node": node},
    )
    return Change(cluster=crowd.cluster.with_member(member).next_generation(), facts=(fact,))


def restart_window(crowd: Crowd, *, jump: timedelta) -> Change | None:
    """After a jump of the clock: the running window begins anew. None where no window runs."""
    rotation = crowd.cluster.rotation
    if rotation is None or rotation.phase not in {Phase.INSTALLING, Phase.LOCKING, Phase.GRACE}:
        return None
    window = {
        Phase.LOCKING: crowd.policy.lock_timeout,
        Phase.GRACE: crowd.policy.grace_window,
    }.get(rotation.phase)
    ends_at = None if window is None else crowd.now + window
    rotation = replace(rotation, entered_at=crowd.now, ends_at=ends_at)
    seconds = round(jump.total_seconds())
    return _settle(
        crowd.cluster, rotation, FactKind.CLOCK_JUMPED, now=crowd.now, jump_seconds=seconds
    )
