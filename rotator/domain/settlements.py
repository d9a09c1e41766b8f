"""How a claim ends: by what members attest, by the clock, or by the word for a node without agent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rotator.domain import agentless, availability, rollout
from rotator.domain.claim import Claim, ClaimState, Step
from rotator.domain.facts import FactKind
from rotator.domain.liveness import Liveness

if TYPE_CHECKING:
    from datetime import datetime

    from rotator.domain.cluster import Member
    from rotator.domain.liveness import Crowd

#: How a claim goes on, and the fact that says so; None: it is not worth one.
Turn = tuple[Claim, FactKind | None]

_ENDS = {
    ClaimState.DONE: FactKind.RESTART_DONE,
    ClaimState.FAILED: FactKind.RESTART_FAILED,
    ClaimState.EXPIRED: FactKind.RESTART_CLAIM_EXPIRED,
    ClaimState.RELEASED: FactKind.RESTART_CLAIM_RELEASED,
}


def ended(claim: Claim, state: ClaimState, *, now: datetime, detail: str = "") -> Turn:
    """The end of a claim, and its fact."""
    return replace(claim, state=state, ended_at=now, detail=detail), _ENDS[state]


def is_by_word(crowd: Crowd, claim: Claim) -> bool:
    """Whether nobody attests for its node."""
    return claim.node in agentless.names(crowd)


def has_come_back(crowd: Crowd, claim: Claim) -> bool:
    """Whether its node is back, so that the claim needs no renewal."""
    if is_by_word(crowd, claim):
        return claim.back_at is not None
    member = crowd.cluster.members.get(claim.node)
    return member is not None and availability.is_back(crowd, member, claim.version)


def of(crowd: Crowd, claim: Claim) -> Turn | None:
    """What has become of an open claim; None: nothing new."""
    over = _over(crowd, claim)
    if over is not None:
        return over
    if is_by_word(crowd, claim):
        return _settle_by_word(crowd, claim)
    member, now = crowd.cluster.members[claim.node], crowd.now
    if crowd.liveness(member) is Liveness.LEFT:
        return _settle_left(crowd, claim)
    if is_wanted(crowd, claim):
        if availability.is_back(crowd, member, claim.version):
            return _on_its_version(crowd, claim, member)
        if claim.back_at is not None:
            return replace(claim, back_at=None), None  # It has gone down again.
        if _came_back_as_it_was(crowd, claim, member):
            return ended(claim, ClaimState.FAILED, now=now, detail=_AS_IT_WAS)
    return _expired(crowd, claim)


def _settle_left(crowd: Crowd, claim: Claim) -> Turn | None:
    """Stopped, its agent may have left for it, and who is ephemeral may come under another name.

    So the place is kept until the node is back, or as many are up as before and stay so.
    """
    if availability.up(crowd) < claim.up:
        if claim.back_at is not None:
            return replace(claim, back_at=None), None
        return _expired(crowd, claim)
    return _soaked(crowd, claim, None, detail="the node has left, and as many are up as before")


def _settle_by_word(crowd: Crowd, claim: Claim) -> Turn | None:
    """Done when its holder has said so and it has soaked; nothing is seen of the node."""
    if claim.back_at is None:
        return _expired(crowd, claim)
    # Who is stopped has nothing to soak for, and on the way back nobody waits for it.
    soaks = claim.step is not Step.STOP and is_wanted(crowd, claim)
    if soaks and crowd.now < claim.back_at + crowd.policy.rollout.soak:
        return None
    return ended(claim, ClaimState.DONE, now=crowd.now, detail=claim.detail)


def _expired(crowd: Crowd, claim: Claim) -> Turn | None:
    if crowd.now < claim.expires_at:
        return None
    return ended(claim, ClaimState.EXPIRED, now=crowd.now, detail="it was not renewed in time")


_AS_IT_WAS: Final = (
    "it still uses the former version: does `rotator agent boot` run before it starts?"
)


def is_wanted(crowd: Crowd, claim: Claim) -> bool:
    """Whether its rotation still goes where it went when the node was claimed."""
    rotation = crowd.cluster.rotation
    return (
        rotation is not None and rotation.id == claim.rotation and rotation.target == claim.version
    )


def _over(crowd: Crowd, claim: Claim) -> Turn | None:
    """What ends a claim whatever its node does; one that is restarting has to come back first."""
    now, rotation = crowd.now, crowd.cluster.rotation
    member = crowd.cluster.members.get(claim.node)
    if rotation is None or rotation.id != claim.rotation:
        return ended(claim, ClaimState.EXPIRED, now=now, detail="its rotation has ended")
    is_unknown = member is None and not is_by_word(crowd, claim)
    if is_unknown or (member is not None and member.is_excused):
        detail = "nobody waits for the node any more"
        return ended(claim, ClaimState.EXPIRED, now=now, detail=detail)
    has_left = member is not None and crowd.liveness(member) is Liveness.LEFT
    if has_left and claim.state is ClaimState.CLAIMED:
        return ended(claim, ClaimState.DONE, now=now, detail="the node has left")
    if claim.state is ClaimState.CLAIMED and not is_wanted(crowd, claim):
        return ended(claim, ClaimState.EXPIRED, now=now, detail="the rotation is rolled back")
    return None


def _on_its_version(crowd: Crowd, claim: Claim, member: Member) -> Turn | None:
    if crowd.liveness(member) is Liveness.UNKNOWN:
        return None  # Not heard yet since this leader serves: that says nothing of its health.
    if not availability.is_healthy(crowd, claim, member):
        return None if claim.back_at is None else (replace(claim, back_at=None), None)
    return _soaked(crowd, claim, FactKind.RESTARTED_NODE_BACK)


def _soaked(crowd: Crowd, claim: Claim, kind: FactKind | None, *, detail: str = "") -> Turn | None:
    """Done when it was well for long enough; *kind* says that it is well from now on."""
    now, since = crowd.now, claim.back_at or crowd.now
    if now >= since + crowd.policy.rollout.soak:
        back = replace(claim, back_at=since)
        return ended(back, ClaimState.DONE, now=now, detail=detail)
    return None if claim.back_at else (replace(claim, back_at=since), kind)


def _came_back_as_it_was(crowd: Crowd, claim: Claim, member: Member) -> bool:
    """Whether it is up with another version although its restart has had all its time."""
    if claim.restarting_at is None:
        return False
    has_had_its_time = crowd.now >= claim.restarting_at + crowd.policy.rollout.restart_timeout
    return has_had_its_time and rollout.is_as_it_was(crowd, member)
