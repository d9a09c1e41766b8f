"""What may be claimed, computed from what was seen. Pure: every flag can be false."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rotator.cli.demo.intruder import Intrusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Pursuit:
    """An intruder around an emergency."""

    members: frozenset[str]
    before: frozenset[str]  #: his links when the emergency began
    after: tuple[Intrusion, ...]  #: looks, the first one when it had ended
    new: str  #: the SHA-256, in hex, of the cookie that is current then


def is_evicted(pursuit: Pursuit) -> bool:
    """Whether he was in everywhere, is out although he tries everywhere, and missed the new cookie."""
    if not pursuit.after or not pursuit.before >= pursuit.members:
        return False
    first, last = pursuit.after[0], pursuit.after[-1]
    return (
        not any(look.links for look in pursuit.after)
        and last.entered == first.entered
        and has_tried(first, last, pursuit.members)
        and all(pursuit.new not in look.cookies for look in pursuit.after)
    )


def has_tried(first: Intrusion, last: Intrusion, members: Iterable[str]) -> bool:
    """Whether he tried to get into each of *members* between two looks."""
    return all(last.tries.get(name, 0) > first.tries.get(name, 0) for name in members)


def all_accepted(answers: Iterable[bool | None]) -> bool | None:
    """True when every handshake was accepted; None when one came to no end, or none was tried."""
    found = list(answers)
    if False in found:
        return False
    return None if not found or None in found else True


def all_refused(answers: Iterable[bool | None]) -> bool | None:
    """True when every handshake was refused; None as for `all_accepted`."""
    return all_accepted(None if answer is None else not answer for answer in answers)


def sha256(cookie: str) -> str:
    """As nodes tell about cookies: in hex."""
    return hashlib.sha256(cookie.encode()).hexdigest()


#: What each part of the report is when everything came out as promised.
PROMISED = {
    "links_lost": 0,
    "calls_failed": 0,
    "previous_readable_during_grace": True,
    "previous_readable_after": False,
    "revoked_readable_after": False,
    "still_stored": False,
    "retired_cookie_refused": True,
    "current_cookie_accepted": True,
    "intruder_evicted": True,
}


#: AWS cannot destroy one version: a former one stays, and no node's rights reach it.
_STAYS_STORED: Final = frozenset({"aws"})


def promised(store: str) -> Mapping[str, Any]:
    """What is promised on this secrets manager."""
    return PROMISED | {"still_stored": store in _STAYS_STORED}


def kept(report: Mapping[str, Any]) -> dict[str, bool | None]:
    """For each promise whether it was kept; None: that was not tried."""
    return {
        name: None if report[name] is None else report[name] == wanted
        for name, wanted in promised(report["store"]).items()
    }


def is_good(report: Mapping[str, Any]) -> bool:
    """Whether both rotations completed, links there were, and every promise was kept."""
    return (
        bool(report["rotations"])
        and all(rotation["phase"] == "completed" for rotation in report["rotations"])
        and report["links_before"] == report["nodes"] * (report["nodes"] - 1) > 0
        and all(kept(report).values())
    )
