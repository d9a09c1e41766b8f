"""When a cluster is rotated by itself."""

from __future__ import annotations

from datetime import UTC, timedelta, tzinfo
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, model_validator

from rotator.domain import calendar
from rotator.domain import schedule as domain
from rotator.settings.values import Duration, PositiveDuration, Section, Text, suggestion

#: Another one on each machine, or with leap seconds.
_OF_THE_MACHINE: Final = ("localtime", "posix", "right/", "Factory")


def _cron(value: str) -> str:
    wrong = calendar.problem(value)
    if wrong is not None:
        raise ValueError(wrong)
    return value


def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def _time_zone(name: str) -> str:
    if name.startswith(_OF_THE_MACHINE):
        raise ValueError("write a place's zone, as in Europe/Berlin, or UTC")
    try:
        _zone(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = available_timezones()
        if not known:
            raise ValueError(
                "this machine has no time zones: install tzdata, or write UTC"
            ) from None
        meant = suggestion(name, known, otherwise="; write it as in Europe/Berlin, or UTC")
        raise ValueError(f"there is no such time zone{meant}") from None
    return name


class Schedule(Section):
    """One rotation for each time that the expression names."""

    cron: Annotated[Text, AfterValidator(_cron)]
    #: Minute, hour, day of the month, month, day of the week; in quotes where it begins with `*`.
    timezone: Annotated[Text, AfterValidator(_time_zone)] = "UTC"
    #: An IANA name. Daylight saving: a time that a day has twice counts once.
    jitter: Duration = timedelta(minutes=10)
    #: Starts are spread over so long: each cluster has its own moment in it, always the same.
    window: PositiveDuration | None = None
    #: How long after its time a rotation may begin, promote or retire; without: at any time.
    spacing: Duration = timedelta(hours=1)
    #: A version that is younger than this is not replaced by the clock.

    @model_validator(mode="after")
    def _fits(self) -> Schedule:
        if self.window is not None and self.jitter >= self.window:
            raise ValueError("jitter is shorter than window, or some would never begin in time")
        distance = calendar.shortest_distance(self.cron)
        if distance is not None and self.jitter + self.spacing > distance:
            minutes = int(distance.total_seconds() // 60)
            raise ValueError(
                f"two of these times are only {minutes}m apart: jitter and spacing together"
                " are at most that, or some would never be used"
            )
        return self

    def _calendar(self) -> calendar.Calendar:
        return calendar.Calendar(self.cron, _zone(self.timezone))

    def schedule(self) -> domain.Schedule:
        """As the domain takes it."""
        return domain.Schedule(
            calendar=self._calendar(),
            jitter=self.jitter,
            window=self.window,
            spacing=self.spacing,
        )
