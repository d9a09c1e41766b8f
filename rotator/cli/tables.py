"""Values of the wire contract as tables and lines: plain text, no layout, no I/O.

`output.py` lays them out. Words of the contract lose their underscores, instants become ages,
and what nobody needs to read (uids, hashes, positions) is left to ``-o json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rotator.cli import schedules
from rotator.cli.durations import age, instant, seconds_between, spoken

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from rotator.protocol import v1

#: The clock is no fault: a grace window that runs is how a rotation goes.
CLOCK: Final = "clock"
#: Versions of which one or another may be in use, and how many of those that are over are shown.
_IN_USE: Final = frozenset({"pending", "current", "previous"})
_OVER_SHOWN: Final = 3
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
    """Whether something blocks that time alone will not mend, it is frozen, or overdue."""
    timed = (cluster.schedule, cluster.master)
    if any(one is not None and one.overdue_since is not None for one in timed):
        return True
    return cluster.state in _BROKEN_STATES or any(b.subject != CLOCK for b in cluster.blockers)


def blocker(found: v1.Blocker) -> str:
    """``rabbit@b: laggard (uses version 11)``."""
    said = f"{found.subject}: {words(found.code)}" if found.subject else words(found.code)
    return f"{said} ({found.detail})" if found.detail else said


def blockers(found: Iterable[v1.Blocker], now: datetime) -> list[str]:
    """One line each, with for how long."""
    return [f"  {blocker(one)}, for {age(one.since, now)}" for one in found]


def yes(value: object) -> str:
    """A truth as people say it."""
    return "yes" if value else "no"


def maybe(value: object) -> str:
    """A value, or a dash for none."""
    return "-" if value is None or value == "" else str(value)


def when(text: str | None) -> str:
    """An instant to the second, or a dash for none."""
    return "-" if text is None else instant(text).strftime("%Y-%m-%d %H:%M:%SZ")


def _members(found: v1.Adoption) -> str:
    if not found.members and found.without_agent:
        return f"{len(found.without_agent)} without agent"
    if not found.members and found.expects == "none":
        return "none"
    if not found.members:
        return "none yet"
    lost = f", {found.lost} lost" if found.lost else ""
    left = f", {len(found.left)} left" if found.left else ""
    foreign = f", {found.foreign_links} with foreign links" if found.foreign_links else ""
    silent = f", {len(found.without_agent)} without agent" if found.without_agent else ""
    return f"{found.on_current}/{found.members} on current{lost}{left}{foreign}{silent}"


def _with_findings(count: int) -> str:
    return f"{count} member{'s' if count > 1 else ''} with findings"


def _waits(cluster: v1.Cluster, now: datetime) -> str:
    if not cluster.blockers:
        overdue = cluster.schedule.overdue_since if cluster.schedule else None
        return "-" if overdue is None else f"its schedule: overdue for {age(overdue, now)}"
    first, *others = cluster.blockers
    more = f" and {len(others)} more" if others else ""
    return f"{blocker(first)}, for {age(first.since, now)}{more}"


def clusters(found: v1.Clusters, now: datetime) -> View:
    """All clusters, a row each."""
    if not found.clusters:
        return ["no cluster is declared, or none is in this token's scope"]
    rows = [
        (
            one.name,
            one.state,
            maybe(one.current),
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
        view += _versions(found.versions, now)
    view.append(f"members: {_members(found.adoption)} (expects {found.adoption.expects})")
    if found.adoption.left:
        view.append(f"expected, and gone in good order: {', '.join(found.adoption.left)}")
    if found.adoption.left_but_heard:
        view.append(f"left, and still running: {', '.join(found.adoption.left_but_heard)}")
    if found.adoption.findings:
        view.append(f"{_with_findings(found.adoption.findings)}: see `rotator nodes {found.name}`")
    view += [f"note: {one}" for one in found.notes]
    view += schedules.by_the_clock(found, now)
    if found.rotation:
        view += rotation(found.rotation, now)
    if found.blockers:
        view += ["waits for:", *blockers(found.blockers, now)]
    return view


def _versions(found: Sequence[v1.Version], now: datetime) -> View:
    """Those in use, and the last of those that are over."""
    newest = sorted(found, key=lambda version: version.number, reverse=True)
    over = [version for version in newest if version.stage not in _IN_USE]
    hidden = {version.number for version in over[_OVER_SHOWN:]}
    rows = [
        (str(v.number), v.stage, age(v.created_at, now), v.origin, maybe(v.fingerprint))
        for v in newest
        if v.number not in hidden
    ]
    view: View = [Table(("version", "stage", "age", "origin", "fingerprint"), rows)]
    if hidden:
        view.append(f"and {len(hidden)} older ones that are over; -o json has them all")
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
        marks.append(f"until {when(found.ends_at)}")
    extra = f" ({', '.join(marks)})" if marks else ""
    return f"{words(found.phase)}{extra} for {age(found.entered_at, now)}"


def _holder(found: v1.Rotation) -> list[str]:
    """``held by token:op: deployment``, where the facts are at hand."""
    facts = found.facts if found.held and found.facts else ()
    by = [fact for fact in facts if fact.kind == "RotationHeld"]
    if not by:
        return []
    last = max(by, key=lambda fact: fact.position)
    return [f"held by {last.by}{f': {last.reason}' if last.reason else ''}"]


def rotation(found: v1.Rotation, now: datetime) -> View:
    """One rotation: where it stands, by whom and why."""
    view: View = [f"{rotation_line(found)}: {_standing(found, now)}"]
    why = f": {found.reason}" if found.reason else ""
    view.append(f"  {found.id} by {found.by}{why}")
    view += [f"  {said}" for said in _holder(found)]
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
            when(one.started_at),
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


def plan(found: v1.Plan) -> View:
    """What a rotation would do."""
    versions = f"from version {found.from_version} to {found.to_version}"
    view: View = [
        f"{found.cluster}: {found.kind} rotation {versions} (nothing was written)",
        f"phases: {' > '.join(map(words, found.phases))}",
        f"would wait for: {', '.join(found.awaits) or 'nobody'}",
    ]
    if "grace" in found.phases:
        view.append(f"grace window: {spoken(found.grace_seconds)}")
    if found.blockers:
        # A plan is of this moment: for how long it has been so is not known.
        view += ["held up by:", *(f"  {blocker(one)}" for one in found.blockers)]
    if found.conflict:
        view.append(f"it would be refused: {found.conflict}")
    return view
