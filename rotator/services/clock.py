"""When the wall clock jumps: a window that runs begins anew, and silence is counted anew."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rotator.domain import invariants, steps
from rotator.errors import RotatorError

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
        self._wall = crowds.serving_since
        self._read_monotonic = monotonic  #: seconds
        self._monotonic = monotonic()
        self._jumps: dict[ClusterName, timedelta] = {}

    async def jumped(self) -> Sequence[ClusterName]:
        """The clusters to look at because the clock has jumped since the last call; else none."""
        now = await self._states.now()
        monotonic = self._read_monotonic()
        self._crowds.in_touch(now=now)
        jump = (now - self._wall) - timedelta(seconds=monotonic - self._monotonic)
        self._wall, self._monotonic = now, monotonic
        if abs(jump) <= TOLERANCE:
            return ()
        log.warning("clock jumped", extra={"seconds": round(jump.total_seconds())})
        self._crowds.serving_since = now
        names = await self._states.names()
        for name in names:
            self._note(name, jump)
        return names

    def _note(self, name: ClusterName, jump: timedelta) -> None:
        self._jumps[name] = self._jumps.get(name, timedelta()) + jump

    async def restart_window(self, crowd: Crowd) -> bool:
        """Whether the cluster had a jump to take note of; its running window begins anew then."""
        name = crowd.cluster.name
        jump = self._jumps.pop(name, None)
        if jump is None:
            return False
        try:
            now = await self._states.now()
            change = steps.restart_window(replace(crowd, now=now), jump=jump)
            if change is not None:
                invariants.check(crowd, change)
                await self._states.save(crowd.cluster, change, fence=self._fence)
        except RotatorError:
            self._note(name, jump)
            raise
        return True
