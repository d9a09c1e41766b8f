"""Values of the wire contract as tables and lines: plain text, no layout, no I/O.

`output.py` lays them out. Words of the contract lose their underscores, instants become ages,
and what nobody needs to read (uids, hashes, positions) is left to ``-o json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rotator.cli.durations import age, instant, seconds_between, spoken

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from rotator.protocol import v1

#: The clock is no fault: a grace window that runs is how a rotation goes.
CLOCK: Final = "clock"
_BROKEN_STATES: Final = frozenset({"frozen", "undeclared"})


@dataclass(frozen=True, slots=True)
class Table:
    """A table; cells are text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


View = list[Table | str]  #: tables and lines, from above to below


def words(name: str) -> str:
    """A word of the contract as people write it."""
    return name.replace("_", " ")


def is_degraded(cluster: v1.Cluster) -> bool:
    """Whether something blocks that time alone will not mend, or the cluster is frozen."""
    return cluster.state in _BROKEN_STATES or any(b.subject != CLOCK for b in cluster.blockers)


def blocker(found: v1.Blocker) -> str:
    """``rabbit@b: laggard (uses version 11)``."""
    said = f"{found.subject}: {words(found.code)}" if found.subject else words(found.code)
    return f"{said} ({found.detail})" if found.detail else said


