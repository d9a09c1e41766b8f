"""How the service and its clusters are at one moment, as figures: what a scrape of /metrics reads.

It reads the state store and memory alone. No secrets manager is asked, so that a scrape costs
little and works while that is down.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rotator.domain import availability, drift, membership, schedule
from rotator.domain.claim import OPEN
from rotator.domain.liveness import Liveness
from rotator.domain.rotation import Kind
from rotator.errors import RotatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rotator.domain.ids import ClusterName
    from rotator.domain.liveness import Crowd
    from rotator.services.queries import ClusterReport, Queries

log = logging.getLogger(__name__)

NO_PHASE: Final = "none"  #: of a cluster that does not rotate
_READ_SECONDS: Final = 5.0
_AT_ONCE: Final = 20  #: clusters, about a millisecond each with twenty members


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """What stands under one code."""

    count: int
    longest: timedelta  #: how long the oldest has stood


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterVitals:
    """One cluster. No node is named: names are made up by whoever attests."""

    name: ClusterName
    state: str  #: as `ClusterReport.state`
    version: int  #: of current; 0: none
    version_age: timedelta | None  #: since current was made
    overdue: timedelta | None  #: for how long by its schedule; None: it has none
    phase: str  #: of the rotation under way, or `NO_PHASE`
    phase_age: timedelta | None
    rotation_age: timedelta | None
    is_emergency: bool
    lock_round: int
    may_have_been_read: int  #: members that the emergency under way has not locked
    members: Mapping[str, int]  #: by liveness
    laggards: int
    unknown_cookies: int
    retired_cookies: int
    foreign_links: int  #: members that have any
    findings: int  #: members whose preflight found something
    claims: Mapping[str, int]  #: on restarts, those under way, by state
    unavailable: int | None  #: members that count against `max_unavailable`; None: none restarts
    blockers: Mapping[str, Blocked]  #: by code


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """The service of one process."""

    has_state: bool  #: the state store could be read
    is_leader: bool
    fence: int
    long_polls: int
    fact_streams: int
    clusters: tuple[ClusterVitals, ...] = field(default=())


def cluster_vitals(report: ClusterReport) -> ClusterVitals:
    """The figures of one cluster, by the state store's clock."""
    crowd = report.crowd
    cluster, rotation, now = crowd.cluster, crowd.cluster.rotation, crowd.now
    current, awaited = cluster.current, crowd.awaited()
    return ClusterVitals(
        name=cluster.name,
        state=report.state,
        version=current.number if current else 0,
        version_age=now - current.created_at if current else None,
        overdue=_overdue(crowd),
        phase=rotation.phase if rotation else NO_PHASE,
        phase_age=now - rotation.entered_at if rotation else None,
        rotation_age=now - rotation.started_at if rotation else None,
        is_emergency=rotation is not None and rotation.kind is Kind.EMERGENCY,
        lock_round=rotation.lock_round if rotation else 0,
        may_have_been_read=len(rotation.may_have_been_read) if rotation else 0,
        members=_by_liveness(crowd),
        laggards=len(awaited) - report.on_current if current else 0,
        unknown_cookies=sum(drift.uses_unknown_cookie(cluster, one) for one in awaited),
        retired_cookies=sum(drift.retired_cookie(cluster, one) is not None for one in awaited),
        foreign_links=sum(bool(membership.strangers(crowd, one)) for one in awaited),
        findings=sum(bool(one.attestation and one.attestation.preflight) for one in awaited),
        claims=_claims(crowd),
        unavailable=len(availability.unavailable(crowd)) if crowd.policy.restarts else None,
        blockers=_blockers(crowd),
    )


def _overdue(crowd: Crowd) -> timedelta | None:
    if crowd.policy.schedule is None:
        return None
    since = schedule.overdue_since(crowd)
    return timedelta() if since is None else crowd.now - since


def _by_liveness(crowd: Crowd) -> dict[str, int]:
    found = Counter(crowd.liveness(member) for member in crowd.cluster.members.values())
    return {str(one): found[one] for one in Liveness}


def _claims(crowd: Crowd) -> dict[str, int]:
    if not crowd.policy.restarts:
        return {}
    found = Counter(claim.state for claim in crowd.cluster.open_claims())
    return {str(state): found[state] for state in sorted(OPEN)}


def _blockers(crowd: Crowd) -> dict[str, Blocked]:
    ages: dict[str, list[timedelta]] = {}
    for standing in crowd.cluster.blockers:
        ages.setdefault(standing.blocker.code, []).append(crowd.now - standing.since)
    return {code: Blocked(count=len(all_), longest=max(all_)) for code, all_ in ages.items()}


class VitalSigns:
    """Takes them."""

    def __init__(
        self,
        *,
        queries: Queries,
        is_leader: Callable[[], bool],
        fence: Callable[[], int],
        long_polls: Callable[[], int],
        fact_streams: Callable[[], int],
    ) -> None:
        self._queries = queries
        self._is_leader = is_leader
        self._fence = fence
        self._long_polls = long_polls
        self._fact_streams = fact_streams

    async def take(self) -> Vitals:
        """As of now; without clusters while the state store cannot be read, but never an error."""
        try:
            async with asyncio.timeout(_READ_SECONDS):
                clusters, has_state = await self._clusters(), True
        except (RotatorError, TimeoutError) as error:
            reason = str(error) or "no answer in time"
            log.warning("clusters could not be measured", extra={"reason": reason})
            clusters, has_state = (), False
        return Vitals(
            has_state=has_state,
            is_leader=self._is_leader(),
            fence=self._fence(),
            long_polls=self._long_polls(),
            fact_streams=self._fact_streams(),
            clusters=clusters,
        )

    async def _clusters(self) -> tuple[ClusterVitals, ...]:
        """Some together, since look-ups that wait for the same connection are one statement.

        Not all together: a scrape of a large fleet must not hold up who else is served.
        """
        names = await self._queries.states.names()
        found: list[ClusterVitals] = []
        for start in range(0, len(names), _AT_ONCE):
            found += await asyncio.gather(*map(self._cluster, names[start : start + _AT_ONCE]))
            await asyncio.sleep(0)
        return tuple(found)

    async def _cluster(self, name: ClusterName) -> ClusterVitals:
        return cluster_vitals(await self._queries.cluster(name))
