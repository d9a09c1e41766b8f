"""What happens to claims, as pure changes of a cluster: taken, renewed, given up, settled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rotator.domain import availability, rollout
from rotator.domain.claim import Claim, ClaimState
from rotator.domain.cluster import Change, Cluster
from rotator.domain.facts import Fact, FactKind
from rotator.domain.liveness import Liveness
from rotator.domain.steps import SERVICE
from rotator.errors import ClaimLost, NotFound, RolloutPaused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rotator.domain.cluster import Member
    from rotator.domain.ids import ClaimId, NodeName
    from rotator.domain.liveness import Crowd

#: How a claim goes on, and the fact that says so; None: it is not worth one.
_Turn = tuple[Claim, FactKind | None]

_ENDS = {
    ClaimState.DONE: FactKind.RESTART_DONE,
    ClaimState.FAILED: FactKind.RESTART_FAILED,
    ClaimState.EXPIRED: FactKind.RESTART_CLAIM_EXPIRED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What the holder of a claim says of it."""

    state: ClaimState
    token: int
    detail: str = ""


def take(
    crowd: Crowd,
    *,
    by: str,
    holder: str,
    ids: Sequence[ClaimId],
    among: frozenset[NodeName] | None = None,
) -> Change:
    """Hand out as many claims as there are *ids*, or as may be; `Change` without facts: none.

    *among*: only these nodes. The tokens go on from the highest that the cluster ever gave out.
    """
    cluster, rotation, now = crowd.cluster, crowd.cluster.rotation, crowd.now
    version = rollout.target(crowd)
    if rotation is None or version is None:
        return Change(cluster=cluster)
    ready = [n for n in rollout.claimable(crowd) if among is None or n in among]
    facts = []
    for claim_id, node in zip(ids, ready, strict=False):
        said = cluster.members[node].attestation
        claim = Claim(
            id=claim_id,
            node=node,
            version=version,
            rotation=rotation.id,
            state=ClaimState.CLAIMED,
            token=cluster.last_claim_token + 1,
            holder=holder,
            claimed_at=now,
            expires_at=now + crowd.policy.rollout.claim_ttl,
            links=tuple(sorted(n for n in (said.links if said else ()) if n in cluster.members)),
        )
        cluster = replace(cluster.with_claim(claim), last_claim_token=claim.token)
        facts.append(_fact(FactKind.RESTART_CLAIMED, claim, by=by, at=now))
    if not facts:
        return Change(cluster=crowd.cluster)
    return Change(cluster=_pruned(crowd, cluster), facts=tuple(facts))


def _pruned(crowd: Crowd, cluster: Cluster) -> Cluster:
    """Without those that no decision depends on any more."""
    rotation = cluster.rotation
    kept = {
        claim.id: claim
        for claim in cluster.claims.values()
        if claim.is_open
        or (rotation is not None and claim.rotation == rotation.id)
        or crowd.now - claim.claimed_at < rollout.HOUR
    }
    return replace(cluster, claims=kept)


def _fact(kind: FactKind, claim: Claim, *, by: str, at: datetime) -> Fact:
    details = {
        "node": claim.node,
        "claim": claim.id,
        "token": claim.token,
        "holder": claim.holder,
        "detail": claim.detail,
    }
    return Fact(
        kind=kind,
        at=at,
        by=by,
        rotation=claim.rotation,
        version=claim.version,
        details=details,
    )


# --- what its holder says -----------------------------------------------------------------


def change(crowd: Crowd, claim_id: ClaimId, word: Word, *, by: str) -> Change:
    """Renew a claim, say how far it is, or give it up; `ClaimLost`, `RolloutPaused`, `NotFound`.

    `done` is a request: the claim is done when the member is back, healthy and soaked.
    """
    claim = crowd.cluster.claims.get(claim_id)
    if claim is None:
        raise NotFound("there is no such claim, or it is long over")
    if word.token != claim.token:
        raise ClaimLost("the fencing token is not that of this claim")
    if not claim.is_open:
        if claim.state is word.state:
            return Change(cluster=crowd.cluster)  # It is said again: the answer was lost.
        raise ClaimLost(f"the claim has {_ENDED[claim.state]}: do not restart the node for it")
    said, kind = _said(crowd, claim, word)
    facts = [] if kind is None else [_fact(kind, said, by=by, at=crowd.now)]
    cluster = crowd.cluster.with_claim(said)
    if not said.is_open:
        return Change(cluster=cluster, facts=tuple(facts))
    settled = _settle_one(crowd.with_cluster(cluster), said)
    if settled is not None:
        cluster = cluster.with_claim(settled[0])
        facts += (
            [] if settled[1] is None else [_fact(settled[1], settled[0], by=SERVICE, at=crowd.now)]
        )
    return Change(cluster=cluster, facts=tuple(facts))


_ENDED = {
    ClaimState.DONE: "been carried out",
    ClaimState.FAILED: "failed",
    ClaimState.EXPIRED: "expired",
}