def blockers(found: Iterable[v1.Blocker], now: datetime) -> list[str]:
    """One line each, with since when."""
    return [f"  {blocker(one)}, since {age(one.since, now)}" for one in found]


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _maybe(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def _when(text: str | None) -> str:
    return "-" if text is None else instant(text).strftime("%Y-%m-%d %H:%M:%SZ")


def _members(found: v1.Adoption) -> str:
    if not found.members and found.expects == "none":
        return "none"
    lost = f", {found.lost} lost" if found.lost else ""
    return f"{found.on_current}/{found.members} on current{lost}"


def _waits(cluster: v1.Cluster, now: datetime) -> str:
    if not cluster.blockers:
        return "-"
    first, *others = cluster.blockers
    more = f" and {len(others)} more" if others else ""
    return f"{blocker(first)} {age(first.since, now)}{more}"


def clusters(found: v1.Clusters, now: datetime) -> View:
    """All clusters, a row each."""
    if not found.clusters:
        return ["no cluster is declared, or none is in this token's scope"]
    rows = [
        (
            one.name,
            one.state,
            _maybe(one.current),
            age(one.current_since, now),
            words(one.rotation.phase) if one.rotation else "-",
            _members(one.adoption),
            _waits(one, now),
        )
        for one in found.clusters
    ]
    return [Table(("cluster", "state", "current", "age", "phase", "members", "waits for"), rows)]


def cluster(found: v1.Cluster, now: datetime) -> View:
    """One cluster with its versions."""
    view: View = [f"cluster {found.name}: {found.state}"]
    if found.state == "uninitialised":
        view.append(f"it has no cookie yet; `rotator init {found.name}` makes version 1")
    if found.versions:
        rows = [
            (str(v.number), v.stage, age(v.created_at, now), v.origin, _maybe(v.fingerprint))
            for v in found.versions
        ]
        view.append(Table(("version", "stage", "age", "origin", "fingerprint"), rows))
    view.append(f"members: {_members(found.adoption)} (expects {found.adoption.expects})")
    if found.next_due:
        view.append(f"next rotation due: {_when(found.next_due)}")
    if found.rotation:
        view += rotation(found.rotation, now)
    if found.blockers:
        view += ["waits for:", *blockers(found.blockers, now)]
    return view


def rotation_line(found: v1.Rotation) -> str:
    """``manual rotation of orders, version 11 -> 12``."""
    return (
        f"{found.kind} rotation of {found.cluster}, "
        f"version {found.from_version} -> {found.to_version}"
    )


def _standing(found: v1.Rotation, now: datetime) -> str:
    if found.finished_at:
        took = spoken(seconds_between(found.started_at, found.finished_at))
        return f"{words(found.phase)} after {took}"
    marks = [
        name
        for name, holds in (
            ("held", found.held),
            ("abort requested", found.abort_requested),
            ("on the way back", found.rollback),
        )
        if holds
    ]
    if found.ends_at:
        marks.append(f"until {_when(found.ends_at)}")
    extra = f" ({', '.join(marks)})" if marks else ""
    return f"{words(found.phase)}{extra} since {age(found.entered_at, now)}"


def rotation(found: v1.Rotation, now: datetime) -> View:
    """One rotation: where it stands, by whom and why."""
    view: View = [f"{rotation_line(found)}: {_standing(found, now)}"]
    why = f": {found.reason}" if found.reason else ""
    view.append(f"  {found.id} by {found.by}{why}")
    if found.may_have_been_read:
        view.append(f"  may have been read through: {', '.join(found.may_have_been_read)}")
    if found.revokes:
        view.append(f"  revokes versions: {', '.join(map(str, found.revokes))}")
    return view


def rotations(found: v1.Rotations, now: datetime) -> View:
    """History, newest first."""
    if not found.rotations:
        return ["no rotation yet"]
    rows = [
        (
            one.id,
            one.kind,
            words(one.phase),
            f"{one.from_version} -> {one.to_version}",
            _when(one.started_at),
            spoken(seconds_between(one.started_at, one.finished_at or now)),
            one.by,
            one.reason or "-",
        )
        for one in found.rotations
    ]
    columns = ("rotation", "kind", "phase", "versions", "started", "took", "by", "reason")
    view: View = [Table(columns, rows)]
    if found.next:
        view.append(f"older ones: --before {found.next}")
    return view


def plan(found: v1.Plan, now: datetime) -> View:
    """What a rotation would do."""
    versions = f"from version {found.from_version} to {found.to_version}"
    view: View = [
        f"a {found.kind} rotation of {found.cluster} would go {versions} (nothing was written)",
        f"phases: {' > '.join(map(words, found.phases))}",
        f"grace window: {spoken(found.grace_seconds)}",
        f"would wait for: {', '.join(found.awaits) or 'nobody'}",
    ]
    if found.blockers:
        view += ["held up by:", *blockers(found.blockers, now)]
    if found.conflict:
        view.append(f"it would be refused: {found.conflict}")
    return view


def members(found: v1.Members, now: datetime) -> View:
    """The nodes of a cluster, a row each."""
    if not found.nodes:
        return ["no member has attested yet"]
    rows = [
        (
            one.name,
            one.liveness,
            "unknown cookie" if one.unknown_cookie else _maybe(one.uses),
            ", ".join(map(str, one.holds)) or "-",
            str(len(one.links)),
            age(one.last_seen, now),
            _maybe(one.otp_release),
            _maybe(one.agent),
        )
        for one in found.nodes
    ]
    return [Table(("node", "liveness", "uses", "holds", "links", "seen", "otp", "agent"), rows)]


def member(found: v1.Member, now: datetime) -> View:
    """One node."""
    uses = "a cookie that is not known here" if found.unknown_cookie else _maybe(found.uses)
    view: View = [
        f"{found.name}: {found.liveness}, seen {age(found.last_seen, now)} ago",
        f"uses version: {uses}; holds: {', '.join(map(str, found.holds)) or '-'}",
        f"joined {_when(found.joined_at)}; read from {_maybe(found.read_from)}",
        f"otp {_maybe(found.otp_release)}, agent {_maybe(found.agent)}",
    ]
    if found.foreign_links:
        view.append(f"foreign links: {', '.join(found.foreign_links)}")
    view += [f"preflight: {one}" for one in found.preflight]
    peers = sorted(found.pins.keys() | found.links.keys())
    rows = [
        (peer, _maybe(found.pins.get(peer)), _yes(peer in found.links), _hidden(found, peer))
        for peer in peers
    ]
    return [*view, Table(("peer", "pinned to", "linked", "hidden"), rows)] if rows else view


def _hidden(found: v1.Member, peer: str) -> str:
    return _yes(found.links[peer].hidden) if peer in found.links else "-"


def removed(found: v1.Removed) -> View:
    """What went with a node."""
    view: View = [f"{found.node} is removed from {found.cluster}"]
    if found.revoked_tokens:
        view.append(f"revoked tokens: {', '.join(found.revoked_tokens)}")
    if found.covering_tokens:
        view.append(f"still covered by the tokens: {', '.join(found.covering_tokens)}")
    return view


def _details(found: dict[str, Any]) -> str:
    return " ".join(f"{name}={_short(value)}" for name, value in found.items())


def _short(value: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"({len(value)})" if isinstance(value, dict) else str(value)


def facts(found: v1.Facts, *, is_newest: bool) -> View:
    """Facts, a row each, the newest last; with *is_newest* they come newest first."""
    if not found.facts:
        return ["no facts"]
    rows = [
        (
            str(one.position),
            _when(one.at),
            _maybe(one.cluster),
            one.kind,
            _maybe(one.version),
            one.by,
            " ".join(filter(None, (one.reason, _details(one.details)))) or "-",
        )
        for one in sorted(found.facts, key=lambda fact: fact.position)
    ]
    view: View = [Table(("#", "at", "cluster", "fact", "version", "by", "why"), rows)]
    if found.next is not None and not is_newest:
        view.append(f"more: --after {found.next}")
    return view


def _token_state(found: v1.Token, now: datetime) -> str:
    if found.revoked_at:
        return "revoked"
    return "expired" if instant(found.expires_at) <= now else "valid"


def tokens(found: v1.Tokens, now: datetime) -> View:
    """Tokens without their secrets, a row each."""
    if not found.tokens:
        return ["no token"]
    rows = [
        (
            one.id,
            one.role,
            ", ".join(one.clusters),
            _maybe(one.nodes),
            _token_state(one, now),
            _when(one.expires_at),
            "never" if one.last_used_at is None else f"{age(one.last_used_at, now)} ago",
            _maybe(one.note),
        )
        for one in found.tokens
    ]
    return [Table(("id", "role", "clusters", "nodes", "state", "expires", "used", "note"), rows)]


def emergency(found: v1.EmergencyReport) -> View:
    """An emergency over several clusters."""
    rows = [
        (
            one.cluster,
            _maybe(one.rotation),
            words(one.phase or "-"),
            "-" if one.error is None else one.detail or words(one.error),
        )
        for one in found.clusters
    ]
    return [f"emergency {found.id}", Table(("cluster", "rotation", "phase", "error"), rows)]
