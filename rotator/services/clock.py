"""When the wall clock jumps: a window that runs begins anew, and silence is counted anew."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rotator.domain import claim_times, invariants

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

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
        self._wall = crowds.serving_since
        self._read_monotonic = monotonic  #: seconds
        self._monotonic = monotonic()
        self._jumps = timedelta()  #: all together
        self._noted: defaultdict[ClusterName, timedelta] = defaultdict(timedelta)

    def jumped(self, now: datetime) -> bool:
        """Whether the clock has jumped since the last call: every cluster is to be looked at.

        *now* is the state store's, as just read.
        """
        monotonic = self._read_monotonic()
        self._crowds.in_touch(now=now)
        jump = (now - self._wall) - timedelta(seconds=monotonic - self._monotonic)
        self._wall, self._monotonic = now, monotonic
        if abs(jump) <= TOLERANCE:
            return False
        log.warning("clock jumped", extra={"seconds": round(jump.total_seconds())})
        self._crowds.serving_since = now
        self._jumps += jump
        return True

    def is_noted(self, name: ClusterName) -> bool:
        """Whether `restart_window` has nothing to take note of."""
        return self._noted[name] == self._jumps

    async def restart_window(self, crowd: Crowd) -> bool:
        """Whether the cluster had a jump to take note of; its running window begins anew then, and claims run on."""
        name, jumps = crowd.cluster.name, self._jumps
        if self.is_noted(name):
            return False
        now = await self._states.now()
        change = claim_times.after_jump(replace(crowd, now=now), jump=jumps - self._noted[name])
        if change is not None:
            invariants.check(crowd, change)
            await self._states.save(crowd.cluster, change, fence=self._fence)
        self._noted[name] = jumps
        return True
