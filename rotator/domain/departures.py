"""How members go, as pure changes of a cluster: excused, left in good order, shut out; and let in again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rotator.domain.cluster import Change, Cluster, Member
from rotator.domain.commands import Request, fact_of
from rotator.domain.facts import FactKind
from rotator.domain.liveness import Liveness
from rotator.errors import MemberIsLive, NodeShutOut, NotFound

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
    require_let_in(cluster, node)
    member = _member(cluster, node)
    if member.has_left:
        return Change(cluster=cluster)
    gone = replace(member, has_left=True, is_admitted=False)
    fact = fact_of(FactKind.MEMBER_LEFT, request, None, node=node)
    return Change(cluster=cluster.with_member(gone).next_generation(), facts=(fact,))


def remove(crowd: Crowd, node: NodeName, request: Request, *, force: bool) -> Change:
    """A member is gone for good. Its name is kept and shut out, whatever token it comes with."""
    cluster = crowd.cluster
    member = _member(cluster, node)
    if crowd.liveness(member) in {Liveness.LIVE, Liveness.UNKNOWN} and not force:
        raise MemberIsLive
    if member.is_shut_out and member.has_left:
        return Change(cluster=cluster)
    gone = Member(
        name=node,
        joined_at=member.joined_at,
        last_seen=member.last_seen,
        has_left=True,
        is_shut_out=True,
    )
    fact = fact_of(FactKind.MEMBER_REMOVED, request, None, node=node, forced=force)
    return Change(cluster=cluster.with_member(gone).next_generation(), facts=(fact,))


def readmit(cluster: Cluster, node: NodeName, request: Request) -> Change:
    """A member that is shut out is forgotten: it may join as any other that is new."""
    member = _member(cluster, node)
    if not member.is_shut_out:
        return Change(cluster=cluster)
    rest = {name: other for name, other in cluster.members.items() if name != node}
    fact = fact_of(FactKind.MEMBER_READMITTED, request, None, node=node)
    return Change(cluster=replace(cluster, members=rest).next_generation(), facts=(fact,))


def require_let_in(cluster: Cluster, node: NodeName) -> None:
    """Raise `NodeShutOut` for a node that gets and says nothing here any more."""
    member = cluster.members.get(node)
    if member is not None and member.is_shut_out:
        raise NodeShutOut


def _member(cluster: Cluster, node: NodeName) -> Member:
    member = cluster.members.get(node)
    if member is None:
        raise NotFound(f"there is no member of that name in {cluster.name}")
    return member
