"""Whether this replica leads, and its reconciler while it does.

Every replica serves the API; one reconciles. A follower looks often whether the lease is free, a
leader renews it, and both only by the database's clock. A leader that could not renew in time ends
its term by its own monotonic clock, and is a follower again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rotator.errors import AnotherProcess, FenceLost, RotatorError, StateUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rotator.domain.ids import ClusterName, Fence
    from rotator.ports.state_store import ClusterStates, Lease
    from rotator.services.crowds import Crowds
    from rotator.services.reconciler import Reconciler

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0  #: between two looks whether the lease is free
_LAST_STEPS_SECONDS: Final = 0.5  #: for passes under way when the lease is given back
_RELEASE_SECONDS: Final = 1.0


class Leadership:
    """Takes the lease, renews it, and gives it back."""

    def __init__(
        self,
        *,
        lease: Lease,
        states: ClusterStates,
        crowds: Crowds,
        begin: Callable[[Fence], Awaitable[Reconciler]],
        on_lost: Callable[[], None],
    ) -> None:
        self._lease = lease
        self._states = states
        self._crowds = crowds
        self._begin = begin
        self._on_lost = on_lost
        self._reconciler: Reconciler | None = None
        self._ends_at = 0.0  #: of the lease, on the monotonic clock
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_resigned = False
        self._is_cut_off = False
        self.leader: str | None = None  #: who led when last looked, for people
        self.has_lost = False  #: a lease that nobody else may have beside this process

    @property
    def is_leading(self) -> bool:
        """Whether this replica reconciles."""
        return self._reconciler is not None and self.may_act()

    @property
    def fence(self) -> int:
        """The fencing token of this replica's term; 0 while it does not lead."""
        return 0 if self._reconciler is None else int(self._reconciler.fence)

    @property
    def is_shared(self) -> bool:
        """Whether other replicas may wait for the lease."""
        return self._lease.life is not None

    def may_act(self) -> bool:
        """Whether the lease lasts, as far as this process can know without asking."""
        return not self.is_shared or time.monotonic() < self._ends_at

    async def newest_fence(self) -> Fence:
        """The fencing token of whoever leads; `StateUnavailable`."""
        return (await self._lease.look()).fence

    async def start(self) -> None:
        """Lead, or wait for it; `AnotherProcess` if there can be no other replica to wait for."""
        if not self.is_shared:
            await self._take()
            return
        await self._step()
        self._task = asyncio.get_running_loop().create_task(self._go_on())

    def poke(self, cluster: ClusterName) -> None:
        """The reconciler looks at this cluster at once, if it is here; another one was told."""
        if self._reconciler is not None:
            self._reconciler.poke(cluster)

    def cluster_has_changed(self, cluster: ClusterName | None) -> None:
        """Another replica has changed it; None: any may have changed."""
        if self._reconciler is None:
            return
        if cluster is None:
            self._reconciler.look_at_all()
        else:
            self._reconciler.poke(cluster)

    def lease_is_free(self) -> None:
        """Try to take it at once."""
        self._woken.set()

    async def tick(self) -> None:
        """Look at every cluster that is due, if this replica leads."""
        if self._reconciler is not None:
            await self._reconciler.tick()

    async def resign(self) -> None:
        """End the term and give back the lease, within two seconds where others wait for it.

        What a pass still writes after that goes by the old token: it is refused from the moment
        that another replica has taken the lease.
        """
        self._is_resigned = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        reconciler, self._reconciler = self._reconciler, None
        if reconciler is not None:
            reconciler.halt()
            await reconciler.stop(seconds=_LAST_STEPS_SECONDS if self.is_shared else 10)
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._lease.release()
        except (TimeoutError, StateUnavailable):
            log.warning("the lease could not be given back; it runs out")

    async def _go_on(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._step()
            except Exception:
                log.exception("leadership failed", extra={"code": "internal"})

    def _pause(self) -> float:
        third = self._third() or _LOOK_SECONDS
        return third if self._reconciler is not None else min(_LOOK_SECONDS, third)

    async def _step(self) -> None:
        try:
            if self._reconciler is not None:
                await self._renew()
            else:
                await self._try()
            self._is_cut_off = False
        except AnotherProcess:
            pass  # somebody was quicker
        except FenceLost:
            self._end_term("another replica has taken the lease")
        except RotatorError as error:
            if not self._is_cut_off:
                log.warning("lease", extra={"code": error.code, "reason": str(error)})
            self._is_cut_off = True
            if not self.may_act():
                self._end_term("the lease could not be renewed in time")

    async def _try(self) -> None:
        tenure = await self._lease.look()
        self.leader = tenure.holder
        if tenure.is_free:
            await self._take()
        self._crowds.in_touch(now=await self._states.now())

    async def _take(self) -> None:
        asked_at = time.monotonic()
        fence = await self._lease.acquire()
        self._note(asked_at)
        try:
            self._crowds.serving_since = await self._states.now()
            self._reconciler = await self._meanwhile_renewed(self._begin(fence))
        except BaseException:
            with suppress(RotatorError):
                await self._lease.release()
            raise
        self.leader = (await self._lease.look()).holder
        if self.is_shared:
            log.info("this replica leads", extra={"fence": fence})
            await self.tick()

    async def _meanwhile_renewed(self, begin: Awaitable[Reconciler]) -> Reconciler:
        """What *begin* gives: with many clusters that may take longer than the lease lasts."""
        beginning = asyncio.ensure_future(begin)
        try:
            while not (await asyncio.wait({beginning}, timeout=self._third()))[0]:
                await self._renew()
            return beginning.result()
        finally:
            beginning.cancel()

    def _third(self) -> float | None:
        """Seconds of the lease, after which it is renewed; None: it does not run out."""
        return None if self._lease.life is None else self._lease.life.total_seconds() / 3

    async def _renew(self) -> None:
        asked_at = time.monotonic()
        await self._lease.renew()
        self._note(asked_at)

    def _note(self, asked_at: float) -> None:
        if self._lease.life is not None:
            self._ends_at = asked_at + self._lease.life.total_seconds()

    def lost(self) -> None:
        """A write was refused, or came too late: the term is over."""
        if self.is_shared:
            self._end_term("the lease is lost")
            self._woken.set()
        else:
            self.has_lost = True
            self._on_lost()

    def _end_term(self, reason: str) -> None:
        reconciler, self._reconciler = self._reconciler, None
        if reconciler is not None:
            reconciler.halt()
            log.warning("this replica leads no more", extra={"reason": reason})
