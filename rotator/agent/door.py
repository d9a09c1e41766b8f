"""Who is linked to a locked node and should not be: strangers of a round, and the seal of a throwaway."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rotator.agent.decide import foreign
from rotator.agent.seal import Seal

if TYPE_CHECKING:
    from rotator.agent.decide import Memory, Seen
    from rotator.agent.node import Vm
    from rotator.agent.orders import LockRound, Orders
    from rotator.domain.ids import NodeName

log = logging.getLogger(__name__)


class Door:
    """Of one node. What it knows is of one connection to the VM."""

    def __init__(self, vm: Vm, name: NodeName) -> None:
        self._vm = vm
        self._name = name
        self._seal: Seal | None = None
        self._round: LockRound | None = None
        self._reported: LockRound | None = None  #: the round that was last reported as locked
        self._after_report: frozenset[NodeName] = frozenset()  #: strangers found since then
        self.strangers: frozenset[NodeName] = frozenset()  #: found in this round

    def forget(self) -> None:
        """Another VM, or another connection to it: nothing is sealed."""
        self._seal = None

    def note_reported(self, lock: LockRound | None) -> None:
        """The round was reported as locked."""
        self._reported = lock

    async def watch(self, orders: Orders, seen: Seen, memory: Memory) -> bool:
        """Count who is linked and should not be; whether the throwaway was sealed just now."""
        strangers = frozenset(foreign(orders, seen))
        if self._round != orders.lock or orders.lock is None:
            # Who came after the round before was reported counts in this one: through him the
            # throwaways of members that were faster may be known already.
            self._round, self.strangers = orders.lock, self._after_report
            self._after_report = frozenset()
        if orders.lock is None and seen.own in orders.accepted:
            self._seal = None  # From now on it makes links again.
        throwaway, is_new = memory.throwaway, False
        if throwaway is not None and seen.own == throwaway:
            connections = await self._vm.connections()
            is_new = self._seal is None or self._seal.throwaway != throwaway
            if is_new:
                count = await self._vm.hang_up()
                log.info("%s: locked, %d handshakes ended", self._name, count)
                links = connections if self._seal is None else self._seal.links
                self._seal = Seal(throwaway=throwaway, links=links)
            if self._seal is not None:
                self._seal, strangers = self._seal.after(connections, strangers)
        self.strangers |= strangers
        if orders.lock is not None and self._reported == orders.lock:
            self._after_report |= strangers
        return is_new

    async def is_disturbed(self, orders: Orders) -> bool:
        """Whether somebody has come to the locked node since it was sealed; one call, no look.

        Of a seal that is broken there is no more to be found out.
        """
        if self._seal is not None and self._seal.is_broken:
            return False
        connections = await self._vm.connections()
        known = {} if self._seal is None else self._seal.links
        return any(known.get(n) != one or n not in orders.running for n, one in connections.items())

    def keeps_out(self, seen: Seen) -> bool:
        """Whether nobody but members can have got at the throwaway that the node holds."""
        seal = self._seal
        return seal is not None and seal.throwaway == seen.own and not seal.is_broken

    def is_sealed(self, memory: Memory) -> bool:
        """Whether no handshake lives that began before this throwaway was set."""
        return self._seal is not None and self._seal.throwaway == memory.throwaway

    def is_burned(self, memory: Memory) -> bool:
        """Whether a stranger was found under this throwaway."""
        return self._seal is not None and self._seal.is_broken and self.is_sealed(memory)
