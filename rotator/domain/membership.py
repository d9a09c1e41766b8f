"""What a node's report changes: members join, are heard, fall back, and are refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rotator.domain import adoption, drift, joining
from rotator.domain.cluster import LEAP, Ahead, Attestation, Change, Cluster, Member, ReadFrom
from rotator.domain.departures import require_let_in
from rotator.domain.facts import Fact, FactKind
from rotator.domain.ids import NodeName, VersionNumber
from rotator.domain.liveness import Liveness
from rotator.domain.rotation import Kind
from rotator.errors import StaleGeneration, TooManyMembers, WrongFingerprint

if TYPE_CHECKING:
    from datetime import datetime

    from rotator.domain.ids import Fingerprint
    from rotator.domain.liveness import Crowd

#: Names of one cluster, those that have left included: who may attest for a pattern of names
#: could else make up new ones without end.
MAX_MEMBERS: Final = 1000
#: How far a report may be ahead of the state store and be believed.
CREDIBLE: Final = 1000 * LEAP
MAX_NAMES: Final = 20  #: of foreign links, in one fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A report that was accepted."""

    change: Change | None  #: None: no news; only the time of the heartbeat counts
    may_boot: bool


def require_credible(cluster: Cluster, node: NodeName, said: Attestation) -> None:
    """Raise `WrongFingerprint` or `StaleGeneration` for a report that cannot be taken at all."""
    claims: list[tuple[VersionNumber, Fingerprint]] = list(said.holds.items())
    if said.uses is not None and said.own is not None:
        claims.append((said.uses, said.own))
    for number, fingerprint in claims:
        version = cluster.versions.get(number)
        if version is None or version.fingerprint != fingerprint:
            raise WrongFingerprint(f"the fingerprint is not that of version {number}")
    member = cluster.members.get(node)
    before = member.attestation if member else None
    if before is not None and said.generation < before.generation:
        raise StaleGeneration(
            f"generation {said.generation} is older than {before.generation},"
            " which this node has reported before"
        )
    if said.generation > cluster.generation:
        raise StaleGeneration(f"generation {said.generation} does not exist yet")


def ahead_of(cluster: Cluster, node: NodeName, said: Attestation) -> Ahead | None:
    """What a report knows that the state store has never given out; None if there is nothing."""
    named = [*said.holds, *(() if said.uses is None or said.own is None else (said.uses,))]
    version = max(named, default=VersionNumber(0))
    is_new = version > cluster.last_version
    if said.generation <= cluster.generation and not is_new:
        return None
    if said.generation > cluster.generation + CREDIBLE or version > cluster.last_version + CREDIBLE:
        return None
    return Ahead(
        node=node, generation=said.generation, version=version if is_new else VersionNumber(0)
    )


def note_ahead(cluster: Cluster, ahead: Ahead, *, now: datetime) -> Change | None:
    """The state store is an old copy, as a node's report shows; None if that is known already.

    An emergency that is under way leaps over what the node has seen, so that it is obeyed.
    """
    known = ahead.after(cluster.ahead)
    if known == cluster.ahead:
        return None
    fact = Fact(
        kind=FactKind.NODES_AHEAD_SEEN,
        at=now,
        by=ahead.node,
        details={"node": ahead.node, "generation": ahead.generation, "version": ahead.version},
    )
    told = () if cluster.ahead is not None and cluster.ahead.version == known.version else (fact,)
    rotation = cluster.rotation
    if rotation is not None and rotation.is_locking_out and ahead.generation > cluster.generation:
        cluster = cluster.leap(ahead.generation)
    return Change(cluster=replace(cluster, ahead=known), facts=told)


def refused(node: NodeName, kind: FactKind, *, now: datetime) -> Fact:
    """The fact that a report was refused."""
    return Fact(kind=kind, at=now, by=node, details={"node": node})


