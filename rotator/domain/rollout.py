"""What may restart next, and why not.

Everything follows from what members attest: a node needs a restart while its VM answers to another
version than current, for whatever reason it has not booted since, and none once it answers to current.
So nothing is restarted because somebody forgot, or began to serve anew. Of nodes without an agent
(`agentless`) only the word of orchestrators is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rotator.domain import adoption, agentless
from rotator.domain import schedule as schedules
from rotator.domain.attempts import attempts, is_late
from rotator.domain.availability import (
    ROLLING,
    is_back,
    not_linked,
    unavailable,
    unavailable_beside,
    up,
    uses,
    why_unavailable,
)
from rotator.domain.claim import ClaimState, Step
from rotator.domain.cluster import Blocker
from rotator.domain.liveness import Liveness
from rotator.domain.rotation import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from rotator.domain.claim import Claim
    from rotator.domain.cluster import Cluster, Member
    from rotator.domain.ids import NodeName, VersionNumber
    from rotator.domain.liveness import Crowd
    from rotator.domain.rotation import Rotation

HOUR: Final = timedelta(hours=1)
_SHARED: Final = frozenset(
    {"rollout", "operator", "clock", "frozen"}
)  #: subjects that are no nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The rollout of one cluster at one instant."""

    version: VersionNumber | None = None  #: that nodes shall come up with; None: nothing to do
    next: Mapping[NodeName, Step] = field(default_factory=dict)  #: may be claimed now, in order
    waiting: tuple[Blocker, ...] = ()
    unavailable: Mapping[NodeName, str]  #: who counts against `max_unavailable`, and why
    restarted: int = 0  #: members that use `version` already, or are said to
    members: int = 0  #: of these


def outlook(crowd: Crowd) -> Outlook:
    """What may restart now, and what waits for what."""
    away = unavailable(crowd)
    version = target(crowd)
    words = agentless.names(crowd)
    members = len(crowd.awaited()) + len(words)
    if version is None:
        return Outlook(unavailable=away, members=members)
    ready = claimable(crowd)
    queued = _awaiting(crowd, (m for m in candidates(crowd) if m.name not in ready))
    silent = (b for b in agentless.awaiting(crowd, version) if b.subject not in ready)
    named = agentless.troubled(crowd, version)
    waiting = _each_once((*obstacles(crowd), *named, *_under_way(crowd), *queued, *silent))
    restarted = sum(uses(crowd.cluster, member) == version for member in crowd.awaited())
    restarted += sum(agentless.is_on(crowd, name, version) for name in words)
    return Outlook(
        version=version,
        next={name: step(crowd, name) for name in ready},
        waiting=waiting,
        unavailable=away,
        restarted=restarted,
        members=members,
    )


def target(crowd: Crowd) -> VersionNumber | None:
    """The version that nodes are restarted for just now; None: none is.

    An emergency restarts nobody: agents lock their nodes and reset them.
    """
    cluster, rotation = crowd.cluster, crowd.cluster.rotation
    if not crowd.policy.restarts or rotation is None or rotation.kind is Kind.EMERGENCY:
        return None
    current = cluster.current
    if rotation.phase not in ROLLING or current is None or current.number != rotation.target:
        return None
    return current.number


def needs_restart(crowd: Crowd, member: Member) -> bool:
    """Whether its VM is seen, in this phase, to use another accepted version than current."""
    version, rotation = target(crowd), crowd.cluster.rotation
    if version is None or rotation is None or adoption.fresh(member, rotation) is None:
        return False
    used = uses(crowd.cluster, member)
    if used is None or used == version or used not in crowd.cluster.accepted():
        return False
    return member.last_seen > _last_ended(crowd.cluster, member.name, before=member.joined_at)


def _last_ended(cluster: Cluster, node: NodeName, *, before: datetime) -> datetime:
    """When the last restart ended that may have been carried out; what was heard then is too old."""
    begun = (c for c in cluster.claims.values() if c.node == node and c.restarting_at is not None)
    ends = (claim.ended_at for claim in begun if claim.ended_at is not None)
    return max(ends, default=before - timedelta(seconds=1))


