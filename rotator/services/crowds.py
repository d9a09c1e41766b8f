"""Who is there just now: clusters seen with the heartbeats that are still in memory."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rotator.domain.liveness import Crowd
from rotator.domain.policy import RotationPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from rotator.domain.cluster import Cluster
    from rotator.domain.ids import ClusterName, NodeName
    from rotator.ports.state_store import ClusterStates

#: Seconds without the state store after which what it says of heartbeats is old: replicas could
#: not write them either.
OUT_OF_TOUCH: Final = 5.0

#: Seconds between two calls of `Crowds.flush`, so that a shorter node_ttl holds at once.
BEAT: Final = 1.0
#: Seconds that a heartbeat may be in memory alone, whatever node_ttl is.
_LONGEST: Final = 15.0
#: Clusters whose heartbeats are written together; whoever changes one of them waits so long.
_AT_A_TIME: Final = 10

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
        self._unwritten: dict[ClusterName, dict[NodeName, datetime]] = {}
        self._in_touch_at = self._flushed_at = time.monotonic()

    def policy(self, cluster: ClusterName) -> RotationPolicy:
        """The cluster's policy as configured now."""
        return self.policies.get(cluster, _UNDECLARED)

    def heard(self, cluster: ClusterName, node: NodeName, *, at: datetime) -> None:
        """A member has sent a heartbeat."""
        self._seen[cluster, node] = at
        self._unwritten.setdefault(cluster, {})[node] = at

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

    def nobody_heard(self, *, now: datetime) -> None:
        """Nodes cannot be told apart just now, whoever they are: silence is counted anew."""
        self.serving_since = now

    def take(self, policies: Mapping[ClusterName, RotationPolicy], *, now: datetime) -> None:
        """Go by these policies. Where silence is shorter now, it is counted anew.

        Other replicas have noted heartbeats for as long as the former node_ttl let them.
        """
        former, self.policies = self.policies, policies
        if any(
            policies[name].node_ttl < former[name].node_ttl for name in policies.keys() & former
        ):
            self.serving_since = now

    async def beat(self) -> None:
        """`flush` once a third of the shortest node_ttl is over; called each `BEAT`."""
        after = _third(self.policies.values()) - BEAT  # the next beat would be too late
        if time.monotonic() - self._flushed_at >= after:
            await self.flush()

    async def flush(self) -> None:
        """Write the heartbeats that are only in memory, of a few clusters at a time.

        What could not be written stays there, and its turn is the last one.
        """
        began_at, left = time.monotonic(), list(self._unwritten)
        while left:
            writing, left = left[:_AT_A_TIME], left[_AT_A_TIME:]
            heard = {name: self._unwritten.pop(name) for name in writing}
            try:
                await self._states.touch(heard)
            except BaseException:
                for name, nodes in heard.items():
                    self._unwritten[name] = nodes | self._unwritten.pop(name, {})
                raise
        self._flushed_at = began_at


def _third(policies: Iterable[RotationPolicy]) -> float:
    """Seconds: a third of the shortest node_ttl, within bounds."""
    return min([_LONGEST, *(policy.node_ttl.total_seconds() / 3 for policy in policies)])