def attest(
    crowd: Crowd, node: NodeName, said: Attestation, *, may_name_links: bool = True
) -> Taken:
    """Take a report; `StaleGeneration`, `WrongFingerprint`, `TooManyMembers` or `NodeShutOut`.

    The answer to a node that is about to boot is part of the change: once it is told to boot,
    gates wait for it. New foreign links are a fact where *may_name_links* says so.
    """
    cluster, now = crowd.cluster, crowd.now
    require_let_in(cluster, node)
    require_credible(cluster, node, said)
    member = cluster.members.get(node)
    if member is None and _names(cluster) >= MAX_MEMBERS:
        raise TooManyMembers
    may_boot = joining.may_join(crowd, node, said)
    before = None if member is None or _begins_anew(cluster, member, said) else member
    if before is not None and _boots_meanwhile(before, said):
        return Taken(change=None, may_boot=may_boot)
    is_boot = said.read_from is ReadFrom.BOOT
    asked = joining.asked_generation(crowd, before)
    if is_boot and not may_boot and asked is None:
        # It waits to hear from its peers: whoever polls is woken, looks, and reports.
        cluster = cluster.next_generation()
        asked = cluster.generation
    elif before is None:
        cluster = cluster.next_generation()
    heard = replace(
        before or Member(name=node, joined_at=now, last_seen=now),
        # An agent that cannot reach its node is no sign of life of the node.
        last_seen=before.last_seen if before and said.read_from is ReadFrom.NONE else now,
        attestation=said,
        is_admitted=is_boot and may_boot,
        asked_generation=asked if is_boot and not may_boot else None,
    )
    heard, adrift = _drift(cluster, heard, now)
    if before is not None and _is_no_news(before, heard):
        return Taken(change=None, may_boot=may_boot)
    facts = (*_evident(cluster, before, heard, now), *adrift)
    cluster, heard, returned = _return(crowd, cluster, heard)
    facts += returned
    if may_name_links or (cluster.rotation is not None and cluster.rotation.is_locking_out):
        facts += _new_links(crowd, before, heard)
    if before is None:
        facts = (Fact(kind=FactKind.MEMBER_JOINED, at=now, by=node, details={"node": node}), *facts)
    return Taken(change=Change(cluster=cluster.with_member(heard), facts=facts), may_boot=may_boot)


def _names(cluster: Cluster) -> int:
    """Names taken by reports; those that an operator removed leave room for others."""
    return sum(not (one.is_shut_out and one.has_left) for one in cluster.members.values())


def _boots_meanwhile(member: Member, said: Attestation) -> bool:
    """Whether its agent, beside it, finds no VM while it boots: only a VM ends a boot.

    What the node said of its files is as good as what the agent says of them now.
    """
    before = member.attestation
    is_booting = before is not None and before.read_from is ReadFrom.BOOT
    return is_booting and said.read_from is ReadFrom.NONE


def _begins_anew(cluster: Cluster, member: Member, said: Attestation) -> bool:
    """Whether it was excused or has left, and joins again: it boots, or was never heard before.

    Who has left joins again, too, when it was down in between, or its agent was. An agent that runs
    on tells of a node that is about to stop, which is no reason to wait for that one. But while an
    emergency locks, whatever runs has to be locked before there is a new cookie to be read.
    """
    before = member.attestation
    if not (member.is_excused or member.has_left):
        return False
    if before is None or said.read_from is ReadFrom.BOOT:
        return True
    if not member.has_left or said.read_from is ReadFrom.NONE:
        return False
    if cluster.rotation is not None and cluster.rotation.is_locking_out:
        return True
    return not said.run or said.run != before.run or before.read_from is ReadFrom.NONE


def _return(
    crowd: Crowd, cluster: Cluster, member: Member
) -> tuple[Cluster, Member, tuple[Fact, ...]]:
    """It was excused, and is waited for again, if it shows that it is on current."""
    if not (member.is_excused and adoption.has_come_back(crowd, member)):
        return cluster, member, ()
    details = {"node": member.name}
    fact = Fact(kind=FactKind.MEMBER_RETURNED, at=crowd.now, by=member.name, details=details)
    return cluster.next_generation(), replace(member, is_excused=False), (fact,)


def _is_no_news(before: Member, heard: Member) -> bool:
    said = heard.attestation
    if said is None or not said.says_the_same(before.attestation):
        return False
    return replace(heard, last_seen=before.last_seen, attestation=before.attestation) == before


def _evidence(said: Attestation | None) -> object:
    """The part of a report whose change is worth a fact."""
    return said and (
        said.read_from,
        said.own,
        said.file,
        said.pins,
        said.refuses,
        said.locked_round,
    )


