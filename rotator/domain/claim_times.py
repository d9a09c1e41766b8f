"""Claims by a clock that does not go on as time does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rotator.domain import steps
from rotator.domain.cluster import Change

if TYPE_CHECKING:
    from datetime import timedelta

    from rotator.domain.cluster import Cluster
    from rotator.domain.liveness import Crowd


def not_ahead(crowd: Crowd) -> Cluster:
    """With no claim in the future, where a clock that went back leaves what was written before.

    Nobody would lose a claim, and no node be named, for as long as it went back.
    """
    now, cluster = crowd.now, crowd.cluster
    latest = now + crowd.policy.rollout.claim_ttl
    for claim in cluster.claims.values():
        until = min(claim.expires_at, latest) if claim.is_open else claim.expires_at
        seen = replace(
            claim,
            claimed_at=min(claim.claimed_at, now),
            expires_at=until,
            restarting_at=claim.restarting_at and min(claim.restarting_at, now),
            back_at=claim.back_at and min(claim.back_at, now),
            ended_at=claim.ended_at and min(claim.ended_at, now),
        )
        cluster = cluster if seen == claim else cluster.with_claim(seen)
    return cluster


def after_jump(crowd: Crowd, *, jump: timedelta) -> Change | None:
    """What a jump of the clock changes: windows that run, and claims, whose time counts on.

    Who holds one gets all of its `claim_ttl` anew. None: nothing.
    """
    cluster = crowd.cluster
    for claim in cluster.open_claims():
        moved = replace(
            claim,
            claimed_at=claim.claimed_at + jump,
            expires_at=crowd.now + crowd.policy.rollout.claim_ttl,
            restarting_at=claim.restarting_at and claim.restarting_at + jump,
            back_at=claim.back_at and claim.back_at + jump,
        )
        cluster = cluster.with_claim(moved)
    cluster = not_ahead(crowd.with_cluster(cluster))
    change = steps.restart_window(crowd.with_cluster(cluster), jump=jump)
    return Change(cluster=cluster) if change is None and cluster is not crowd.cluster else change
