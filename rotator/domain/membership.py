"""What a node's report changes: members join, are heard, fall back, and are refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rotator.domain import adoption
from rotator.domain.cluster import Attestation, Change, Cluster, Member, ReadFrom
from rotator.domain.facts import Fact, FactKind
from rotator.errors import StaleGeneration, TooManyMembers, WrongFingerprint

if TYPE_CHECKING:
    from datetime import datetime

    from rotator.domain.ids import Fingerprint, NodeName, VersionNumber
    from rotator.domain.liveness import Crowd

#: Names of one cluster, those that have left included: who may attest for a pattern of names
#: could else make up new ones without end.
MAX_MEMBERS: Final = 1000


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


def refused(node: NodeName, kind: FactKind, *, now: datetime) -> Fact:
    """The fact that a report was refused."""
    return Fact(kind=kind, at=now, by=node, details={"node": node})


def attest(crowd: Crowd, node: NodeName, said: Attestation) -> Taken:
    """Take a report; raises `StaleGeneration`, `WrongFingerprint` or `TooManyMembers`.

    The answer to a node that is about to boot is part of the change: once it is told to boot,
    gates wait for it.
    """
    cluster, now = crowd.cluster, crowd.now
    require_credible(cluster, node, said)
    member = cluster.members.get(node)
    if member is None and len(cluster.members) >= MAX_MEMBERS:
        raise TooManyMembers
    may_boot = adoption.may_join(crowd, node)
    admitted = may_boot and said.read_from is ReadFrom.BOOT
    if member is None or member.has_left or _begins_anew(member, said):
        return Taken(change=_join(crowd, node, said, is_admitted=admitted), may_boot=may_boot)
    if said.says_the_same(member.attestation) and member.is_admitted == admitted:
        return Taken(change=None, may_boot=may_boot)
    heard = replace(member, last_seen=now, attestation=said, is_admitted=admitted)
    facts = _news(cluster, member, heard, now)
    return Taken(change=Change(cluster=cluster.with_member(heard), facts=facts), may_boot=may_boot)


def _begins_anew(member: Member, said: Attestation) -> bool:
    """Whether it was excused and is awaited again: it boots, or is heard for the first time."""
    is_new = said.read_from is ReadFrom.BOOT or member.attestation is None
    return member.is_excused and is_new


def _join(crowd: Crowd, node: NodeName, said: Attestation, *, is_admitted: bool) -> Change:
    member = Member(
        name=node,
        joined_at=crowd.now,
        last_seen=crowd.now,
        attestation=said,
        is_admitted=is_admitted,
    )
    joined = Fact(kind=FactKind.MEMBER_JOINED, at=crowd.now, by=node, details={"node": node})
    facts = (joined, *_news(crowd.cluster, None, member, crowd.now))
    return Change(cluster=crowd.cluster.with_member(member).next_generation(), facts=facts)


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


def _news(
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
    attested = Fact(kind=FactKind.MEMBER_ATTESTED, at=now, by=after.name, details=details)
    if not adoption.uses_unknown_cookie(cluster, after):
        return (attested,)
    unknown = Fact(
        kind=FactKind.UNKNOWN_COOKIE_SEEN,
        at=now,
        by=after.name,
        details={"node": after.name, "own": said.own},
    )
    return (attested, unknown)