def _evident(
    cluster: Cluster, before: Member | None, after: Member, now: datetime
) -> tuple[Fact, ...]:
    said = after.attestation
    if said is None or (before is not None and _evidence(before.attestation) == _evidence(said)):
        return ()
    details = {
        "node": after.name,
        "read_from": str(said.read_from),
        "uses": cluster.number_of(said.own),
        "own": said.own,
        "refuses": {str(number): str(proof) for number, proof in said.refuses.items()},
        "locked_round": said.locked_round,
    }
    return (Fact(kind=FactKind.MEMBER_ATTESTED, at=now, by=after.name, details=details),)


def _drift(cluster: Cluster, member: Member, now: datetime) -> tuple[Member, tuple[Fact, ...]]:
    """Note that it is adrift, or that it is well again; each once.

    In between it may be silent, down, or locked by an emergency: that heals nothing.
    """
    own = member.attestation.own if member.attestation else None
    details: dict[str, object] = {"node": member.name, "own": own}
    number = drift.retired_cookie(cluster, member)
    if drift.is_adrift(cluster, member) and own != member.drift:
        kind = FactKind.UNKNOWN_COOKIE_SEEN if number is None else FactKind.RETIRED_COOKIE_SEEN
        fact = Fact(kind=kind, at=now, by=member.name, version=number, details=details)
        return replace(member, drift=own), (fact,)
    if member.drift is not None and drift.is_well(cluster, member):
        details["was"] = member.drift
        used = cluster.number_of(own)
        kind = FactKind.DRIFT_HEALED
        fact = Fact(kind=kind, at=now, by=member.name, version=used, details=details)
        return replace(member, drift=None), (fact,)
    return member, ()


def strangers(crowd: Crowd, member: Member) -> tuple[str, ...]:
    """Its foreign links, but those to members, and to nodes that are expected and have no agent yet.

    Hidden nodes under such a name are none of these, nor are those whom nobody waits for: nothing
    tells that it is they who have such a link. An emergency excepts nobody.
    """
    said, expect, rotation = member.attestation, crowd.policy.expect, crowd.cluster.rotation
    if said is None:
        return ()
    is_strict = rotation is not None and rotation.kind is Kind.EMERGENCY
    if is_strict:
        return said.foreign_links
    members = crowd.cluster.members
    known = {n for n, one in members.items() if not (one.has_left or one.is_excused)}
    if isinstance(expect, frozenset):
        known |= expect - members.keys()
    return tuple(n for n in said.foreign_links if n not in known or _is_hidden(said, n))


def silent_peers(crowd: Crowd, member: Member) -> tuple[NodeName, ...]:
    """Members that are lost, and to which it tells of a link: they run, or somebody under their name."""
    said = member.attestation
    linked = () if said is None else tuple(map(NodeName, said.foreign_links))
    members = crowd.cluster.members
    return tuple(name for name in linked if name in members and _is_silent(crowd, members[name]))


def _is_silent(crowd: Crowd, member: Member) -> bool:
    is_gone = crowd.liveness(member) in {Liveness.LOST, Liveness.LEFT}
    return is_gone and not member.has_left


def _new_links(crowd: Crowd, before: Member | None, after: Member) -> tuple[Fact, ...]:
    """Links to strangers, or to hidden nodes under a member's name, that it did not have before."""
    said, cluster = after.attestation, crowd.cluster
    known = before.attestation.foreign_links if before and before.attestation else ()
    new = [
        name
        for name in strangers(crowd, after)
        if name not in known
        and (_is_no_member(cluster, name) or (said is not None and _is_hidden(said, name)))
    ]
    if not new:
        return ()
    details = {"node": after.name, "names": sorted(new)[:MAX_NAMES], "count": len(new)}
    return (Fact(kind=FactKind.FOREIGN_LINK_SEEN, at=crowd.now, by=after.name, details=details),)


def _is_no_member(cluster: Cluster, name: str) -> bool:
    member = cluster.members.get(NodeName(name))
    return member is None or member.is_shut_out


def _is_hidden(said: Attestation, name: str) -> bool:
    return said.links.get(NodeName(name), False)
