"""What a cluster waits for, kept with since when."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from rotator.domain import steps
from rotator.domain.cluster import Blocker, Change, Standing
from rotator.domain.facts import Fact, FactKind

if TYPE_CHECKING:
    from rotator.domain.ids import Fence
    from rotator.domain.liveness import Crowd
    from rotator.ports.state_store import ClusterStates

log = logging.getLogger(__name__)


class Standings:
    """Writes blockers where they have changed; freezing and thawing are facts."""

    def __init__(self, *, states: ClusterStates, fence: Fence) -> None:
        self._states = states
        self._fence = fence

    async def keep(self, crowd: Crowd, blockers: tuple[Blocker, ...]) -> None:
        """These, and no others, block the cluster now."""
        cluster = crowd.cluster
        # What is said about it may change; since when it blocks does not.
        since = {(s.blocker.code, s.blocker.subject): s.since for s in cluster.blockers}
        standings = tuple(
            Standing(blocker=b, since=since.get((b.code, b.subject), crowd.now)) for b in blockers
        )
        if standings == cluster.blockers:
            return
        was, is_now = _frozen_by(cluster.blockers), _frozen_by(standings)
        standing = replace(cluster, blockers=standings)
        if was == is_now:
            await self._states.stand(standing, fence=self._fence)
            return
        kind = FactKind.CLUSTER_FROZEN if is_now else FactKind.CLUSTER_THAWED
        fact = Fact(kind=kind, at=crowd.now, by=steps.SERVICE, details={"code": is_now or was})
        log.warning("%s", kind, extra={"cluster": cluster.name, "code": is_now or was})
        await self._states.save(cluster, Change(cluster=standing, facts=(fact,)), fence=self._fence)

    async def fail(self, crowd: Crowd, blocker: Blocker) -> None:
        """A pass has failed, and this is why.

        A frozen cluster stays frozen: only a pass that has read the document can thaw it.
        """
        standing = (s.blocker for s in crowd.cluster.blockers)
        frozen = tuple(b for b in standing if b.subject == "frozen")
        await self.keep(crowd, (*frozen, blocker))


def _frozen_by(standings: tuple[Standing, ...]) -> str | None:
    return next((s.blocker.code for s in standings if s.blocker.subject == "frozen"), None)
