"""Values of an agent for tests of its pure parts."""

from __future__ import annotations

from typing import Any

from rotator.agent.decide import Boot, Seen
from rotator.agent.orders import LockRound, Orders
from rotator.domain.cookie import Cookie
from rotator.domain.ids import ClusterUid, Generation, NodeName, VersionNumber

ME, B, C, TOOL = (NodeName(name) for name in ("a@h", "b@h", "c@h", "tool@h"))
OLD, NEW, ALIEN, THROWN = (Cookie(f"CANARYCOOKIE{n}OFTHEAGENTTESTS") for n in range(4))
ROUND = LockRound("e1", 1)


def orders(**changes: Any) -> Orders:
    """Two peers; version 2 (NEW) is current, version 1 (OLD) accepted."""
    given: dict[str, Any] = {
        "cluster_uid": ClusterUid("ab" * 16),
        "fingerprint_key": b"k" * 32,
        "generation": Generation(5),
        "phase": "rolling_out",
        "target": NEW,
        "cookies": {VersionNumber(1): OLD, VersionNumber(2): NEW},
        "accepted": frozenset({OLD, NEW}),
        "refuse": {},
        "lock": None,
        "heals_drift": True,
        "restarts": False,
        "members": {B: "live", C: "live"},
        "pairs": {},
    }
    return Orders(**{**given, **changes})


def settled(cookie: Cookie = NEW, **changes: Any) -> Seen:
    """A node that uses one cookie for itself, both peers and its files."""
    pins = {B: cookie, C: cookie}
    given: dict[str, Any] = {
        "own": cookie,
        "pins": pins,
        "links": {B: False, C: False},
        "file": cookie,
        "boot": Boot(own=None, pins=pins),
    }
    return Seen(**{**given, **changes})
