"""Whether a node may boot now: not among running nodes whose cookies are mixed, unless in step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.domain.adoption import lacks
from rotator.domain.cluster import ReadFrom
from rotator.domain.liveness import Liveness
from rotator.domain.rotation import Kind, Phase

if TYPE_CHECKING:
    from rotator.domain.cluster import Attestation, Cluster, Member
    from rotator.domain.ids import Generation, NodeName, VersionNumber
    from rotator.domain.liveness import Crowd
    from rotator.domain.rotation import Rotation

#: A pair is moved by two running nodes, so rows for those that do not run may stay behind.
_NOT_RUNNING: Final = frozenset({Liveness.LOST, Liveness.JOINING})
#: Peers keep their rows for everybody else: whom they do not wait for they set to current.
_FORGOTTEN: Final = frozenset({Liveness.EXCUSED, Liveness.LEFT})


def may_join(crowd: Crowd, asking: NodeName | None = None, said: Attestation | None = None) -> bool:
    """Whether *asking*, which reports *said*, may boot; without them, whether anybody may.

    Cookies are not mixed any more once every node that runs is proven to use the target, but for
    its rows for those that do not run: these wait for the very nodes that want to join. A node
    that asks is not running, whatever it was told before. Nobody boots with what is over.
    """
    rotation, current = crowd.cluster.rotation, crowd.cluster.current
    if current is None or (said is not None and _would_use_what_is_over(crowd.cluster, said)):
        return False
    if asking is not None and said is not None and not _is_up_to_date(crowd, asking, said):
        return False
    if rotation is None or not rotation.has_mixed_cookies:
        return True
    running = [member for member in crowd.awaited() if member.name != asking]
    member = crowd.cluster.members.get(asking) if asking else None
    if current.number == rotation.target and not any(
        lacks(crowd, peer, current.number, rotation, ignoring=_NOT_RUNNING)
        or (member is not None and _row_is_stale(crowd, peer, member))
        for peer in running
    ):
        return True
    if member is None or said is None:
        return False
    returns = _returns(crowd, member, said, rotation=rotation)
    return returns and all(_agrees(crowd, peer, member, said=said) for peer in running)


def _would_use_what_is_over(cluster: Cluster, said: Attestation) -> bool:
    """Whether a node that boots with what *said* shows would use a cookie that is not accepted.

    Its files were written before a version was retired or revoked: it writes them anew, and asks
    again. A node that says nothing of its files is given what it boots with.
    """
    if said.read_from is not ReadFrom.BOOT:
        return False
    own = () if said.own is None else (said.own,)
    accepted = cluster.accepted()
    return any(cluster.number_of(used) not in accepted for used in (*own, *said.boot_pins.values()))


def _is_up_to_date(crowd: Crowd, asking: NodeName, said: Attestation) -> bool:
    """Whether its boot file has for each peer what that peer uses for it now.

    It was written by an answer from before; since then the last peers may have adopted, so that
    cookies are not mixed any more. It writes its files anew, and asks again.
    """
    if said.read_from is not ReadFrom.BOOT:
        return True
    pairs, awaited = pairs_of(crowd.cluster, asking), {peer.name for peer in crowd.awaited()}
    boots_with = {peer: said.boot_pins.get(peer, said.own) for peer in pairs.keys() & awaited}
    return all(
        used is None or crowd.cluster.number_of(used) == pairs[peer]
        for peer, used in boots_with.items()
    )


def _row_is_stale(crowd: Crowd, peer: Member, member: Member) -> bool:
    """Whether *peer* has told of a row for *member* that may have been moved since."""
    row = peer.attestation.pins.get(member.name) if peer.attestation else None
    current = crowd.cluster.current
    if row is None or (current is not None and crowd.cluster.number_of(row) == current.number):
        return False
    return not _has_looked_since(crowd, peer, member)


def asked_generation(crowd: Crowd, member: Member | None) -> Generation | None:
    """Since which generation *member* asks to boot; None: it does not, or has given up.

    Its first request begins a generation. After `node_ttl` without one it may have been started
    by whatever was there, so that the next request is a first one again.
    """
    if member is None or crowd.liveness(member) is not Liveness.JOINING:
        return None
    return member.asked_generation


def _has_looked_since(crowd: Crowd, peer: Member, member: Member) -> bool:
    """Whether *peer* has looked at its VM since *member* asked to boot.

    A pair is moved while both run. So what the peer sees after the member has asked is what the
    peer uses until the member runs; an earlier look may be from before the last move, whenever
    the report of it arrives. A node looks after it has read the generation that it reports.
    """
    asked = asked_generation(crowd, member)
    return (
        asked is not None and peer.attestation is not None and peer.attestation.generation >= asked
    )


def _returns(crowd: Crowd, member: Member, said: Attestation, *, rotation: Rotation) -> bool:
    """Whether it was here before the rotation, so that every peer that adopted has pinned it.

    Where nodes are restarted nobody adopts while he runs, so that new ones may come, too.
    """
    if rotation.kind is Kind.EMERGENCY:
        return False
    if rotation.phase not in {Phase.ROLLING_OUT, Phase.ROLLING_BACK}:
        return False
    is_new = member.joined_at > rotation.started_at and not crowd.policy.restarts
    if crowd.liveness(member) in _FORGOTTEN or is_new:
        return False
    is_accepted = crowd.cluster.number_of(said.own) in crowd.cluster.accepted()
    return is_accepted and said.read_from is ReadFrom.BOOT


def _agrees(crowd: Crowd, peer: Member, member: Member, *, said: Attestation) -> bool:
    """Whether *peer* uses what the member's boot file has for it."""
    theirs = peer.attestation
    if theirs is None or theirs.read_from is not ReadFrom.VM:
        return False
    if not _has_looked_since(crowd, peer, member):
        return False
    used = theirs.pins.get(member.name, theirs.own)
    is_accepted = crowd.cluster.number_of(used) in crowd.cluster.accepted()
    return is_accepted and said.boot_pins.get(peer.name) == used


def pairs_of(cluster: Cluster, node: NodeName) -> dict[NodeName, VersionNumber]:
    """What each peer last attested that it uses for *node*; read only when the node boots.

    Without those that use what is not accepted any more: such a peer is reset to current.
    """
    accepted = cluster.accepted()
    pairs = {}
    for peer, member in cluster.members.items():
        said = member.attestation
        if peer == node or said is None or member.has_left:
            continue
        # Who does not run has no pins: it comes up with those of its boot file.
        runs = said.read_from is ReadFrom.VM
        pins, own = (said.pins, said.own) if runs else (said.boot_pins, said.own or said.file)
        number = cluster.number_of(pins.get(node, own))
        if number in accepted:
            pairs[peer] = number
    return pairs
