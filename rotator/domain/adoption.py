"""From attestations to gates: who holds, uses and refuses a version, and who is still awaited.

A gate is a list of blockers; an empty list means that it is met. Evidence counts only if it is
at least as new as the phase (`Rotation.entered_generation`): what a node said before the phase
began does not tell what it does now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.domain.cluster import Blocker, ReadFrom
from rotator.domain.drift import OVER
from rotator.domain.ids import NodeName
from rotator.domain.liveness import Liveness
from rotator.domain.rotation import Kind, Phase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rotator.domain.cluster import Attestation, Cluster, Member
    from rotator.domain.ids import Fingerprint, VersionNumber
    from rotator.domain.liveness import Crowd
    from rotator.domain.rotation import Rotation


MAX_FOUND: Final = 20  #: names of strangers in one fact


def fresh(member: Member, rotation: Rotation) -> Attestation | None:
    """What *member* has told from its VM since this phase began; None: nothing yet."""
    said = member.attestation
    if said is None or said.read_from is not ReadFrom.VM:
        return None
    return said if said.generation >= rotation.entered_generation else None


def _rows(
    crowd: Crowd, said: Attestation, *, ignoring: frozenset[Liveness]
) -> Iterator[tuple[NodeName, Fingerprint]]:
    """The rows of the table and of the boot file, but those for peers of these kinds."""
    for peer, fingerprint in (*said.pins.items(), *said.boot_pins.items()):
        if crowd.of(peer) not in ignoring:
            yield peer, fingerprint


def _ignored(rotation: Rotation) -> frozenset[Liveness]:
    """For whom a row may stay behind.

    In an emergency for nobody: with a revoked cookie in the row of a member that is down, an
    intruder gets in under its name.
    """
    return frozenset() if rotation.kind is Kind.EMERGENCY else frozenset({Liveness.LOST})


def lacks(
    crowd: Crowd,
    member: Member,
    number: VersionNumber,
    rotation: Rotation,
    *,
    ignoring: frozenset[Liveness] | None = None,
) -> str | None:
    """What is missing until *member* is proven to use *number* for itself and for every pair."""
    said = fresh(member, rotation)
    if said is None:
        return "has not attested from its VM since this phase began"
    if crowd.cluster.number_of(said.own) != number:
        return f"uses {_called(crowd.cluster, said.own)}, not {number}"
    if crowd.cluster.number_of(said.file) != number:
        return f"its cookie file is not at version {number}"
    rows = _rows(crowd, said, ignoring=_ignored(rotation) if ignoring is None else ignoring)
    wrong = sorted({peer for peer, used in rows if crowd.cluster.number_of(used) != number})
    return f"its rows for {', '.join(wrong)} are not at version {number}" if wrong else None


def _called(cluster: Cluster, own: Fingerprint | None) -> str:
    used = cluster.number_of(own)
    if used is None:
        return "version unknown"
    stage = cluster.at(used)
    return f"{stage} version {used}" if stage in OVER else f"version {used}"


def is_on(crowd: Crowd, member: Member, number: VersionNumber) -> bool:
    """Whether its last report says that it uses *number* alone, in VM, file and every row."""
    said = member.attestation
    if said is None or said.read_from is not ReadFrom.VM:
        return False
    rows = (used for _, used in _rows(crowd, said, ignoring=frozenset({Liveness.LOST})))
    return all(crowd.cluster.number_of(used) == number for used in (said.own, said.file, *rows))


def has_come_back(crowd: Crowd, member: Member) -> bool:
    """Whether an excused member may be waited for again: it uses current alone, and blocks nothing.

    An emergency excuses those whom it shuts out. While a version is installed or retired more is
    wanted of a member than to use current: whoever was excused for that stays excused.
    """
    current, rotation = crowd.cluster.current, crowd.cluster.rotation
    if current is None or member.has_left:
        return False
    if rotation is None:
        return is_on(crowd, member, current.number)
    is_rolled_out = rotation.phase in {Phase.ROLLING_OUT, Phase.GRACE, Phase.ROLLING_BACK}
    if rotation.kind is Kind.EMERGENCY or not is_rolled_out or current.number != rotation.target:
        return False
    return lacks(crowd, member, rotation.target, rotation) is None


def users(crowd: Crowd, number: VersionNumber) -> tuple[Member, ...]:
    """The awaited members that last attested to use *number*, for themselves or for a pair."""
    found = []
    for member in crowd.awaited():
        said = member.attestation
        if said is None:
            continue
        kept = (used for _, used in _rows(crowd, said, ignoring=frozenset({Liveness.LOST})))
        if number in {crowd.cluster.number_of(used) for used in (said.own, said.file, *kept)}:
            found.append(member)
    return tuple(found)


def _missing(crowd: Crowd) -> Iterator[Blocker]:
    for name in crowd.missing():
        yield Blocker(code="expected_member_missing", subject=name, detail="never attested")


def _present(crowd: Crowd) -> Iterator[Member]:
    """Whose attestation shows that nodes are reached at all: the excused are there, too."""
    return (member for member in crowd.cluster.members.values() if not member.has_left)


def _nobody(crowd: Crowd, rotation: Rotation) -> Iterator[Blocker]:
    """Invariant 9: no gate is met with zero attestations while members are expected."""
    attested = any(fresh(member, rotation) for member in _present(crowd))
    if crowd.policy.expects_members and not attested:
        yield Blocker(code="no_attestation", detail="members are expected, and none has attested")


def _holds(crowd: Crowd, member: Member, rotation: Rotation) -> bool:
    said, number = fresh(member, rotation), rotation.to_version
    return said is not None and crowd.cluster.number_of(said.holds.get(number)) == number


def not_holding(crowd: Crowd, rotation: Rotation) -> Iterator[Blocker]:
    """`installing`: who does not hold the pending version yet."""
    for member in crowd.awaited():
        if not _holds(crowd, member, rotation):
            detail = f"version {rotation.to_version}"
            yield Blocker(code="not_holding", subject=member.name, detail=detail)
    yield from _missing(crowd)
    yield from _nobody(crowd, rotation)


def nobody_holding(crowd: Crowd, rotation: Rotation) -> Iterator[Blocker]:
    """What `install_timeout` cannot pass: members are expected, and not one holds pending."""
    held = any(_holds(crowd, member, rotation) for member in _present(crowd))
    if crowd.policy.expects_members and not held:
        yield Blocker(code="no_attestation", detail="members are expected, and none holds pending")


def laggards(crowd: Crowd, rotation: Rotation) -> Iterator[Blocker]:
    """`rolling_out` and `rolling_back`: who is not proven to use the target."""
    for member in crowd.awaited():
        missing = lacks(crowd, member, rotation.target, rotation)
        if missing is not None:
            yield Blocker(code="laggard", subject=member.name, detail=missing)
    yield from _nobody(crowd, rotation)


def absent(crowd: Crowd) -> Iterator[Blocker]:
    """Who could come back and still use previous: the lost, and the expected but never seen."""
    for member in crowd.lost():
        yield Blocker(code="lost_member", subject=member.name, detail="come back, leave or excuse")
    yield from _missing(crowd)


def unproven(crowd: Crowd, rotation: Rotation) -> Iterator[Blocker]:
    """`retiring`: who has not proven that the old is refused and the new accepted."""
    yield from laggards(crowd, rotation)
    for member in crowd.awaited():
        said = fresh(member, rotation)
        if said is None:
            continue
        accepted = {number for number in rotation.refused if number not in said.refuses}
        for number in sorted(accepted):
            yield Blocker(
                code="not_refused", subject=member.name, detail=f"version {number} not refused yet"
            )
        if rotation.target not in said.accepts:
            yield Blocker(
                code="not_accepted", subject=member.name, detail=f"version {rotation.target}"
            )


def unlocked(crowd: Crowd, rotation: Rotation) -> Iterator[Blocker]:
    """`locking`: who has not attested this round, or found a foreign link in it."""
    told = _told_of_round(crowd, rotation)
    for member in crowd.awaited():
        said = told.get(member.name)
        if said is None:
            yield Blocker(code="not_locked", subject=member.name)
        elif said.foreign_links:
            yield Blocker(code="foreign_link", subject=member.name)
        elif pretended := _pretended(told, member.name):
            detail = f"under the name of {', '.join(pretended)}, which has no link to it"
            yield Blocker(code="foreign_link", subject=member.name, detail=detail)
    if crowd.policy.expects_members and not crowd.awaited():
        yield Blocker(code="no_attestation", detail="members are expected, and none is live")


def found(crowd: Crowd, rotation: Rotation) -> dict[str, list[str]]:
    """Per member: whom it found in this round of locking; at most `MAX_FOUND` names in all."""
    seen: dict[str, list[str]] = {}
    left = MAX_FOUND
    told = _told_of_round(crowd, rotation)
    for name, said in told.items():
        names = sorted({*said.foreign_links, *_pretended(told, name)})[:left]
        if names:
            seen[name] = names
            left -= len(names)
    return seen


def _told_of_round(crowd: Crowd, rotation: Rotation) -> dict[NodeName, Attestation]:
    """What each member has attested of this round of locking.

    The rounds of an emergency that was superseded have the same numbers: only fresh counts.
    """
    heard = ((member.name, fresh(member, rotation)) for member in crowd.awaited())
    return {
        name: said
        for name, said in heard
        if said is not None and said.locked_round == rotation.lock_round
    }


def _pretended(told: Mapping[NodeName, Attestation], name: NodeName) -> list[NodeName]:
    """Members to which *name* tells of a link, and which tell of none to it.

    A link has two ends, and a locked node makes no new ones. So at the other end of this one is
    somebody who calls himself like that member.
    """
    return sorted(
        peer for peer in told[name].links if peer in told and name not in told[peer].links
    )


def never_locked(crowd: Crowd, rotation: Rotation) -> tuple[NodeName, ...]:
    """Through whom the new cookie may be read: who blocks `locking` still, and the lost.

    Nobody waits for a lost member, but it may run: then it was not locked, and whoever is linked
    to it reads what it gets, and what those give away that it is linked to.
    """
    blocking = [NodeName(blocker.subject) for blocker in unlocked(crowd, rotation)]
    lost = [member.name for member in crowd.lost()]
    return tuple(dict.fromkeys(name for name in (*blocking, *lost) if name))
