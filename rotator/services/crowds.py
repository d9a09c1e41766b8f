"""Who is there just now: clusters seen with the heartbeats that are still in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rotator.domain.liveness import Crowd
from rotator.domain.policy import RotationPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from rotator.domain.cluster import Cluster
    from rotator.domain.ids import ClusterName, NodeName
    from rotator.ports.state_store import ClusterStates

#: Of a cluster that is not declared any more: nothing is decided for it, it is shown.
_UNDECLARED = RotationPolicy(expect=None)


class Crowds:
    """Policies, heartbeats in memory, and since when this process serves.

    A heartbeat without news is only noted here and written now and then (`flush`), so that a
    fleet's heartbeats do not become a stream of transactions.
    """

    def __init__(
        self,
        states: ClusterStates,
        policies: Mapping[ClusterName, RotationPolicy],
        *,
        serving_since: datetime,
    ) -> None:
        self._states = states
        self.policies = policies
        self.serving_since = serving_since
        self._seen: dict[tuple[ClusterName, NodeName], datetime] = {}
        self._unwritten: set[tuple[ClusterName, NodeName]] = set()

    def policy(self, cluster: ClusterName) -> RotationPolicy:
        """The cluster's policy as configured now."""
        return self.policies.get(cluster, _UNDECLARED)

    def heard(self, cluster: ClusterName, node: NodeName, *, at: datetime) -> None:
        """A member has sent a heartbeat."""
        self._seen[cluster, node] = at
        self._unwritten.add((cluster, node))

    def of(self, cluster: Cluster, *, now: datetime) -> Crowd:
        """The cluster's members as of *now*."""
        members = {
            name: replace(member, last_seen=self._seen[cluster.name, name])
            if self._seen.get((cluster.name, name), member.last_seen) > member.last_seen
            else member
            for name, member in cluster.members.items()
        }
        return Crowd(
            cluster=replace(cluster, members=members),
            policy=self.policy(cluster.name),
            now=now,
            serving_since=self.serving_since,
        )

    async def flush(self) -> None:
        """Write the heartbeats that are only in memory."""
        writing, self._unwritten = self._unwritten, set()
        if writing:
            await self._states.touch({key: self._seen[key] for key in writing})