def is_as_it_was(crowd: Crowd, member: Member) -> bool:
    """Whether it is known to be up, and needs a restart."""
    return needs_restart(crowd, member) and why_unavailable(crowd, member) is None


# --- who is next --------------------------------------------------------------------------


def candidates(crowd: Crowd) -> tuple[Member, ...]:
    """Members that need a restart and are under no claim, in the order of the policy."""
    claimed = {claim.node for claim in crowd.cluster.open_claims()}
    order = {name: place for place, name in enumerate(crowd.policy.rollout.order)}
    found = [m for m in crowd.awaited() if m.name not in claimed and needs_restart(crowd, m)]
    return tuple(sorted(found, key=lambda m: (order.get(m.name, len(order)), m.name)))


def claimable(crowd: Crowd) -> tuple[NodeName, ...]:
    """Who may be claimed now, in order; together no more than may be down at once."""
    version = target(crowd)
    if version is None or any(holding(crowd)):
        return ()
    again = agentless.first(crowd, version)
    if again:
        return again if agentless.is_standing_still(crowd) else again[: _budget(crowd)]
    if any(crowded(crowd)):
        return ()
    away = unavailable(crowd)
    everybody = (*(member.name for member in candidates(crowd)), *agentless.ready(crowd, version))
    ready = [name for name in everybody if name not in away]
    return tuple(ready[: max(0, min(_slots(crowd, away), _budget(crowd)))])


def step(crowd: Crowd, node: NodeName) -> Step:
    """What is to be done with a node that may be claimed."""
    version = target(crowd)
    turn = {} if version is None else agentless.turn(crowd, version)
    return turn.get(node, Step.RESTART)


def _slots(crowd: Crowd, away: Mapping[NodeName, str]) -> int:
    return crowd.policy.rollout.max_unavailable - len(away)


def _recent(crowd: Crowd) -> list[datetime]:
    claims = crowd.cluster.claims.values()
    counted = (claim for claim in claims if claim.state is not ClaimState.RELEASED)
    return sorted(c.claimed_at for c in counted if crowd.now - c.claimed_at < HOUR)


def _budget(crowd: Crowd) -> int:
    most = crowd.policy.rollout.max_restarts_per_hour
    if most is None:
        return len(crowd.cluster.members) + len(crowd.policy.without_agent) + 1
    return most - len(_recent(crowd))


# --- why not ------------------------------------------------------------------------------


def obstacles(crowd: Crowd) -> Iterator[Blocker]:
    """What keeps everybody from restarting now."""
    yield from holding(crowd)
    yield from crowded(crowd)


def holding(crowd: Crowd) -> Iterator[Blocker]:
    """By order, by the clock, by the budget."""
    cluster, rotation = crowd.cluster, crowd.cluster.rotation
    yield from (s.blocker for s in cluster.blockers if s.blocker.subject == "frozen")
    if rotation is not None and rotation.is_held:
        yield Blocker(code="held", subject="operator", detail="release to go on")
    if agentless.is_standing_still(crowd):
        return
    yield from schedules.outside_window(crowd)
    if _budget(crowd) <= 0:
        recent = _recent(crowd)
        free = f"; the next may go at {recent[0] + HOUR:%H:%M:%S} UTC" if recent else ""
        detail = f"{len(recent)} restarts within the hour{free}"
        yield Blocker(code="restart_budget", subject="rollout", detail=detail)


def crowded(crowd: Crowd, *, but: Claim | None = None) -> Iterator[Blocker]:
    """By who is down already, or may be; *but*: beside this claim's own node."""
    yield from _stopped(crowd)
    version = target(crowd)
    if version is not None and not agentless.stops_the_world(crowd):
        yield from agentless.troubled(crowd, version)
    if isinstance(crowd.policy.expect, int):
        for short in crowd.missing():
            yield Blocker(code="expected_member_missing", subject=short, detail="never attested")
    away = unavailable(crowd) if but is None else unavailable_beside(crowd, but)
    if _slots(crowd, away) <= 0 and not agentless.stops_the_world(crowd):
        named = ", ".join(f"{name} ({why})" for name, why in away.items())
        most = crowd.policy.rollout.max_unavailable
        detail = f"at most {most} may be unavailable, and {len(away)} are: {named}"
        yield Blocker(code="max_unavailable", subject="rollout", detail=detail)


