"""Proof by fresh handshakes: the retired cookie is refused, the current one accepted."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rotator.agent.evidence import Proofs, is_proving
from rotator.errors import BeamError

if TYPE_CHECKING:
    from rotator.agent.decide import Seen
    from rotator.agent.node import Vm
    from rotator.agent.orders import Orders
    from rotator.domain.cookie import Cookie
    from rotator.domain.ids import ClusterUid, VersionNumber

log = logging.getLogger(__name__)

_TRIES: Final = 3  #: of a handshake that comes to no end, before what was read back has to do
_KEPT: Final = 16  #: cookies of earlier versions, in memory alone


@dataclass(slots=True)
class _Case:
    """What is being proven: it is begun anew when the VM, the target or what is refused changes."""

    target: VersionNumber | None = None
    wanted: frozenset[VersionNumber] = frozenset()
    refuses: dict[VersionNumber, str] = field(default_factory=dict)
    accepts: dict[VersionNumber, str] = field(default_factory=dict)
    tries: int = 0


class Prover:
    """Keeps what was proven while it stands."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._uid: ClusterUid | None = None
        self._known: dict[VersionNumber, Cookie] = {}  #: of this cluster
        self._case = _Case()

    def learn(self, orders: Orders) -> None:
        """Remember cookies by number: an emergency names what it revokes by number alone.

        In another cluster of the same name (it was begun anew) each number is another cookie.
        """
        if orders.cluster_uid != self._uid:
            self._known.clear()
            self.forget()
            self._uid = orders.cluster_uid
        for number, cookie in orders.cookies.items():
            self._known.pop(number, None)
            self._known[number] = cookie
        for number in list(self._known)[:-_KEPT]:
            del self._known[number]

    def forget(self) -> None:
        """Another VM, or the same one restarted: nothing is proven of it."""
        self._case = _Case()

    def is_done(self, orders: Orders) -> bool:
        """Whether nothing is left to be proven."""
        if orders.phase != "retiring":
            return True
        return bool(self._case.accepts) and set(self._case.refuses) >= set(orders.refuse)

    async def proofs(self, orders: Orders, seen: Seen) -> Proofs:
        """What is proven now; while something of the old is left, nothing is."""
        if not is_proving(orders, seen):
            self._case = _Case()
            return Proofs()
        target = orders.number_of(orders.target)
        wanted = frozenset(orders.refuse)
        if (self._case.target, self._case.wanted) != (target, wanted):
            self._case = _Case(target=target, wanted=wanted)
        if not self.is_done(orders) and target is not None:
            await self._prove(orders, target)
            if not await self._is_same_vm():
                self.forget()
                return Proofs()
        return Proofs(refuses=dict(self._case.refuses), accepts=dict(self._case.accepts))

    async def _prove(self, orders: Orders, target: VersionNumber) -> None:
        case = self._case
        case.tries += 1
        for number in orders.refuse:
            if number in case.refuses:
                continue
            cookie = orders.refuse[number] or self._known.get(number)
            accepted = False if cookie is None else await self._is_accepted(cookie)
            if accepted is False:
                case.refuses[number] = "read_back" if cookie is None else "handshake"
            elif accepted is None and case.tries >= _TRIES:
                case.refuses[number] = "read_back"
            elif accepted:
                log.error("version %d is still accepted by a fresh handshake", number)
        accepted = await self._is_accepted(orders.target)
        if accepted:
            case.accepts[target] = "handshake"
        elif accepted is None and case.tries >= _TRIES:
            case.accepts[target] = "read_back"

    async def _is_same_vm(self) -> bool:
        """Whether the VM that was looked at is up: handshakes reach whichever is there.

        The VM is called over the connection of the look; only a look makes another one.
        """
        try:
            await self._vm.look()
        except BeamError:
            return False
        return True

    async def _is_accepted(self, cookie: Cookie) -> bool | None:
        """None: the handshake came to no end."""
        try:
            return await self._vm.accepts(cookie)
        except BeamError:
            return None
