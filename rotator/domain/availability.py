"""Who is up, as far as is known, and whether a restarted member is well again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.domain import adoption, agentless, drift
from rotator.domain.claim import ClaimState
from rotator.domain.cluster import ReadFrom
from rotator.domain.liveness import Liveness
from rotator.domain.rotation import Phase

if TYPE_CHECKING:
    from rotator.domain.claim import Claim
    from rotator.domain.cluster import Cluster, Member
    from rotator.domain.ids import NodeName, VersionNumber
    from rotator.domain.liveness import Crowd

#: Nobody waits for them.
GONE: Final = frozenset({Liveness.EXCUSED, Liveness.LEFT})
#: In these phases nodes may be restarted.
ROLLING: Final = frozenset({Phase.ROLLING_OUT, Phase.GRACE, Phase.ROLLING_BACK})


def uses(cluster: Cluster, member: Member) -> VersionNumber | None:
    """The version that its VM was last seen to use as its own cookie."""
    said = member.attestation
    if said is None or said.read_from is not ReadFrom.VM:
        return None
    return cluster.number_of(said.own)


def is_back(crowd: Crowd, member: Member, version: VersionNumber) -> bool:
    """Whether it runs, as far as is known, and its VM uses *version* as its own cookie."""
    return runs(crowd, member) and uses(crowd.cluster, member) == version


def runs(crowd: Crowd, member: Member) -> bool:
    """Whether it runs, as far as is known."""
    return crowd.liveness(member) in {Liveness.LIVE, Liveness.UNKNOWN}


def unavailable(crowd: Crowd) -> dict[NodeName, str]:
    """Members that are down, may be down, or cannot be told to be up; each with why."""
    claimed = {claim.node for claim in crowd.cluster.open_claims()}
    found = {}
    for name, member in sorted(crowd.cluster.members.items()):
        if member.is_excused:
            continue
        why = "under claim" if name in claimed else _why_away(crowd, member)
        if why is not None:
            found[name] = why
    for name in agentless.names(crowd):
        if name in claimed:
            found[name] = "under claim"
        elif agentless.may_be_down(crowd, name):
            found[name] = "not known to have come up"
    if isinstance(crowd.policy.expect, frozenset):
        absent = crowd.policy.expect - crowd.cluster.members.keys()
        found |= dict.fromkeys(sorted(absent), "never attested")
    return found


def _why_away(crowd: Crowd, member: Member) -> str | None:
    """As `why_unavailable`; of those that have left, who is expected to come back."""
    if crowd.liveness(member) is not Liveness.LEFT:
        return why_unavailable(crowd, member)
    is_expected = member.name in crowd.expected_but_left()
    return "has left, and is expected by name" if is_expected else None


def unavailable_beside(crowd: Crowd, claim: Claim) -> dict[NodeName, str]:
    """Who is unavailable but for the node of *claim*, and for those whose restarts begin after it.

    So of two that wait for a place the one that was claimed first gets it.
    """
    after = {
        other.node
        for other in crowd.cluster.open_claims()
        if other.state is ClaimState.CLAIMED and other.token > claim.token
    }
    waiting = {name for name in after if _is_known_to_be_up(crowd, name)}
    passed = {claim.node, *waiting}
    return {name: why for name, why in unavailable(crowd).items() if name not in passed}


def _is_known_to_be_up(crowd: Crowd, name: NodeName) -> bool:
    member = crowd.cluster.members.get(name)
    if member is None:
        return not agentless.may_be_down(crowd, name)
    return crowd.liveness(member) not in GONE and why_unavailable(crowd, member) is None


def up(crowd: Crowd) -> int:
    """How many members are known to be up."""
    return sum(_is_known_to_be_up(crowd, name) for name in crowd.cluster.members)


def why_unavailable(crowd: Crowd, member: Member) -> str | None:
    """Why it is not known to be up; None: it is."""
    said, liveness = member.attestation, crowd.liveness(member)
    if liveness is Liveness.LOST:
        return "lost"
    if said is None:
        return "never attested"
    if said.read_from is ReadFrom.BOOT:
        return "about to boot"
    if said.read_from is ReadFrom.NONE:
        return "its node does not answer"
    if liveness is Liveness.UNKNOWN or crowd.now >= member.last_seen + crowd.policy.node_ttl / 2:
        # Its host may have ended without a word. It is lost only later; until then nobody goes.
        return "not heard of for a while"
    rotation = crowd.cluster.rotation
    if (
        rotation is not None
        and rotation.phase in ROLLING
        and adoption.fresh(member, rotation) is None
    ):
        # Whether it needs a restart is not known yet, and it may be its turn.
        return "has not reported since this phase began"
    return "uses a cookie that is not accepted" if drift.is_adrift(crowd.cluster, member) else None


def is_healthy(crowd: Crowd, claim: Claim, member: Member) -> bool:
    """Whether a restarted member is back: heard, on its version in VM and file, and linked."""
    rotation = crowd.cluster.rotation
    said = None if rotation is None else adoption.fresh(member, rotation)
    if said is None or crowd.liveness(member) is not Liveness.LIVE:
        return False
    used = {crowd.cluster.number_of(said.own), crowd.cluster.number_of(said.file)}
    return used == {claim.version} and not not_linked(crowd, claim, member)


def not_linked(crowd: Crowd, claim: Claim, member: Member) -> tuple[NodeName, ...]:
    """Peers that it was linked to before, and that are up, and that it is not linked to now."""
    links = member.attestation.links if member.attestation else {}
    return tuple(peer for peer in claim.links if peer not in links and _is_up(crowd, peer))


def _is_up(crowd: Crowd, name: NodeName) -> bool:
    member = crowd.cluster.members.get(name)
    if member is None or not runs(crowd, member):
        return False
    restarts = any(
        claim.node == name and claim.state is ClaimState.RESTARTING and claim.back_at is None
        for claim in crowd.cluster.open_claims()
    )
    return uses(crowd.cluster, member) is not None and not restarts
