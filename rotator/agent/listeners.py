"""Whose program listens where a node should: asked before its cookie is proven to anybody.

A name at epmd, and a fixed port, are free to whoever comes first while the node is down. The digest
that a handshake ends with does not name the node it is for, so whoever listens in its place can
pass it on to another member, and be let in there.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rotator.errors import NodeRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENS: Final = "0A"  #: proc(5), /proc/net/tcp, *st*
_BEGINS: Final = "03"  #: a handshake with a listener, listed beside it by old kernels


def owners(port: int, table: Iterable[str]) -> set[int]:
    """The users whose sockets listen at *port*, by the rows of a table as in ``/proc/net/tcp``.

    Listeners are listed first (Linux, Documentation/networking/proc_net_tcp.rst), and no more than
    those are read: a busy host has tens of thousands of connections, and takes seconds to list them.
    """
    found = set()
    for row in islice(table, 1, None):
        fields = row.split()
        with suppress(ValueError, IndexError):
            if fields[3] not in {_LISTENS, _BEGINS}:
                break
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(int(fields[7]))
    return found


def require_ours(host: str, port: int, *, users: Iterable[int]) -> None:
    """Raise `NodeRefused` where somebody listens on this host who is none of *users*, nor root.

    Says nothing of other hosts, and of systems that do not tell: TLS distribution does.
    """
    if not _is_loopback(host):
        return
    others = set()
    for table in _TABLES:
        with suppress(OSError), table.open(encoding="ascii") as rows:
            others |= owners(port, rows) - {0, *users}
    if others:
        raise NodeRefused(
            f"at port {port}, where the node should be, a program of another user listens"
            f" (uid {min(others)})"
        )


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
