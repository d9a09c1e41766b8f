from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.domain.calendar import Calendar, problem, shortest_distance

BERLIN = "Europe/Berlin"
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def _day(cron: str, zone: str, day: datetime) -> list[str]:
    """What the calendar says of a local day: times with their offsets."""
    place = ZoneInfo(zone)
    calendar = Calendar(cron, place)
    at = day.replace(tzinfo=place).astimezone(UTC) - SECOND
    end = (day + DAY).replace(tzinfo=place).astimezone(UTC)
    found = []
    while (slot := calendar.after(at)) is not None and slot < end:
        found.append(slot.astimezone(place).strftime("%H:%M%z"))
        at = slot
    return found


@pytest.mark.parametrize(
    ("cron", "slots"),
    [
        ("30 2 * * *", ["03:00+0200"]),
        ("0 3 * * *", ["03:00+0200"]),
        ("30 2,3 * * *", ["03:00+0200", "03:30+0200"]),
        ("*/30 1-3 * * *", ["01:00+0100", "01:30+0100", "03:00+0200", "03:30+0200"]),
    ],
)
def test_a_time_that_the_day_does_not_have_comes_when_the_clocks_jump(
    cron: str, slots: list[str]
) -> None:
    """On the day in spring nothing is lost, and what falls on one moment happens once."""
    assert _day(cron, BERLIN, datetime(2026, 3, 29)) == slots


@pytest.mark.parametrize(
    ("cron", "slots"),
    [
        ("30 2 * * *", ["02:30+0200"]),
        ("0 3 * * *", ["03:00+0100"]),
        ("30 * * * *", [f"{hour:02}:30+0{200 if hour < 3 else 100}" for hour in range(24)]),
    ],
)
def test_a_time_that_the_day_has_twice_comes_once(cron: str, slots: list[str]) -> None:
    """On the day in autumn the first time counts, for each expression alike."""
    assert _day(cron, BERLIN, datetime(2026, 10, 25)) == slots


@pytest.mark.parametrize(
    ("zone", "day", "slots"),
    [
        ("America/New_York", datetime(2026, 3, 8), ["03:00-0400"]),
        ("America/New_York", datetime(2026, 11, 1), ["02:15-0500"]),
        ("Australia/Lord_Howe", datetime(2026, 10, 4), ["02:30+1100"]),
        ("Africa/Cairo", datetime(2026, 4, 24), ["02:15+0300"]),
        ("Asia/Kathmandu", datetime(2026, 4, 24), ["02:15+0545"]),
    ],
)
def test_places_jump_in_their_own_way(zone: str, day: datetime, slots: list[str]) -> None:
    """By an hour, by half of one, at midnight, or never."""
    assert _day("15 2 * * *", zone, day) == slots


def test_a_day_that_a_place_left_out_comes_when_it_is_over() -> None:
    """Samoa had no 30 December 2011: its slot comes at the first moment of the 31st."""
    apia = ZoneInfo("Pacific/Apia")
    slot = Calendar("0 12 30 12 *", apia).after(datetime(2011, 12, 29, tzinfo=UTC))
    assert slot is not None
    assert slot.astimezone(apia) == datetime(2011, 12, 31, tzinfo=apia)


zones = st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "UTC"])
crons = st.sampled_from(
    ["30 2 * * *", "*/30 * * * *", "0 */2 * * *", "15 1-3 * * sun", "59 23 1,31 * *", "5 0 L * *"]
)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))


@given(cron=crons, zone=zones, at=instants)
def test_what_comes_next_and_what_was_last_agree(cron: str, zone: str, at: datetime) -> None:
    """There is no slot between the last one and the next, from whichever instant one asks."""
    calendar = Calendar(cron, ZoneInfo(zone))
    last, following = calendar.until(at), calendar.after(at)
    assert last is not None
    assert following is not None
    assert last <= at < following
    assert calendar.after(last) == following
    assert calendar.until(following) == following
    assert calendar.until(following - SECOND) == last


@pytest.mark.parametrize("minutes", range(0, 180, 7))
def test_both_ways_agree_through_the_hour_that_comes_twice(minutes: int) -> None:
    """In the second round of the hour, what it shows again has been already."""
    calendar = Calendar("*/15 * * * *", ZoneInfo(BERLIN))
    at = datetime(2026, 10, 24, 23, 30, tzinfo=UTC) + timedelta(minutes=minutes)
    last = calendar.until(at)
    assert last is not None
    assert calendar.after(last) == calendar.after(at)


def test_sunday_is_nought_and_seven() -> None:
    """`0 3 * * 0`, `7` and `sun` are one and the same day, as in cron."""
    monday = datetime(2026, 11, 23, tzinfo=UTC)
    found = {Calendar(f"0 3 * * {day}", UTC).after(monday) for day in ("0", "7", "sun", "SUN")}
    assert found == {datetime(2026, 11, 29, 3, tzinfo=UTC)}


def test_two_ways_to_write_one_expression_are_one_schedule() -> None:
    """Spaces and capitals make no other schedule; another zone does."""
    assert str(Calendar("0  3 * * SUN", UTC)) == str(Calendar("0 3 * * sun", UTC))
    assert str(Calendar("0 3 * * sun", ZoneInfo(BERLIN))) == "0 3 * * sun Europe/Berlin"


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 25 * * *", "the second field is the hour: 0 to 23"),
        ("60 0 * * *", "the first field is the minute: 0 to 59"),
        ("0 0 32 * *", "the third field is the day of the month"),
        ("0 0 31 2 *", "one that its month has"),
        ("0 0 * 13 *", "the fourth field is the month"),
        ("0 0 * * 8", "the fifth field is the day of the week"),
        ("0 0 * *", "this has 4"),
        ("0 0 0 * * *", "this has 6"),
        ("@weekly", "names such as @daily are not taken"),
        ("0 0 * * mon#6", "the fifth field"),
    ],
)
def test_a_mistake_is_explained_by_its_field(cron: str, said: str) -> None:
    """What is wrong is said with what may stand there, and the expression is not repeated."""
    wrong = problem(cron)
    assert wrong is not None
    assert said in wrong
    assert cron not in wrong


def test_an_expression_that_is_right_has_no_problem() -> None:
    """Lists, ranges, steps, names and the last day are taken."""
    for cron in (
        "0 3 * * sun",
        "*/5 1-3 1,15 jan-mar *",
        "0 0 L * *",
        "0 0 * * mon#2",
        "0 0 29 2 *",
    ):
        assert problem(cron) is None


def test_distances_are_those_of_the_wall_clock() -> None:
    """The shortest of them counts, wherever it comes."""
    assert shortest_distance("0 3 * * *") == DAY
    assert shortest_distance("0 3,4 * * sun") == timedelta(hours=1)
    assert shortest_distance("0 0 1 * mon") == DAY
    assert shortest_distance("0 0 29 2 *") == timedelta(days=1461)
