"""Whether a restart that was handed out may begin now: much may have changed since it was claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rotator.domain import agentless, rollout, settlements
from rotator.domain.availability import GONE, why_unavailable
from rotator.domain.cluster import Blocker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rotator.domain.claim import Claim
    from rotator.domain.liveness import Crowd


def why_never(crowd: Crowd, claim: Claim) -> str | None:
    """Why its node needs no restart for it any more; None: it still does."""
    member = crowd.cluster.members.get(claim.node)
    if settlements.has_come_back(crowd, claim):
        return f"the node uses version {claim.version} already"
    if rollout.target(crowd) != claim.version:
        return "nodes are not restarted for its version any more"
    if member is not None and crowd.liveness(member) in GONE:
        return "nobody waits for the node any more"
    return None


def why_not_now(crowd: Crowd, claim: Claim) -> Iterator[Blocker]:
    """What keeps its node from going down just now, and may pass.

    Its place in the restarts of the hour it has already.
    """
    yield from (b for b in rollout.holding(crowd) if b.code != "restart_budget")
    member = crowd.cluster.members.get(claim.node)
    if member is None and agentless.goes_first(crowd, claim.node):
        return  # It is down anyhow, or all of them are to be: whoever else is down does not matter.
    why = None if member is None else why_unavailable(crowd, member)
    if why is not None:
        detail = f"it is not known to be up: {why}"
        yield Blocker(code="not_up", subject=claim.node, detail=detail)
    yield from rollout.crowded(crowd, but=claim)
