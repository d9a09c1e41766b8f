"""From figures to the series of each gauge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.adapters.telemetry import catalogue as c

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from rotator.services.vitals import ClusterVitals, Vitals

GAUGES: Final = tuple(one for one in c.CATALOGUE if one.kind == "gauge")

Sample = tuple[c.Metric, tuple[str, ...], float]


def samples(vitals: Vitals) -> Iterator[Sample]:
    """Each metric with the values of its labels, in their order, and its value."""
    yield c.STATE_READ, (), vitals.has_state
    yield c.LEADER, (), vitals.is_leader
    yield c.FENCE, (), vitals.fence
    yield c.LONG_POLLS, (), vitals.long_polls
    yield c.STREAMS, (), vitals.fact_streams
    for cluster in vitals.clusters:
        yield from _of(cluster)


def _of(cluster: ClusterVitals) -> Iterator[Sample]:
    name = str(cluster.name)
    yield c.STATE, (name, cluster.state), 1
    yield c.VERSION, (name,), cluster.version
    yield from _age(c.VERSION_AGE, name, cluster.version_age)
    yield from _age(c.OVERDUE, name, cluster.overdue)
    yield c.PHASE, (name, str(cluster.phase)), 1
    yield from _age(c.PHASE_AGE, name, cluster.phase_age)
    yield from _age(c.ROTATION_AGE, name, cluster.rotation_age)
    yield c.EMERGENCY, (name,), cluster.is_emergency
    yield c.LOCK_ROUND, (name,), cluster.lock_round
    yield c.MAY_BE_READ, (name,), cluster.may_have_been_read
    for liveness, count in cluster.members.items():
        yield c.MEMBERS, (name, liveness), count
    yield c.LAGGARDS, (name,), cluster.laggards
    yield c.UNKNOWN, (name,), cluster.unknown_cookies
    yield c.RETIRED, (name,), cluster.retired_cookies
    yield c.FOREIGN, (name,), cluster.foreign_links
    yield c.FINDINGS, (name,), cluster.findings
    for state, count in cluster.claims.items():
        yield c.CLAIMS, (name, state), count
    if cluster.unavailable is not None:
        yield c.UNAVAILABLE, (name,), cluster.unavailable
    for code, blocked in cluster.blockers.items():
        yield c.BLOCKERS, (name, code), blocked.count
        yield c.BLOCKER_AGE, (name, code), blocked.longest.total_seconds()


def _age(metric: c.Metric, cluster: str, age: timedelta | None) -> Iterator[Sample]:
    if age is not None:
        yield metric, (cluster,), age.total_seconds()
