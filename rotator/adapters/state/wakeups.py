"""Wake-ups within one process. Other replicas are told by the database, where there are any."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rotator.domain.ids import ClusterName


class LocalWakeups:
    """`ports.wakeups.Wakeups`: a set of waiting futures per cluster, and one for any."""

    def __init__(self) -> None:
        self._waiting: dict[ClusterName | None, set[asyncio.Future[None]]] = {}

    async def notify(self, cluster: ClusterName) -> None:
        """See the port."""
        self.wake(cluster)

    def wake(self, cluster: ClusterName) -> None:
        """Whoever waits for this cluster, or for any."""
        for name in (cluster, None):
            for future in self._waiting.pop(name, ()):
                if not future.done():
                    future.set_result(None)

    def wake_all(self) -> None:
        """Whoever waits."""
        for name in tuple(self._waiting):
            if name is not None:
                self.wake(name)
        for future in self._waiting.pop(None, ()):
            if not future.done():
                future.set_result(None)

    async def wait(self, cluster: ClusterName | None, *, seconds: float) -> bool:
        """See the port."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(cluster, set()).add(future)
        try:
            await asyncio.wait_for(future, seconds)
        except TimeoutError:
            return False
        finally:
            self._forget(cluster, future)
        return True

    def _forget(self, cluster: ClusterName | None, future: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(cluster, set())
        waiting.discard(future)
        if not waiting:
            self._waiting.pop(cluster, None)
