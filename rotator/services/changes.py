"""The one way in which a command changes a cluster: load, decide, check, save, tell.

A decision is a function of domain values; it is made anew whenever somebody else was quicker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from rotator.domain import invariants
from rotator.errors import NotConfiguredHere, NotFound, RevisionConflict, StateUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rotator.domain.actions import Line
    from rotator.domain.cluster import Change, Cluster
    from rotator.domain.ids import ClusterName
    from rotator.domain.liveness import Crowd
    from rotator.domain.rotation import Rotation
    from rotator.ports.state_store import ClusterStates, Receipt
    from rotator.ports.wakeups import Wakeups
    from rotator.services.crowds import Crowds
    from rotator.services.turns import Turns

_ATTEMPTS: Final = 50  #: against others that change the same cluster at the same time
_LOOKS: Final = 50  #: at what the reconciler is to do
_LOOK_SECONDS: Final = 0.1  #: between two of them, at most


class ReceiptFor(Protocol):
    """Makes the answer that is stored in the same transaction as the change."""

    def __call__(self, cluster: Cluster, rotation: Rotation | None) -> Receipt:
        """The receipt for this outcome."""
        ...


class Poke(Protocol):
    """Tells the reconciler to look."""

    def __call__(self, cluster: ClusterName) -> None:
        """Look at this cluster at once."""
        ...


class Changes:
    """Writes what was decided by compare-and-set on the cluster's revision."""

    def __init__(
        self,
        *,
        states: ClusterStates,
        crowds: Crowds,
        wakeups: Wakeups,
        poke: Poke,
        turns: Turns,
    ) -> None:
        self._turns = turns
        self.states = states
        self.crowds = crowds
        self._wakeups = wakeups
        self._poke = poke

    async def crowd(self, name: ClusterName) -> Crowd:
        """The cluster and its members now; `NotFound`, `NotConfiguredHere`."""
        cluster = await self.states.load(name)
        if cluster is None:
            raise NotFound(f"there is no cluster {name}; is it in the configuration?")
        if cluster.is_declared and name not in self.crowds.policies:
            # Its master and its limits are in the leader's file: nothing stands in for them.
            raise NotConfiguredHere
        return self.crowds.of(cluster, now=await self.states.now())

    async def make(
        self,
        name: ClusterName,
        decide: Callable[[Crowd], Change],
        *,
        line: Line | None = None,
        receipt: ReceiptFor | None = None,
    ) -> Cluster:
        """Carry out what *decide* says of the cluster as it is; the cluster after that.

        Raises what *decide* raises, `NotFound`, `InvariantViolated`, `StateUnavailable`.
        """
        async with self._turns.of(name):
            return await self._make(name, decide, line=line, receipt=receipt)

    async def _make(
        self,
        name: ClusterName,
        decide: Callable[[Crowd], Change],
        *,
        line: Line | None,
        receipt: ReceiptFor | None,
    ) -> Cluster:
        for _ in range(_ATTEMPTS):
            crowd = await self.crowd(name)
            change = decide(crowd)
            invariants.check(crowd, change)
            answer = receipt(change.cluster, change.cluster.rotation) if receipt else None
            if answer is None and not change.facts and change.cluster == crowd.cluster:
                return crowd.cluster
            try:
                saved = await self.states.save(
                    crowd.cluster, change, line=line or "", receipt=answer
                )
            except RevisionConflict:
                continue
            finally:
                # Also after a lost answer: the reconciler looks, and wakes who waits.
                self._poke(name)
            await self._wakeups.notify(name)
            return saved
        raise StateUnavailable("too many changes of this cluster at the same time; try again")

    async def until(
        self, name: ClusterName, condition: Callable[[Cluster], bool]
    ) -> Cluster | None:
        """The cluster once the reconciler has brought this about; None if that takes too long."""
        for _ in range(_LOOKS):
            self._poke(name)
            cluster = (await self.crowd(name)).cluster
            if condition(cluster):
                return cluster
            await self._wakeups.wait(name, seconds=_LOOK_SECONDS)
        return None
