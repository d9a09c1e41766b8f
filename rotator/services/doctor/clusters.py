"""Clusters as the state store has them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rotator.domain.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from rotator.domain.cluster import Cluster, Standing
    from rotator.ports.records import Records

LONG: Final = timedelta(minutes=10)
#: Blockers that somebody wants to stand.
_MEANT: Final = frozenset({"awaiting_restart", "grace_window", "held", "outside_window"})


def look(records: Records, declared: AbstractSet[str]) -> Iterator[Finding]:
    """What an operator has to settle; *declared* are the names in rotator.yaml now."""
    for cluster in records.clusters:
        yield from _standing(cluster, is_declared=cluster.name in declared, now=records.now)
        yield from _passed_on(cluster)
    for name in sorted(set(declared) - {one.name for one in records.clusters}):
        yield Finding(code="cluster_uninitialised", subject=name, detail="not started yet")


def _standing(cluster: Cluster, *, is_declared: bool, now: datetime) -> Iterator[Finding]:
    if not is_declared:
        yield Finding(code="cluster_undeclared", subject=cluster.name)
        return
    frozen = [one for one in cluster.blockers if one.blocker.subject == "frozen"]
    if cluster.uid is None and not frozen:
        yield Finding(code="cluster_uninitialised", subject=cluster.name)
    for one in frozen:
        detail = f"{one.blocker.code} {one.blocker.detail}".strip()
        yield Finding(code="cluster_frozen", subject=cluster.name, detail=detail)
    for one in cluster.blockers:
        if one not in frozen and _is_long(one, now):
            detail = f"{one.blocker.code} {one.blocker.subject}".strip()
            yield Finding(code="cluster_waits", subject=cluster.name, detail=detail)


def _is_long(standing: Standing, now: datetime) -> bool:
    return standing.blocker.code not in _MEANT and now - standing.since >= LONG


def _passed_on(cluster: Cluster) -> Iterator[Finding]:
    """What the agents of members that are still there have said of their nodes."""
    for name, member in sorted(cluster.members.items()):
        if member.has_left or member.is_excused or member.attestation is None:
            continue
        for said in member.attestation.preflight:
            yield Finding(code="member_finding", subject=f"{cluster.name} {name}", detail=said)
