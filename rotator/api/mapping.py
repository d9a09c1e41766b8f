"""Domain values as the wire contract says them, and back."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from rotator.api import scheduled
from rotator.domain import agentless, drift, meaning, membership
from rotator.domain.liveness import Liveness
from rotator.domain.rotation import Kind
from rotator.protocol import v1

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from rotator.domain.cluster import Member, Standing
    from rotator.domain.desired import DesiredState
    from rotator.domain.ids import ClusterName, VersionNumber
    from rotator.domain.liveness import Crowd
    from rotator.domain.policy import Expectation
    from rotator.domain.rotation import Rotation
    from rotator.domain.version import Version
    from rotator.ports.state_store import ChainedFact, EmergencyRow, TokenRow
    from rotator.services.commands import Plan
    from rotator.services.queries import ClusterReport, NodeView


def instant(at: datetime) -> str:
    """RFC 3339 in UTC."""
    return at.isoformat().replace("+00:00", "Z")


def _maybe(at: datetime | None) -> str | None:
    return None if at is None else instant(at)


# --- for a node ---------------------------------------------------------------------------


def _lock(state: DesiredState) -> v1.Lock | None:
    if state.lock_round is None:
        return None
    return v1.Lock(round=state.lock_round, emergency=state.emergency or "")


def desired(name: ClusterName, view: NodeView) -> v1.Desired:
    """Desired state of one node, with cookies. The one place where the API reveals any."""
    state = view.desired

    def shown(number: VersionNumber | None) -> v1.NodeVersion | None:
        found = None if number is None else view.versions.get(number)
        if found is None:
            return None
        return v1.NodeVersion(number=found.number, cookie=found.cookie.reveal())

    return v1.Desired(
        cluster=name,
        cluster_uid=view.uid,
        fingerprint_key=_base64(view.fingerprint_key),
        generation=state.generation,
        phase=state.phase,
        adoption=state.adoption,
        adopt=state.adopt,
        join=state.join,
        current=shown(state.current),
        previous=shown(state.previous),
        pending=shown(state.pending),
        refuse=[shown(number) or int(number) for number in state.refuse],
        lock=_lock(state),
        members={name: str(liveness) for name, liveness in state.members.items()},
        on_drift=state.on_drift,
        pairs={str(peer): int(number) for peer, number in view.pairs.items()},
    )


def _base64(key: bytes | None) -> str | None:
    return None if key is None else base64.b64encode(key).decode("ascii")


# --- for operators ------------------------------------------------------------------------


def cluster(report: ClusterReport) -> v1.Cluster:
    """A cluster; `current_since` is when its current version was made."""
    crowd = report.crowd
    found = crowd.cluster
    schedule = scheduled.schedule(crowd)
    newest = sorted(found.versions.values(), key=lambda one: one.number, reverse=True)
    return v1.Cluster(
        name=found.name,
        uid=found.uid,
        state=report.state,
        generation=found.generation,
        current=found.current.number if found.current else None,
        versions=[version(one) for one in newest],
        rotation=rotation(found.rotation) if found.rotation else None,
        adoption=_adoption(report),
        blockers=[_standing(one) for one in found.blockers],
        next_due=next(iter(schedule.next_runs), None) if schedule else None,
        current_since=_maybe(found.current.created_at if found.current else None),
        schedule=schedule,
        master=scheduled.master(report.master, now=crowd.now) if report.master else None,
        notes=list(meaning.notes(crowd)),
    )


def _adoption(report: ClusterReport) -> v1.Adoption:
    crowd = report.crowd
    found = [crowd.liveness(member) for member in crowd.cluster.members.values()]
    awaited = crowd.awaited()
    return v1.Adoption(
        members=sum(1 for one in found if one is not Liveness.LEFT),
        live=sum(1 for one in found if one in {Liveness.LIVE, Liveness.UNKNOWN}),
        lost=found.count(Liveness.LOST),
        excused=found.count(Liveness.EXCUSED),
        on_current=report.on_current,
        expects=_expects(crowd.policy.expect),
        foreign_links=sum(1 for one in awaited if membership.strangers(crowd, one)),
        left=list(crowd.expected_but_left()),
        left_but_heard=list(crowd.left_but_heard()),
        without_agent=[str(name) for name in agentless.names(crowd)],
        findings=sum(1 for one in awaited if one.attestation and one.attestation.preflight),
    )


def _expects(expect: Expectation) -> str:
    if not expect:
        return "none"
    return str(expect) if isinstance(expect, int) else ", ".join(sorted(expect))


def _standing(standing: Standing) -> v1.Blocker:
    found = standing.blocker
    return v1.Blocker(
        code=found.code,
        subject=found.subject,
        detail=found.detail,
        since=instant(standing.since),
    )


def version(found: Version) -> v1.Version:
    """A version without its cookie."""
    return v1.Version(
        number=found.number,
        stage=found.stage,
        origin=found.origin,
        epoch=found.epoch,
        created_at=instant(found.created_at),
        fingerprint=found.fingerprint,
    )


def rotation(
    found: Rotation, facts: Sequence[ChainedFact] | None = None, warnings: Sequence[str] = ()
) -> v1.Rotation:
    """A rotation, with its facts where they are given."""
    return v1.Rotation(
        id=found.id,
        cluster=found.cluster,
        kind=found.kind,
        phase=found.phase,
        from_version=found.from_version,
        to_version=found.to_version,
        epoch=found.epoch,
        reason=found.reason,
        by=found.by,
        started_at=instant(found.started_at),
        entered_at=instant(found.entered_at),
        ends_at=_maybe(found.ends_at),
        finished_at=_maybe(found.finished_at),
        held=found.is_held,
        abort_requested=found.abort_requested,
        rollback=found.is_rollback,
        lock_round=found.lock_round,
        may_have_been_read=list(found.may_have_been_read),
        revokes=list(found.revokes),
        supersedes=found.supersedes,
        excludes=list(found.excludes),
        emergency_id=found.emergency_id,
        facts=None if facts is None else [fact(one) for one in facts],
        warnings=list(warnings),
    )


def fact(found: ChainedFact) -> v1.Fact:
    """One audit record."""
    one = found.fact
    return v1.Fact(
        position=found.position,
        cluster=found.cluster,
        seq=found.seq,
        kind=one.kind,
        at=instant(one.at),
        by=one.by,
        reason=one.reason,
        rotation=one.rotation,
        version=one.version,
        details=dict(one.details),
        hash=found.hash,
    )


def plan(name: ClusterName, found: Plan, *, now: datetime) -> v1.Plan:
    """What a rotation would do."""
    return v1.Plan(
        cluster=name,
        kind=found.kind,
        from_version=found.from_version,
        to_version=found.to_version,
        phases=[str(phase) for phase in found.phases],
        awaits=list(found.awaits),
        blockers=[
            v1.Blocker(code=one.code, subject=one.subject, detail=one.detail, since=instant(now))
            for one in found.blockers
        ],
        conflict=None if found.conflict is None else str(found.conflict),
        grace_seconds=0.0 if found.kind is Kind.EMERGENCY else found.grace_window.total_seconds(),
        warnings=list(found.warnings),
    )


def member(crowd: Crowd, found: Member) -> v1.Member:
    """A node as the service knows it."""
    said = found.attestation
    known = crowd.cluster.number_of
    return v1.Member(
        name=found.name,
        liveness=crowd.liveness(found),
        joined_at=instant(found.joined_at),
        last_seen=instant(found.last_seen),
        uses=known(said.own) if said else None,
        unknown_cookie=drift.uses_unknown_cookie(crowd.cluster, found),
        retired_cookie=drift.retired_cookie(crowd.cluster, found) is not None,
        silent_peers=list(membership.silent_peers(crowd, found)),
        shut_out=found.is_shut_out,
        holds=sorted(said.holds) if said else [],
        pins={peer: known(used) for peer, used in said.pins.items()} if said else {},
        links={peer: v1.Link(hidden=hidden) for peer, hidden in said.links.items()} if said else {},
        refuses={str(number): str(how) for number, how in said.refuses.items()} if said else {},
        locked_round=said.locked_round if said else None,
        foreign_links=list(membership.strangers(crowd, found)),
        read_from=said.read_from if said else None,
        generation=said.generation if said else None,
        otp_release=said.otp_release if said else "",
        agent=said.agent if said else "",
        preflight=list(said.preflight) if said else [],
    )


def token(found: TokenRow, text: str | None = None, *, undeclared: Sequence[str] = ()) -> v1.Token:
    """A token; *text* is itself, given once."""
    return v1.Token(
        id=found.id,
        role=found.role,
        clusters=list(found.clusters),
        nodes=found.nodes,
        note=found.note,
        created_at=instant(found.created_at),
        created_by=found.created_by,
        expires_at=instant(found.expires_at),
        revoked_at=_maybe(found.revoked_at),
        last_used_at=_maybe(found.last_used_at),
        token=text,
        warnings=[f"no cluster {name} is declared" for name in undeclared],
    )


def emergency(
    found: EmergencyRow, phases: Mapping[str, str], warnings: Sequence[str] = ()
) -> v1.EmergencyReport:
    """An emergency over many clusters; *phases* by rotation id."""
    rows = [
        v1.EmergencyRow(
            cluster=row["cluster"],
            rotation=row.get("rotation"),
            phase=phases.get(row.get("rotation", "")),
            error=row.get("error"),
            detail=row.get("detail"),
        )
        for row in found.rows
    ]
    return v1.EmergencyReport(
        id=found.id,
        at=instant(found.at),
        by=found.by,
        reason=found.reason,
        clusters=rows,
        warnings=list(warnings),
    )
