"""A database server by what it says of itself, of the role that asks, and of the way to it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rotator.domain.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What was seen over one connection."""

    address: str  #: that we connected to; empty: a socket of this machine
    is_encrypted: bool
    sslmode: str  #: libpq's
    is_read_only: bool
    unsafe: Mapping[str, str]  #: settings without which what was confirmed can be lost
    lacking: Mapping[str, tuple[str, ...]]  #: by table, what the role may not do there
    powers: tuple[str, ...]  #: attributes of the role that reach beyond this database
    room: int  #: connections that we may have, together with those that we have
    wanted: int  #: what one replica may want

    @property
    def is_remote(self) -> bool:
        """Whether what is said crosses a network."""
        return bool(self.address) and not ipaddress.ip_address(self.address).is_loopback


def look(seen: Surroundings) -> Iterator[Finding]:
    """One finding for each thing that is wrong."""
    if seen.is_remote and not seen.is_encrypted:
        yield Finding(code="database_in_the_clear", subject=seen.address)
    elif seen.is_remote and not seen.sslmode.startswith("verify-"):
        detail = f"sslmode={seen.sslmode}"
        yield Finding(code="database_unverified", subject=seen.address, detail=detail)
    if seen.is_read_only:
        yield Finding(code="database_read_only")
    if seen.unsafe:
        detail = ", ".join(f"{name}={value}" for name, value in sorted(seen.unsafe.items()))
        yield Finding(code="database_not_durable", detail=detail)
    yield from _lacking(seen.lacking)
    if seen.powers:
        yield Finding(code="database_rights_too_wide", detail=", ".join(seen.powers))
    if seen.room < seen.wanted:
        detail = f"room for {seen.room}; each replica may want {seen.wanted}"
        yield Finding(code="database_connections_few", detail=detail)


def _lacking(by_table: Mapping[str, tuple[str, ...]]) -> Iterator[Finding]:
    alike: dict[tuple[str, ...], list[str]] = {}
    for table, rights in by_table.items():
        alike.setdefault(rights, []).append(table)
    for rights, tables in alike.items():
        detail = f"lacks {', '.join(rights)}"
        yield Finding(
            code="database_rights_missing", subject=", ".join(sorted(tables)), detail=detail
        )