def _said(crowd: Crowd, claim: Claim, word: Word) -> _Turn:
    now, rotation = crowd.now, crowd.cluster.rotation
    if word.state is ClaimState.FAILED:
        return _ended(claim, ClaimState.FAILED, now=now, detail=word.detail or "given up")
    if rotation is None or not _is_wanted(crowd, claim):
        raise ClaimLost("the rotation that it was for has ended, or is rolled back")
    if now >= claim.expires_at and not _has_come_back(crowd, claim):
        raise ClaimLost("the claim has expired: do not restart the node for it")
    renewed = replace(claim, expires_at=now + crowd.policy.rollout.claim_ttl)
    if word.state is ClaimState.CLAIMED or claim.state is ClaimState.RESTARTING:
        return renewed, None
    if word.state is ClaimState.RESTARTING and rotation.is_held:
        raise RolloutPaused
    begun = replace(renewed, state=ClaimState.RESTARTING, restarting_at=now)
    return begun, FactKind.RESTART_BEGUN


def _has_come_back(crowd: Crowd, claim: Claim) -> bool:
    member = crowd.cluster.members.get(claim.node)
    return member is not None and availability.is_back(crowd, member, claim.version)


def _ended(claim: Claim, state: ClaimState, *, now: datetime, detail: str = "") -> _Turn:
    return replace(claim, state=state, ended_at=now, detail=detail), _ENDS[state]


# --- what the service sees ----------------------------------------------------------------


def settle(crowd: Crowd) -> Change | None:
    """What has become of the open claims; None: nothing new."""
    cluster = crowd.cluster
    facts = []
    for claim in cluster.open_claims():
        settled = _settle_one(crowd.with_cluster(cluster), claim)
        if settled is not None:
            cluster = cluster.with_claim(settled[0])
            if settled[1] is not None:
                facts.append(_fact(settled[1], settled[0], by=SERVICE, at=crowd.now))
    if cluster is crowd.cluster:
        return None
    return Change(cluster=_pruned(crowd, cluster), facts=tuple(facts))


def _settle_one(crowd: Crowd, claim: Claim) -> _Turn | None:
    over = _over(crowd, claim)
    if over is not None:
        return over
    member, now = crowd.cluster.members[claim.node], crowd.now
    if _is_wanted(crowd, claim):
        if availability.is_back(crowd, member, claim.version):
            return _on_its_version(crowd, claim, member)
        if claim.back_at is not None:
            return replace(claim, back_at=None), None  # It has gone down again.
        if _came_back_as_it_was(crowd, claim, member):
            return _ended(claim, ClaimState.FAILED, now=now, detail=_AS_IT_WAS)
    if now >= claim.expires_at:
        return _ended(claim, ClaimState.EXPIRED, now=now, detail="it was not renewed in time")
    return None


_AS_IT_WAS: Final = (
    "it still uses the former version: does `rotator agent boot` run before it starts?"
)


def _is_wanted(crowd: Crowd, claim: Claim) -> bool:
    """Whether its rotation still goes where it went when the node was claimed."""
    rotation = crowd.cluster.rotation
    return (
        rotation is not None and rotation.id == claim.rotation and rotation.target == claim.version
    )


def _over(crowd: Crowd, claim: Claim) -> _Turn | None:
    """What ends a claim whatever its node does; one that is restarting has to come back first."""
    now, rotation = crowd.now, crowd.cluster.rotation
    member = crowd.cluster.members.get(claim.node)
    if rotation is None or rotation.id != claim.rotation:
        return _ended(claim, ClaimState.EXPIRED, now=now, detail="its rotation has ended")
    liveness = None if member is None else crowd.liveness(member)
    if member is None or liveness is Liveness.EXCUSED:
        detail = "nobody waits for the node any more"
        return _ended(claim, ClaimState.EXPIRED, now=now, detail=detail)
    if liveness is Liveness.LEFT:
        return _ended(claim, ClaimState.DONE, now=now, detail="the node has left")
    if claim.state is ClaimState.CLAIMED and not _is_wanted(crowd, claim):
        return _ended(claim, ClaimState.EXPIRED, now=now, detail="the rotation is rolled back")
    return None


def _on_its_version(crowd: Crowd, claim: Claim, member: Member) -> _Turn | None:
    now = crowd.now
    if crowd.liveness(member) is Liveness.UNKNOWN:
        return None  # Not heard yet since this leader serves: that says nothing of its health.
    if not availability.is_healthy(crowd, claim, member):
        return None if claim.back_at is None else (replace(claim, back_at=None), None)
    back = claim if claim.back_at is not None else replace(claim, back_at=now)
    if back.back_at is not None and now >= back.back_at + crowd.policy.rollout.soak:
        return _ended(back, ClaimState.DONE, now=now)
    return None if back is claim else (back, FactKind.RESTARTED_NODE_BACK)


def _came_back_as_it_was(crowd: Crowd, claim: Claim, member: Member) -> bool:
    """Whether it is up with another version although its restart has had all its time."""
    if claim.restarting_at is None:
        return False
    has_had_its_time = crowd.now >= claim.restarting_at + crowd.policy.rollout.restart_timeout
    return has_had_its_time and rollout.is_as_it_was(crowd, member)


def forgive(cluster: Cluster) -> Cluster:
    """Let nodes whose restarts came to nothing be tried again."""
    forgiven = {
        claim.id: replace(claim, is_forgiven=True) if claim.came_to_nothing else claim
        for claim in cluster.claims.values()
    }
    return cluster if forgiven == cluster.claims else replace(cluster, claims=forgiven)
