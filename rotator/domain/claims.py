"""What happens to claims, as pure changes of a cluster: taken, renewed, given up, settled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rotator.domain import availability, beginning, claim_times, rollout, settlements
from rotator.domain.claim import Claim, ClaimState
from rotator.domain.cluster import Change, Cluster
from rotator.domain.facts import Fact, FactKind
from rotator.domain.steps import SERVICE
from rotator.errors import ClaimLost, Conflict, NotFound, RolloutPaused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rotator.domain.ids import ClaimId, NodeName
    from rotator.domain.liveness import Crowd
    from rotator.domain.settlements import Turn


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
        member = cluster.members.get(node)
        said = member.attestation if member else None
        claim = Claim(
            id=claim_id,
            node=node,
            version=version,
            rotation=rotation.id,
            state=ClaimState.CLAIMED,
            token=cluster.last_claim_token + 1,
            holder=holder,
            step=rollout.step(crowd, node),
            claimed_at=now,
            expires_at=now + crowd.policy.rollout.claim_ttl,
            links=tuple(sorted(n for n in (said.links if said else ()) if n in cluster.members)),
            up=availability.up(crowd),
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
        "step": str(claim.step),
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

    `done` is a request: the claim is done when the member is back, healthy and soaked. Of a node
    without an agent it is believed. `released` is a `Conflict` once the restart has begun.
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
    said, kind = _given_up(crowd, claim, word) or _said(crowd, claim, word)
    facts = [] if kind is None else [_fact(kind, said, by=by, at=crowd.now)]
    cluster = crowd.cluster.with_claim(said)
    if not said.is_open:
        return Change(cluster=cluster, facts=tuple(facts))
    settled = settlements.of(crowd.with_cluster(cluster), said)
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
    ClaimState.RELEASED: "been released",
}


def _given_up(crowd: Crowd, claim: Claim, word: Word) -> Turn | None:
    """Its end by who holds it; None: it goes on."""
    now = crowd.now
    if word.state is ClaimState.FAILED:
        return settlements.ended(
            claim, ClaimState.FAILED, now=now, detail=word.detail or "given up"
        )
    if word.state is ClaimState.RELEASED:
        if claim.state is ClaimState.RESTARTING:
            raise Conflict("its restart has begun: say how it ends, done or failed")
        return settlements.ended(claim, ClaimState.RELEASED, now=now, detail=word.detail)
    return None


def _said(crowd: Crowd, claim: Claim, word: Word) -> Turn:
    now = crowd.now
    if not settlements.is_wanted(crowd, claim):
        raise ClaimLost("the rotation that it was for has ended, or is rolled back")
    if now >= claim.expires_at and not settlements.has_come_back(crowd, claim):
        raise ClaimLost("the claim has expired: do not restart the node for it")
    renewed = replace(claim, expires_at=now + crowd.policy.rollout.claim_ttl)
    if word.state is ClaimState.DONE and settlements.is_by_word(crowd, claim):
        renewed = replace(renewed, back_at=claim.back_at or now, detail=_by_word(claim))
    if word.state is ClaimState.CLAIMED or claim.state is ClaimState.RESTARTING:
        return renewed, None
    if word.state is ClaimState.RESTARTING:
        _may_begin(crowd, claim)
    begun = replace(renewed, state=ClaimState.RESTARTING, restarting_at=now)
    return begun, FactKind.RESTART_BEGUN


def _may_begin(crowd: Crowd, claim: Claim) -> None:
    """Looked at again, since the claim may have waited for long: `ClaimLost`, `RolloutPaused`."""
    never = beginning.why_never(crowd, claim)
    if never is not None:
        raise ClaimLost(f"{never}: do not restart it")
    for blocker in beginning.why_not_now(crowd, claim):
        raise RolloutPaused(f"not now: {blocker.subject}: {blocker.code} ({blocker.detail})")


def _by_word(claim: Claim) -> str:
    return f"by the word of {claim.holder}, not by evidence"


# --- what the service sees ----------------------------------------------------------------


def settle(crowd: Crowd) -> Change | None:
    """What has become of the open claims; None: nothing new."""
    cluster = claim_times.not_ahead(crowd)
    facts = []
    for claim in cluster.open_claims():
        settled = settlements.of(crowd.with_cluster(cluster), claim)
        if settled is not None:
            cluster = cluster.with_claim(settled[0])
            if settled[1] is not None:
                facts.append(_fact(settled[1], settled[0], by=SERVICE, at=crowd.now))
    if cluster is crowd.cluster:
        return None
    return Change(cluster=_pruned(crowd, cluster), facts=tuple(facts))


def forgive(cluster: Cluster) -> Cluster:
    """Let nodes whose restarts came to nothing be tried again."""
    forgiven = {
        claim.id: replace(claim, is_forgiven=True) if claim.came_to_nothing else claim
        for claim in cluster.claims.values()
    }
    return cluster if forgiven == cluster.claims else replace(cluster, claims=forgiven)
