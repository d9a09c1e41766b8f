"""Desired state as the agent works with it: cookies wrapped, members by what they are."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rotator.domain.cookie import Cookie
from rotator.domain.ids import ClusterUid, Fingerprint, Generation, NodeName, VersionNumber
from rotator.errors import InputError
from rotator.protocol import v1

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Members that run, or may run at any moment: nobody cuts a link to them.
RUNNING: Final = frozenset({"joining", "live", "unknown"})


@dataclass(frozen=True, slots=True)
class LockRound:
    """A round of locking of one emergency."""

    emergency: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What the service wants of one node at one generation, and the words to report it in."""

    cluster_uid: ClusterUid
    fingerprint_key: bytes = field(repr=False)
    generation: Generation
    phase: str | None
    target: Cookie  #: current: what the node shall use, unless it is locked
    cookies: Mapping[VersionNumber, Cookie]  #: every version that is served just now
    accepted: frozenset[Cookie]  #: what a live node may use: current, and previous until it retires
    refuse: Mapping[VersionNumber, Cookie | None]  #: to be shown refused; None: by number only
    lock: LockRound | None
    heals_drift: bool
    restarts: bool  #: a running node keeps its own cookie: its next start takes the target
    members: Mapping[NodeName, str]  #: liveness; without the node itself
    pairs: Mapping[NodeName, Cookie]  #: what each peer last attested that it uses for this node

    @property
    def is_emergency(self) -> bool:
        """Whether what was readable before is compromised: nothing of it is kept."""
        return self.lock is not None or any(known is None for known in self.refuse.values())

    @property
    def running(self) -> frozenset[NodeName]:
        """Members that run, or may at any moment.

        In an emergency, also on a node that comes late to it, who is linked under the name of one
        that waits to boot is a stranger.
        """
        running = RUNNING - {"joining"} if self.is_emergency else RUNNING
        return frozenset(name for name, state in self.members.items() if state in running)

    @property
    def awaited_peers(self) -> frozenset[NodeName]:
        """Members that are counted on, reachable or not: all but the excused."""
        return frozenset(name for name, state in self.members.items() if state != "excused")

    def number_of(self, cookie: Cookie | None) -> VersionNumber | None:
        """The version that this cookie is, of those served now."""
        return next((n for n, known in self.cookies.items() if known == cookie), None)

    def fingerprint(self, cookie: Cookie) -> Fingerprint:
        """As the service computes it."""
        return cookie.fingerprint(self.fingerprint_key, self.cluster_uid)


def orders_of(desired: v1.Desired, me: NodeName) -> Orders | None:
    """The orders in an answer; None before `init`. Raises `InputError` for one without sense."""
    if desired.current is None or desired.cluster_uid is None or desired.fingerprint_key is None:
        return None
    served = [v for v in (desired.current, desired.previous, desired.pending) if v is not None]
    refused = [v for v in desired.refuse if isinstance(v, v1.NodeVersion)]
    cookies = {VersionNumber(v.number): Cookie(v.cookie) for v in (*served, *refused)}
    by_number = {VersionNumber(v): None for v in desired.refuse if isinstance(v, int)}
    target = Cookie(desired.current.cookie)
    accepted = {Cookie(v.cookie) for v in (desired.current, desired.previous) if v is not None}
    return Orders(
        cluster_uid=_uid(desired.cluster_uid),
        fingerprint_key=_key(desired.fingerprint_key),
        generation=Generation(desired.generation),
        phase=desired.phase,
        target=target,
        cookies=cookies,
        accepted=frozenset(accepted),
        refuse={**{VersionNumber(v.number): Cookie(v.cookie) for v in refused}, **by_number},
        lock=LockRound(desired.lock.emergency, desired.lock.round) if desired.lock else None,
        heals_drift=desired.on_drift != "hold",
        restarts=desired.adoption == "restart",
        members={NodeName(n): state for n, state in desired.members.items() if n != me},
        pairs={
            NodeName(peer): cookies[VersionNumber(number)]
            for peer, number in desired.pairs.items()
            if number in cookies
        },
    )


def _uid(text: str) -> ClusterUid:
    if re.fullmatch(r"[0-9a-f]{32}", text) is None:
        raise InputError("the service's cluster_uid is not 32 hex digits")
    return ClusterUid(text)


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise InputError("the service's fingerprint key is not base64")
    return key
