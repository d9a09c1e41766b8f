"""Who may keep connections open: so many at once from one address, and in all.

An address is that of the peer as the kernel names it. No header says who is behind a proxy: any
client could write one, so what a proxy hides is for the proxy to limit.
"""

from __future__ import annotations

import ipaddress
import resource
from collections import Counter
from typing import Final, Protocol

#: File descriptors that are no connection: the state store, the secrets manager, logs.
_OWN_FILES: Final = 128
_MAX_FILES: Final = 65_536
#: Connections to the health port: from one address, so that one peer shuts out no other, and in all.
_HEALTH_PER_ADDRESS: Final = 16
_HEALTH_IN_ALL: Final = 64
_IPV6_PREFIX: Final = 64


def network(address: str) -> str:
    """What is counted as one: an IPv4 address, or the /64 that an IPv6 host chooses from."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), _IPV6_PREFIX), strict=False).network_address)
    return address


class Guest(Protocol):
    """A connection that is in."""

    def give_way(self) -> bool:
        """Go at once, and `leave`, if it is idle; whether it did."""
        ...


class Doors:
    """Counts connections; what it keeps is as large as what is connected, and no larger."""

    def __init__(self, *, per_address: int = 0, in_all: int = 0, makes_room: bool = False) -> None:
        self.per_address = per_address  #: 0: no limit; may change while serving
        self.in_all = in_all  #: 0: no limit
        self._makes_room = makes_room  #: whoever has been idle for longest goes for a newcomer
        self._by_place: Counter[str] = Counter()
        self._guests: dict[Guest, str] = {}  #: in the order in which they came
        self.open = 0  #: connections just now

    def enter(self, address: str, guest: Guest | None = None) -> bool:
        """Whether one more may come in; who did calls `leave` once."""
        place = network(address)
        is_full = self.per_address and self._by_place[place] >= self.per_address
        if is_full and not self._room_at(place):
            return False
        if self.in_all and self.open >= self.in_all and not self._room_at(None):
            return False
        self.open += 1
        self._by_place[place] += 1
        if self._makes_room and guest is not None:
            self._guests[guest] = place
        return True

    def leave(self, address: str, guest: Guest | None = None) -> None:
        """One that came in is gone."""
        place = network(address)
        self.open -= 1
        self._by_place[place] -= 1
        if not self._by_place[place]:
            del self._by_place[place]
        if guest is not None:
            self._guests.pop(guest, None)

    def _room_at(self, place: str | None) -> bool:
        """Whether the oldest that is idle has gone, from that place or from any."""
        return any(
            guest.give_way()
            for guest, at in tuple(self._guests.items())
            if place is None or at == place
        )


def room() -> int:
    """How many connections to the API this process has files for, once it may open as many as it can.

    The soft limit is 1024 nearly everywhere, so that programs with `select` work; this is none.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(wanted - _OWN_FILES - _HEALTH_IN_ALL, 1)


def of_health() -> Doors:
    """Those of the health port: whoever reaches it needs no token, and must not take our files.

    Nor must he keep a probe out, which would have the service restarted: a newcomer is answered at
    once and goes, and who only stays gives way to it.
    """
    return Doors(per_address=_HEALTH_PER_ADDRESS, in_all=_HEALTH_IN_ALL, makes_room=True)
