"""Rollouts and claims as the wire contract says them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rotator.api.mapping import instant
from rotator.domain import agentless, meaning
from rotator.domain.claim import Step
from rotator.protocol import v1

if TYPE_CHECKING:
    from datetime import datetime

    from rotator.domain.claim import Claim
    from rotator.domain.cluster import Blocker, Cluster
    from rotator.domain.ids import NodeName
    from rotator.services.claims import RolloutReport

_HOT = "hot"


def rollout(report: RolloutReport) -> v1.Rollout:
    """A rollout; its revision is the cluster's."""
    crowd, outlook = report.crowd, report.outlook
    cluster, policy = crowd.cluster, crowd.policy
    rotation = cluster.rotation
    return v1.Rollout(
        cluster=cluster.name,
        revision=cluster.revision,
        strategy=str(policy.rollout.strategy) if policy.restarts else _HOT,
        rotation=rotation.id if rotation else None,
        phase=str(rotation.phase) if rotation else None,
        version=outlook.version,
        is_paused=rotation is not None and rotation.is_held,
        max_unavailable=policy.rollout.max_unavailable,
        next=[_step(report, node, outlook.version) for node in outlook.next if outlook.version],
        under_way=[claim(one, now=crowd.now) for one in cluster.open_claims()],
        waiting=[_wait(cluster, blocker) for blocker in outlook.waiting],
        unavailable=[str(name) for name in outlook.unavailable],
        restarted=outlook.restarted,
        members=outlook.members,
        without_agent=[str(name) for name in agentless.names(crowd)],
        notes=list(meaning.notes(crowd)),
    )


def _step(report: RolloutReport, node: NodeName, version: int) -> v1.RolloutStep:
    rotation, step = report.crowd.cluster.rotation, report.outlook.next[node]
    back = " again" if rotation is not None and rotation.is_rollback else ""
    reason = f"its next start takes version {version}{back}"
    if step is Step.STOP:
        reason = "none starts before all are stopped"
    return v1.RolloutStep(node=node, version=version, reason=reason, step=str(step))


def _wait(cluster: Cluster, blocker: Blocker) -> v1.RolloutWait:
    wanted = (blocker.code, blocker.subject)
    known = {(s.blocker.code, s.blocker.subject): s.since for s in cluster.blockers}
    since = known.get(wanted)
    node = blocker.subject if "@" in blocker.subject else ""
    return v1.RolloutWait(
        node=node,
        code=blocker.code,
        detail=blocker.detail,
        since=None if since is None else instant(since),
    )


def claim(one: Claim, *, now: datetime) -> v1.Claim:
    """A claim, with how long it lasts from *now* on."""
    left = max(0.0, (one.expires_at - now).total_seconds()) if one.is_open else 0.0
    return v1.Claim(
        id=one.id,
        node=one.node,
        version=one.version,
        rotation=one.rotation,
        state=str(one.state),
        token=one.token,
        holder=one.holder,
        step=str(one.step),
        claimed_at=instant(one.claimed_at),
        expires_at=instant(one.expires_at),
        seconds_left=round(left, 3),
        back_at=None if one.back_at is None else instant(one.back_at),
        ended_at=None if one.ended_at is None else instant(one.ended_at),
        detail=one.detail,
    )
