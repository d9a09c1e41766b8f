"""Who is there just now: clusters seen with the heartbeats that are still in memory."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rotator.domain.liveness import Crowd
from rotator.domain.policy import RotationPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from rotator.domain.cluster import Cluster
    from rotator.domain.ids import ClusterName, NodeName
    from rotator.ports.state_store import ClusterStates

#: Seconds without the state store after which what it says of heartbeats is old: replicas could
#: not write them either.
OUT_OF_TOUCH: Final = 5.0

#: Of a cluster that the file does not declare: nothing is decided for it, it is shown.
_UNDECLARED = RotationPolicy(expect=None)


class Crowds:
    """Policies, heartbeats in memory, and since when this process serves.

    A heartbeat without news is only noted here and written now and then (`flush`), so that a
    fleet's heartbeats do not become a stream of transactions. The replica that decides who is lost
    reads what the others have written; that comes within a third of the shortest node_ttl.
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
        self._in_touch_at = time.monotonic()

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

    def in_touch(self, *, now: datetime) -> None:
        """The state store has answered; after a pause silence is counted anew.

        The pause may have been of the store, or of this process: nobody could be heard in it.
        """
        moment = time.monotonic()
        if moment - self._in_touch_at > OUT_OF_TOUCH:
            self.serving_since = now
        self._in_touch_at = moment

    async def flush(self) -> None:
        """Write the heartbeats that are only in memory; what could not be written stays there."""
        writing, self._unwritten = self._unwritten, set()
        if not writing:
            return
        try:
            await self._states.touch({key: self._seen[key] for key in writing})
        except BaseException:
            self._unwritten |= writing
            raise
