"""When a cron expression is due, in a time zone, through daylight saving: never twice, never lost.

`cronsim` counts on the wall clock alone; what a wall-clock time means as an instant is decided here,
for every expression alike. A time that a day has twice is taken the first time. A time that a day does
not have is taken at the moment when the clocks jump over it. Debian's cron does the same for jobs at
a fixed hour only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Final

from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

_ANY: Final = datetime(2026, 1, 1)  # noqa: DTZ001 - a wall clock has no zone
_SECOND: Final = timedelta(seconds=1)
_FIELDS: Final = {
    "Bad minute": "the first field is the minute: 0 to 59",
    "Bad hour": "the second field is the hour: 0 to 23",
    "Bad day-of-month": "the third field is the day of the month: 1 to 31, L for the last,"
    " and one that its month has",
    "Bad month": "the fourth field is the month: 1 to 12, or jan to dec",
    "Bad day-of-week": "the fifth field is the day of the week: 0 to 7, 0 and 7 being Sunday,"
    " or sun to sat",
}
_HOW: Final = "; each is *, a number, a list (1,15), a range (1-5) or a step (*/6)"


@dataclass(frozen=True, slots=True)
class Calendar:
    """A cron expression of five fields in a time zone. A **slot** is an instant that it names."""

    cron: str
    zone: tzinfo  #: read by whoever makes this: time zones are files

    def __str__(self) -> str:
        return f"{' '.join(self.cron.split()).lower()} {self.zone}"

    def after(self, at: datetime) -> datetime | None:
        """The first slot later than *at*, in UTC; None if there is none in fifty years."""
        return _after(self, _minute(at))

    def until(self, at: datetime) -> datetime | None:
        """The last slot that is not later than *at*, in UTC; None if there is none in fifty years."""
        return _until(self, _minute(at))

    def slots(self, naive: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        """From a wall-clock time on, without it, as instants; those that fall together stay so."""
        found = CronSim(self.cron, naive, reverse=reverse)
        return map(partial(_instant, zone=self.zone), found)


def _minute(at: datetime) -> datetime:
    """Slots are whole minutes, so what is asked within one has one answer, and is computed once."""
    return at.replace(second=0, microsecond=0)


@lru_cache(maxsize=10_000)
def _after(calendar: Calendar, at: datetime) -> datetime | None:
    local = at.astimezone(calendar.zone).replace(tzinfo=None)
    return next((slot for slot in calendar.slots(local) if slot > at), None)


@lru_cache(maxsize=10_000)
def _until(calendar: Calendar, at: datetime) -> datetime | None:
    local = at.astimezone(calendar.zone)
    naive = local.replace(tzinfo=None) + _SECOND
    if local.fold:
        # The second time round: what the clock is about to show again has been already.
        naive += _offset(local.replace(fold=0)) - _offset(local)
    return next((slot for slot in calendar.slots(naive, reverse=True) if slot <= at), None)


def _offset(local: datetime) -> timedelta:
    return local.utcoffset() or timedelta()


def _instant(naive: datetime, zone: tzinfo) -> datetime:
    first = naive.replace(tzinfo=zone)
    before, after = _offset(first), _offset(first.replace(fold=1))
    if before >= after:
        return first.astimezone(UTC)
    # In a gap: look for the moment of the jump, which lies between what the two offsets make of it.
    low, high = ((naive - offset).replace(tzinfo=UTC) for offset in (after, before))
    while high - low > _SECOND:
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if _offset(middle.astimezone(zone)) == before:
            low = middle
        else:
            high = middle
    return high


@lru_cache(maxsize=1000)
def shortest_distance(cron: str) -> timedelta | None:
    """Between two slots in a row on the wall clock, as 100 of them show; None if there are not two.

    On the day when clocks jump, two may be nearer to each other.
    """
    found = list(islice(CronSim(cron, _ANY), 100))
    return min((later - slot for slot, later in pairwise(found)), default=None)


def problem(cron: str) -> str | None:
    """What is wrong with an expression, in a sentence that does not repeat it; None if nothing is."""
    if cron.lstrip().startswith("@"):
        return "names such as @daily are not taken: write five fields, such as 0 3 * * sun"
    count = len(cron.split())
    if count != len(_FIELDS):
        return (
            "a cron expression has five fields: minute, hour, day of the month, month, day of the"
            f" week; this has {count}"
        )
    try:
        CronSim(cron, _ANY)
    except CronSimError as error:
        return _FIELDS.get(str(error), "this is no cron expression") + _HOW
    return None
