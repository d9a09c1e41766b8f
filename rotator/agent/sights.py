"""An own cookie that was set by hand is shown to the service before it is healed.

What is healed within a moment would leave no trace of who was at the node. The service is waited
for, and never for long: one that is away keeps no node from being healed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.agent.decide import LATE, to_lock

if TYPE_CHECKING:
    from rotator.agent.decide import Memory, Seen
    from rotator.agent.orders import Orders
    from rotator.domain.cookie import Cookie

_PATIENCE: Final = 2.0  #: seconds from the first foreign cookie on, however many follow


class Sights:
    """Of one node; in RAM alone, for a sight that is lost is shown once more."""

    def __init__(self) -> None:
        self._since: float | None = None  #: when an own cookie that is not accepted was first seen
        self._told: Cookie | None = None  #: of which the service has heard

    @property
    def is_new(self) -> bool:
        """Whether nothing was held back since the own cookie was accepted last."""
        return self._since is None

    def tell(self, cookie: Cookie) -> bool:
        """The service has heard that this was seen; whether that was waited for."""
        is_awaited = self._since is not None and cookie != self._told
        self._told = cookie
        return is_awaited

    def hold_back(self, orders: Orders, seen: Seen, memory: Memory, *, now: float) -> bool:
        """Whether this sight is to be told before anything is done about it; *now* in seconds."""
        if seen.own is None or seen.own in orders.accepted:
            self._since = self._told = None
            return False
        if not is_drift(orders, seen, memory):
            return False
        self._since = now if self._since is None else self._since
        return seen.own != self._told and now - self._since < _PATIENCE


def is_drift(orders: Orders, seen: Seen, memory: Memory) -> bool:
    """Whether the own cookie will be healed, is none of ours, and there is no emergency."""
    if orders.is_emergency or seen.own == memory.throwaway or seen.own in memory.former:
        return False
    return to_lock(orders, seen, memory) is LATE
