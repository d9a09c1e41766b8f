"""What was seen, as an attestation: fingerprints that the agent computed from what it read. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import rotator
from rotator.agent.decide import is_in_round
from rotator.protocol import v1

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from rotator.agent.decide import Memory, Seen
    from rotator.agent.orders import LockRound, Orders
    from rotator.domain.cookie import Cookie
    from rotator.domain.ids import NodeName, VersionNumber

_MOST: Final = 200  #: foreign links and findings that one report carries


@dataclass(frozen=True, slots=True, kw_only=True)
class Proofs:
    """How it is known which versions the node refuses and accepts."""

    refuses: Mapping[VersionNumber, str] = field(default_factory=dict)
    accepts: Mapping[VersionNumber, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What else is reported of a node."""

    read_from: str | None = None  #: None: the VM, or nothing where it could not be reached
    is_sealed: bool = False  #: no handshake lives that began before the node was locked
    proofs: Proofs = field(default_factory=Proofs)
    foreign: tuple[NodeName, ...] = ()  #: links found since the round before
    run: str = ""  #: of the agent
    otp_release: str = ""
    preflight: tuple[str, ...] = ()


def report(
    orders: Orders, seen: Seen, memory: Memory, found: Found, *, now: datetime
) -> v1.Attestation:
    """The evidence at one instant."""

    def shown(cookie: Cookie | None) -> str | None:
        return None if cookie is None else orders.fingerprint(cookie)

    def rows(pins: Mapping[NodeName, Cookie]) -> dict[str, str]:
        return {name: orders.fingerprint(cookie) for name, cookie in sorted(pins.items())}

    return v1.Attestation(
        generation=orders.generation,
        at=now.isoformat(),
        read_from=found.read_from or ("none" if seen.own is None else "vm"),
        holds={str(n): orders.fingerprint(cookie) for n, cookie in orders.cookies.items()},
        uses=orders.number_of(seen.own),
        own=shown(seen.own),
        file=shown(seen.file),
        pins=rows(seen.pins),
        boot_pins=rows(seen.boot.pins) if seen.boot else {},
        refuses={str(n): how for n, how in found.proofs.refuses.items()},
        accepts={str(n): how for n, how in found.proofs.accepts.items()},
        locked_round=locked_in(orders.lock, seen, memory) if found.is_sealed else None,
        foreign_links=list(found.foreign[:_MOST]),
        links={name: v1.Link(hidden=hidden) for name, hidden in sorted(seen.links.items())},
        otp_release=found.otp_release,
        agent=rotator.__version__,
        run=found.run,
        preflight=list(found.preflight[:_MOST]),
    )


def locked_in(lock: LockRound | None, seen: Seen, memory: Memory) -> int | None:
    """The round in which the node is locked: its VM, its file and every row hold the throwaway."""
    if lock is None or not is_in_round(lock, memory) or memory.throwaway is None:
        return None
    used = (
        seen.own,
        seen.file,
        *seen.pins.values(),
        *(seen.boot.pins.values() if seen.boot else ()),
    )
    return lock.number if all(cookie == memory.throwaway for cookie in used) else None


def is_proving(orders: Orders, seen: Seen) -> bool:
    """Whether nothing of what is to be refused is left, so that a handshake can show it."""
    if orders.phase != "retiring" or seen.own != orders.target or seen.file != orders.target:
        return False
    boot = seen.boot.pins if seen.boot else {}
    lost = {name for name, state in orders.members.items() if state == "lost"}
    rows = (*seen.pins.items(), *boot.items())
    return all(
        cookie == orders.target or (name in lost and not orders.is_emergency)
        for name, cookie in rows
    )


def heartbeat(*, read_from: str, now: datetime, generation: int, run: str = "") -> v1.Attestation:
    """Before `init` there is no key to compute fingerprints with: only that we are here."""
    return v1.Attestation(
        generation=generation,
        at=now.isoformat(),
        read_from=read_from,
        agent=rotator.__version__,
        run=run,
    )
