"""Restarts that came to nothing, or take too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rotator.domain.claim import Claim
    from rotator.domain.cluster import Cluster
    from rotator.domain.ids import NodeName, VersionNumber
    from rotator.domain.liveness import Crowd


def is_late(crowd: Crowd, claim: Claim, node: NodeName) -> bool:
    """Whether this is a restart of *node* that should have ended by now."""
    if claim.node != node or claim.restarting_at is None:
        return False
    return crowd.now >= claim.restarting_at + crowd.policy.rollout.restart_timeout


def attempts(cluster: Cluster, node: NodeName, version: VersionNumber) -> tuple[Claim, ...]:
    """Restarts of a node in this rotation that did not bring it back with *version*, by token."""
    rotation = cluster.rotation
    found = (
        claim
        for claim in cluster.claims.values()
        if rotation is not None and claim.rotation == rotation.id and claim.node == node
    )
    return tuple(
        sorted(
            (claim for claim in found if claim.version == version and claim.came_to_nothing),
            key=lambda claim: claim.token,
        )
    )