def _stopped(crowd: Crowd) -> Iterator[Blocker]:
    """Nodes whose restart failed: nobody else is restarted before they are well, or excused."""
    cluster, policy, version = crowd.cluster, crowd.policy.rollout, target(crowd)
    for name, member in sorted(cluster.members.items()):
        if version is None or member.is_excused or is_back(crowd, member, version):
            continue
        failed = list(attempts(cluster, name, version))
        late = [claim for claim in cluster.open_claims() if is_late(crowd, claim, name)]
        has_left = crowd.liveness(member) is Liveness.LEFT
        if has_left:  # Its place is free again when as many are up as before.
            failed = [claim for claim in failed if up(crowd) < claim.up]
            late = [claim for claim in late if up(crowd) < claim.up]
        is_up = not has_left and is_as_it_was(crowd, member)
        if len(failed) >= policy.max_attempts:
            detail = f"{failed[-1].detail}; tried {len(failed)} times, release to try again"
            yield Blocker(code="restart_failed", subject=name, detail=detail)
        elif late or (failed and not is_up):
            since = (late or failed)[-1].restarting_at or (late or failed)[-1].claimed_at
            detail = f"its restart began at {since:%H:%M:%S} UTC; mend it, or excuse it"
            yield Blocker(code="not_back", subject=name, detail=detail)


def _under_way(crowd: Crowd) -> Iterator[Blocker]:
    for claim in crowd.cluster.open_claims():
        member = crowd.cluster.members.get(claim.node)
        if claim.back_at is not None:
            until = claim.back_at + crowd.policy.rollout.soak
            seen = claim.detail or "back and healthy"  # the word for one without an agent
            detail = f"{seen}, until {until:%H:%M:%S} UTC"
            yield Blocker(code="soaking", subject=claim.node, detail=detail)
        elif member is not None and is_back(crowd, member, claim.version):
            missing = ", ".join(not_linked(crowd, claim, member))
            detail = f"is back, and not linked to {missing}" if missing else "is back"
            yield Blocker(code="not_healthy", subject=claim.node, detail=detail)
        else:
            what = "" if claim.step is Step.RESTART else f"{claim.step}: "
            detail = f"{what}{claim.state} by {claim.holder}"
            yield Blocker(code="restarting", subject=claim.node, detail=detail)


def _awaiting(crowd: Crowd, members: Iterable[Member]) -> Iterator[Blocker]:
    for member in members:
        used = uses(crowd.cluster, member)
        detail = f"uses version {used} until an orchestrator restarts it"
        yield Blocker(code="awaiting_restart", subject=member.name, detail=detail)


def _each_once(blockers: Iterable[Blocker]) -> tuple[Blocker, ...]:
    """Of each node what comes first: that its restart failed tells more than that it is awaited."""
    found: dict[str, Blocker] = {}
    shared = []
    for blocker in blockers:
        if blocker.subject in _SHARED:
            shared.append(blocker)
        else:
            found.setdefault(blocker.subject, blocker)
    return (*shared, *found.values())


def laggards(crowd: Crowd, rotation: Rotation) -> Iterator[Blocker]:
    """Who is not proven to use the target: as `adoption.laggards`, and what their restarts wait for."""
    behind = tuple(adoption.laggards(crowd, rotation))
    version = target(crowd)
    if version is None:
        yield from behind
        return
    waiting = candidates(crowd)
    words = (*agentless.troubled(crowd, version), *agentless.awaiting(crowd, version))
    keeps = obstacles(crowd) if waiting or words else _stopped(crowd)
    if set(unavailable(crowd)) <= {claim.node for claim in crowd.cluster.open_claims()}:
        # It goes on: that a place is taken by who restarts just now is nothing to look at.
        keeps = (blocker for blocker in keeps if blocker.code != "max_unavailable")
    found = (*keeps, *words, *_under_way(crowd), *_awaiting(crowd, waiting), *behind)
    # That it is held is said at every gate.
    yield from (blocker for blocker in _each_once(found) if blocker.code != "held")
