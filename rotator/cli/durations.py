"""Durations and instants as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from rotator.cli.failure import Misuse

_UNITS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_PART: Final = r"(?:\d{1,9}(?:\.\d{1,3})?[dhms])"
_LONGEST: Final = timedelta(days=3650)
#: From here on the next coarser unit says enough: 119 s, 119 min, 47 h.
_STEPS: Final = ((172_800, 86_400, "d"), (7_200, 3_600, "h"), (120, 60, "min"))
_TENTHS_BELOW: Final = 10


def parse(text: str) -> timedelta:
    """``90s``, ``10m``, ``2h``, ``1h30m``, ``7d`` or ``0``; raises `Misuse`."""
    clean = text.strip()
    if clean == "0":
        return timedelta()
    if not re.fullmatch(f"{_PART}+", clean):
        raise Misuse("a duration is a number and a unit, such as 90s, 10m, 2h or 30d")
    parts = re.findall(r"([\d.]+)([dhms])", clean)
    found = timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
    if found > _LONGEST:
        raise Misuse("a duration has at most ten years")
    return found


def instant(text: str) -> datetime:
    """An RFC 3339 instant as an aware value; raises `ValueError`."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def seconds_between(earlier: str, later: str | datetime) -> float:
    """Seconds from one instant to another, never negative."""
    end = instant(later) if isinstance(later, str) else later
    return max(0.0, (end - instant(earlier)).total_seconds())


def spoken(seconds: float) -> str:
    """A length of time for people: ``0.4 s``, ``90 s``, ``15 min``, ``3 h``, ``12 d``."""
    for limit, size, unit in _STEPS:
        if seconds >= limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < _TENTHS_BELOW else f"{seconds:.0f} s"


def age(since: str | None, now: datetime) -> str:
    """How long ago an instant was."""
    return "-" if since is None else spoken(seconds_between(since, now))
