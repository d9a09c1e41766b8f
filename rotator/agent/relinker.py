"""Reconnect members that are missing: with jitter, in the background, never in a locked node.

Where a link cannot be made the two sides may be out of step (a node died between two writes), so
the other accepted version is tried, too; the pair is made equal afterwards, hand in hand. Each try
does both: a node that was down at the first may come up with either. The jitter sees to it that two
sides that try at the same moment, and so miss each other, do not go on doing so.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Final

from rotator.agent import pairs
from rotator.errors import BeamError

if TYPE_CHECKING:
    from rotator.agent.decide import Seen
    from rotator.agent.node import Vm
    from rotator.agent.orders import Orders
    from rotator.domain.cookie import Cookie
    from rotator.domain.ids import NodeName

log = logging.getLogger(__name__)

_FIRST: Final = 0.3  #: seconds: a node that just came up links by itself, mostly
_LONGEST: Final = 10.0
_AT_ONCE: Final = 4


def _jitter(seconds: float) -> float:
    return seconds * (0.5 + secrets.randbelow(1000) / 1000)


class Relinker:
    """One task for each missing member."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._tasks: dict[NodeName, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._now: tuple[Orders, Seen] | None = None

    async def obey(self, orders: Orders) -> None:
        """Stop what was begun under other orders, and wait: it may be about to put a row back.

        Otherwise a row of before could come back into a node that is being locked.
        """
        if self._now is not None and self._now[0] is not orders:
            await self.close()

    async def want(self, missing: set[NodeName], orders: Orders, seen: Seen) -> None:
        """Go on trying for these, and no others."""
        self._now = (orders, seen)
        for peer, task in list(self._tasks.items()):
            if task.done():  # It was linked, and is missing again.
                del self._tasks[peer]
        for peer in self._tasks.keys() - missing:
            self._end(self._tasks.pop(peer))
        for peer in missing - self._tasks.keys():
            self._tasks[peer] = asyncio.create_task(self._until_linked(peer))

    async def close(self) -> None:
        """Stop trying; every row that was changed for a try is put back."""
        for task in self._tasks.values():
            self._end(task)
        self._tasks.clear()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _end(self, task: asyncio.Task[None]) -> None:
        """Cancel it; it ends when it has put its row back."""
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _until_linked(self, peer: NodeName) -> None:
        pause = _FIRST
        while True:
            await asyncio.sleep(_jitter(pause))
            pause = min(pause * 2, _LONGEST)
            try:
                async with self._slots:
                    if not await self._vm.is_ready_to_link():
                        continue
                    if await self._vm.link(peer) or await self._with_the_other(peer):
                        return
            except BeamError as error:
                log.debug("no link to %s: %s", peer, error)

    async def _with_the_other(self, peer: NodeName) -> bool:
        if self._now is None:
            return False
        orders, seen = self._now
        if orders.members.get(peer) == "joining":
            return False  # Its pairs stand still from when it asks to boot until it runs.
        mine = seen.uses(peer)
        other = pairs.other_accepted(orders, mine)
        if other is None or mine is None:
            return False
        is_linked = False
        pinning = asyncio.ensure_future(self._vm.pin({peer: other}))
        try:
            await asyncio.shield(pinning)
            is_linked = await self._vm.link(peer)
        finally:
            if not is_linked:
                await asyncio.shield(self._put_back(peer, mine, after=pinning))
        if is_linked:
            log.info("linked to %s with the other version; the pair will be moved", peer)
        return is_linked

    async def _put_back(
        self, peer: NodeName, cookie: Cookie, *, after: asyncio.Future[None]
    ) -> None:
        """Calls that are under way at once may come to the VM in any order: one after the other."""
        await asyncio.wait([after])
        await self._vm.pin({peer: cookie})
