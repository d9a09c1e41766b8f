"""When the wall clock jumps: a window that runs begins anew, and silence is counted anew."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rotator.domain import invariants, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rotator.domain.ids import ClusterName, Fence
    from rotator.domain.liveness import Crowd
    from rotator.ports.state_store import ClusterStates
    from rotator.services.crowds import Crowds

log = logging.getLogger(__name__)

TOLERANCE: Final = timedelta(minutes=5)


class Clock:
    """The wall clock beside the monotonic one."""

    def __init__(
        self,
        *,
        states: ClusterStates,
        crowds: Crowds,
        fence: Fence,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._states = states
        self._crowds = crowds
        self._fence = fence
        self.wall = crowds.serving_since  #: as last looked at
        self._read_monotonic = monotonic  #: seconds
        self._monotonic = monotonic()
        self._jumps = timedelta()  #: all of them together
        self._noted: dict[ClusterName, timedelta] = {}  #: how much of that each cluster knows of

    async def jumped(self) -> Sequence[ClusterName]:
        """The clusters to look at because the clock has jumped since the last call; else none."""
        now = await self._states.now()
        monotonic = self._read_monotonic()
        self._crowds.in_touch(now=now)
        jump = (now - self.wall) - timedelta(seconds=monotonic - self._monotonic)
        self.wall, self._monotonic = now, monotonic
        if abs(jump) <= TOLERANCE:
            return ()
        log.warning("clock jumped", extra={"seconds": round(jump.total_seconds())})
        self._jumps += jump
        self._crowds.serving_since = now
        return await self._states.names()

    def has_jumped(self, cluster: ClusterName) -> bool:
        """Whether the cluster has a jump to take note of before anything is decided about it."""
        return self._noted.get(cluster, timedelta()) != self._jumps

    async def restart_window(self, crowd: Crowd) -> bool:
        """Whether the cluster had a jump to take note of; its running window begins anew then."""
        name = crowd.cluster.name
        if not self.has_jumped(name):
            return False
        jumps = self._jumps
        jump = jumps - self._noted.get(name, timedelta())
        now = await self._states.now()
        change = steps.restart_window(replace(crowd, now=now), jump=jump)
        if change is not None:
            invariants.check(crowd, change)
            await self._states.save(crowd.cluster, change, fence=self._fence)
        self._noted[name] = jumps
        return True
