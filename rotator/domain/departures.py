"""How members go, as pure changes of a cluster: excused, left in good order, or removed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rotator.domain.cluster import Change, Cluster, Member
from rotator.domain.commands import Request, fact_of
from rotator.domain.facts import FactKind
from rotator.domain.liveness import Liveness
from rotator.errors import MemberIsLive, NotFound

if TYPE_CHECKING:
    from rotator.domain.ids import NodeName
    from rotator.domain.liveness import Crowd


def excuse(crowd: Crowd, node: NodeName, request: Request, *, force: bool) -> Change:
    """No longer wait for a member, an expected node that never came, or one without an agent."""
    cluster = crowd.cluster
    member = cluster.members.get(node)
    if member is None:
        expect = crowd.policy.expect
        named = expect if isinstance(expect, frozenset) else crowd.policy.without_agent
        if node not in named:
            raise NotFound(f"there is no member of that name in {cluster.name}")
        member = Member(name=node, joined_at=request.at, last_seen=request.at)
    elif crowd.liveness(member) in {Liveness.LIVE, Liveness.UNKNOWN} and not force:
        raise MemberIsLive
    if member.is_excused:
        return Change(cluster=cluster)
    excused = replace(member, is_excused=True, is_admitted=False)
    fact = fact_of(FactKind.MEMBER_EXCUSED, request, None, node=node, forced=force)
    return Change(cluster=cluster.with_member(excused).next_generation(), facts=(fact,))


def leave(cluster: Cluster, node: NodeName, request: Request) -> Change:
    """A member leaves in good order."""
    member = cluster.members.get(node)
    if member is None:
        raise NotFound(f"there is no member of that name in {cluster.name}")
    if member.has_left:
        return Change(cluster=cluster)
    gone = replace(member, has_left=True, is_admitted=False)
    fact = fact_of(FactKind.MEMBER_LEFT, request, None, node=node)
    return Change(cluster=cluster.with_member(gone).next_generation(), facts=(fact,))


def remove(crowd: Crowd, node: NodeName, request: Request, *, force: bool) -> Change:
    """Forget a member for good."""
    cluster = crowd.cluster
    member = cluster.members.get(node)
    if member is None:
        raise NotFound(f"there is no member of that name in {cluster.name}")
    if crowd.liveness(member) in {Liveness.LIVE, Liveness.UNKNOWN} and not force:
        raise MemberIsLive
    rest = {name: other for name, other in cluster.members.items() if name != node}
    fact = fact_of(FactKind.MEMBER_REMOVED, request, None, node=node, forced=force)
    return Change(cluster=replace(cluster, members=rest).next_generation(), facts=(fact,))
