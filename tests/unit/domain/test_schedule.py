from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rotator.domain import schedule, schedule_steps
from rotator.domain.calendar import Calendar
from rotator.domain.cluster import Blocker, Standing
from rotator.domain.commands import Request, Start
from rotator.domain.facts import FactKind
from rotator.domain.rotation import Kind, Phase
from rotator.domain.schedule import (
    Begin,
    PassedOver,
    PassOver,
    Progress,
    Rest,
    Schedule,
    Skip,
    TakeUp,
)
from rotator.domain.version import Stage
from rotator.errors import NoSchedule
from rotator.testing.factories import a_cluster, a_crowd, a_policy, a_rotation, a_version

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SLOT = datetime(2026, 11, 29, 3, tzinfo=UTC)  #: a Sunday
WEEKLY = Schedule(calendar=Calendar("0 3 * * sun", UTC), jitter=timedelta())
WINDOW = replace(WEEKLY, window=4 * HOUR)
TAKEN = Progress(rules=WEEKLY.rules, since=SLOT - 3 * DAY, settled_until=SLOT - 3 * DAY)
PAUSED = replace(TAKEN, paused_at=SLOT - DAY, paused_by="op", pause_reason="end of year")
ASKED = Request(by="token:1", reason="because", at=SLOT + HOUR)


def _crowd(
    progress=TAKEN, *, now=SLOT, wanted=WEEKLY, made_at=SLOT - 7 * DAY, since=None, **cluster
):
    version = replace(a_version(11, Stage.CURRENT), created_at=made_at)
    made = a_cluster(cluster.pop("rotation", None), schedule=progress, **cluster)
    made = made.with_version(replace(version, stage=made.versions[11].stage))
    policy = a_policy(schedule=wanted, max_rotations_per_hour=2)
    return a_crowd(made, policy, now=now, serving_since=since or SLOT - 9 * DAY)


# --- what is to be done -------------------------------------------------------------------


def test_a_schedule_that_is_new_does_not_fire_for_the_past() -> None:
    """It is taken up first, and counts from then on."""
    assert schedule.turn(_crowd(None)) == TakeUp()
    change = schedule_steps.take_up(_crowd(None))
    assert change.cluster.schedule == Progress(rules=WEEKLY.rules, since=SLOT, settled_until=SLOT)
    assert schedule.turn(_crowd(change.cluster.schedule)) == Rest(until=SLOT + 7 * DAY)
    (fact,) = change.facts
    assert fact.kind is FactKind.SCHEDULE_CHANGED
    assert fact.details["next"] == (SLOT + 7 * DAY).isoformat()


def test_an_edited_expression_counts_from_now_on() -> None:
    """What was due by the former expression is not made up for; a pause stays a pause."""
    other = replace(WEEKLY, calendar=Calendar("0 4 * * sun", UTC))
    now = SLOT + 2 * HOUR
    assert schedule.turn(_crowd(PAUSED, now=now, wanted=other)) == TakeUp()
    taken = schedule_steps.take_up(_crowd(PAUSED, now=now, wanted=other)).cluster.schedule
    assert taken == replace(PAUSED, rules=other.rules, since=now, settled_until=now)


def test_jitter_window_and_spacing_make_no_other_schedule() -> None:
    """They apply to what is due already."""
    wider = replace(WEEKLY, jitter=MINUTE, window=HOUR, spacing=MINUTE)
    assert schedule.turn(_crowd(now=SLOT + 2 * MINUTE, wanted=wider)) == Begin(slot=SLOT)


def test_a_schedule_that_is_taken_away_is_forgotten() -> None:
    """When it comes back it does not fire for the time between."""
    assert schedule.turn(_crowd(wanted=None)) == TakeUp()
    change = schedule_steps.take_up(_crowd(wanted=None))
    assert change.cluster.schedule is None
    assert change.facts[0].details["before"] == WEEKLY.rules
    assert schedule.turn(_crowd(None, wanted=None)) == Rest()


def test_a_slot_begins_when_it_is_due_and_not_before() -> None:
    """To the second."""
    assert schedule.turn(_crowd(now=SLOT - timedelta(seconds=1))) == Rest(until=SLOT)
    assert schedule.turn(_crowd(now=SLOT)) == Begin(slot=SLOT)


def test_a_slot_is_settled_in_the_write_that_begins_its_rotation() -> None:
    """After it nothing is due, whatever becomes of the rotation."""
    wanted = Start(id="r1", kind=Kind.SCHEDULED, epoch=1)
    change = schedule_steps.begin(_crowd(), wanted, slot=SLOT, last_used=11)
    assert change.cluster.rotation is not None
    assert (change.cluster.rotation.kind, change.cluster.rotation.by) == ("scheduled", "rotator")
    assert change.cluster.schedule is not None
    assert change.cluster.schedule.settled_until == SLOT
    assert change.cluster.schedule.run is not None
    assert change.cluster.schedule.run.rotation == "r1"
    assert change.facts[-1].details == {"rotation_kind": "scheduled", "slot": SLOT.isoformat()}
    aborted = replace(change.cluster, rotation=None)
    assert schedule.turn(_crowd(aborted.schedule, now=SLOT + HOUR)) == Rest(until=SLOT + 7 * DAY)


def test_the_newest_of_several_due_slots_stands_for_all() -> None:
    """After three weeks away one rotation begins, and its fact says since when it was due."""
    crowd = _crowd(now=SLOT + 15 * DAY, made_at=SLOT - 7 * DAY)
    assert schedule.turn(crowd) == Begin(slot=SLOT + 14 * DAY)
    wanted = Start(id="r1", kind=Kind.SCHEDULED, epoch=1)
    change = schedule_steps.begin(crowd, wanted, slot=SLOT + 14 * DAY, last_used=11)
    assert change.facts[-1].details["due_since"] == SLOT.isoformat()


@pytest.mark.parametrize(
    ("made_at", "is_fresh"),
    [
        (SLOT + MINUTE, True),
        (SLOT - 59 * MINUTE, True),
        (SLOT - HOUR, False),
        (SLOT + HOUR + 10 * MINUTE, False),
    ],
)
def test_a_young_version_is_not_replaced_by_the_clock(made_at: datetime, is_fresh: bool) -> None:
    """After a rotation by hand or an emergency the slot is passed over; a wrong clock is no reason."""
    action = schedule.turn(_crowd(now=SLOT + HOUR, made_at=made_at))
    assert isinstance(action, PassOver) == is_fresh
    if isinstance(action, PassOver):
        assert action.why is PassedOver.FRESH
        change = schedule_steps.pass_over(_crowd(now=SLOT + HOUR), action)
        assert change.cluster.schedule is not None
        assert change.cluster.schedule.settled_until == SLOT
        assert change.facts[0].details["why"] == "fresh"


def test_without_a_current_version_nothing_is_fresh() -> None:
    """A cluster that says of itself it has none is left to the command that begins."""
    crowd = _crowd()
    bare = replace(crowd.cluster, versions={})
    assert schedule.turn(crowd.with_cluster(bare)) == Begin(slot=SLOT)


def test_a_window_that_went_by_is_named_with_what_stood_in_the_way() -> None:
    """Nobody has to ask why it did not run."""
    standing = Standing(blocker=Blocker(code="unknown_cookie", subject="rabbit@b"), since=SLOT)
    closed = SLOT + 4 * HOUR
    open_still = _crowd(now=closed - MINUTE, wanted=WINDOW)
    assert schedule.turn(open_still) == Begin(slot=SLOT)
    for blockers, detail in (((standing,), "unknown_cookie"), ((), "the service was away")):
        action = schedule.turn(_crowd(now=closed, wanted=WINDOW, blockers=blockers))
        assert isinstance(action, PassOver)
        assert action.why is PassedOver.WINDOW_CLOSED
        assert action.detail.startswith(detail)


def test_the_cap_on_rotations_an_hour_holds_for_the_clock_too() -> None:
    """It waits by name until the oldest of them is an hour ago."""
    starts = (SLOT - 50 * MINUTE, SLOT - 40 * MINUTE)
    action = schedule.turn(_crowd(recent_starts=starts))
    assert isinstance(action, Rest)
    assert action.until == SLOT + 10 * MINUTE
    assert [blocker.code for blocker in action.blockers] == ["too_many_rotations"]
    assert schedule.turn(_crowd(recent_starts=(starts[0],))) == Begin(slot=SLOT)
    ahead = (SLOT + DAY, SLOT + 2 * DAY)
    assert schedule.turn(_crowd(recent_starts=ahead)) == Begin(slot=SLOT)


def test_a_clock_that_was_put_back_a_little_runs_nothing_twice() -> None:
    """Back by an hour over a slot that has run: it has run."""
    progress = replace(TAKEN, settled_until=SLOT)
    assert schedule.turn(_crowd(progress, now=SLOT - HOUR)) == Rest(until=SLOT)
    assert schedule.turn(_crowd(progress, now=SLOT)) == Rest(until=SLOT + 7 * DAY)


def test_a_clock_that_was_wrong_for_years_loses_no_slot() -> None:
    """What was settled in a false future does not settle what comes now."""
    ahead = replace(TAKEN, settled_until=SLOT + 400 * DAY)
    assert schedule.turn(_crowd(ahead)) == TakeUp()
    taken = schedule_steps.take_up(_crowd(ahead, now=SLOT - DAY)).cluster.schedule
    assert schedule.turn(_crowd(taken, now=SLOT)) == Begin(slot=SLOT)


# --- when ---------------------------------------------------------------------------------

SPREAD = replace(WEEKLY, jitter=20 * MINUTE)


def test_jitter_is_the_same_for_everyone_and_another_for_each() -> None:
    """A function of cluster and slot: replicas and restarts agree, clusters and weeks differ."""
    one = a_cluster()
    assert schedule.planned_start(one, SPREAD, SLOT) == schedule.planned_start(one, SPREAD, SLOT)
    clusters = [replace(one, name=f"c{number}") for number in range(300)]
    starts = [schedule.planned_start(cluster, SPREAD, SLOT) - SLOT for cluster in clusters]
    assert timedelta() <= min(starts)
    assert max(starts) < 20 * MINUTE
    for quarter in range(4):
        begin, end = quarter * 5 * MINUTE, (quarter + 1) * 5 * MINUTE
        assert 40 < sum(begin <= start < end for start in starts) < 110
    weeks = {schedule.planned_start(one, SPREAD, SLOT + n * 7 * DAY).minute for n in range(10)}
    assert len(weeks) > 3


def test_what_was_due_while_the_service_was_away_is_spread_after_it_is_back() -> None:
    """Five hundred clusters do not begin in one second, and each within ten minutes."""
    back = SLOT + 5 * HOUR
    starts = set()
    for number in range(100):
        crowd = _crowd(now=back, wanted=SPREAD, since=back, name=f"c{number}")
        action = schedule.turn(crowd)
        if isinstance(action, Rest):
            assert action.until is not None
            starts.add(action.until)
        assert schedule.turn(replace(crowd, now=back + 10 * MINUTE)) == Begin(slot=SLOT)
    assert len(starts) > 50
    assert max(starts) < back + 10 * MINUTE


@pytest.mark.parametrize("term", [7, 120, 300, 540, 600, 900])
def test_what_is_due_begins_however_often_another_leader_takes_over(term: int) -> None:
    """Leaders that serve for seconds or minutes each get to it within the hour, not never."""
    back = SLOT + 30 * MINUTE
    for number in range(10):
        for seconds in range(0, 3600, 5):
            since = back + timedelta(seconds=seconds // term * term)
            now = back + timedelta(seconds=seconds)
            if schedule.turn(
                _crowd(now=now, wanted=SPREAD, since=since, name=f"c{number}")
            ) == Begin(slot=SLOT):
                break
        else:
            pytest.fail(f"c{number} never begins")


def test_without_jitter_what_was_due_begins_at_once() -> None:
    """Nobody asked for a spread."""
    back = SLOT + 5 * HOUR
    assert schedule.turn(_crowd(now=back, since=back)) == Begin(slot=SLOT)


def test_the_spread_does_not_lead_out_of_the_window() -> None:
    """What would begin too late for its window begins at once."""
    narrow = replace(WEEKLY, window=HOUR, jitter=50 * MINUTE)
    back = SLOT + HOUR - timedelta(seconds=2)
    for number in range(20):
        crowd = _crowd(now=back, wanted=narrow, since=back, name=f"c{number}")
        assert schedule.start_of(crowd, narrow, SLOT) < SLOT + HOUR


def test_the_next_starts_are_told() -> None:
    """First what is due already and waits for its moment, then what comes."""
    now = SLOT + timedelta(seconds=1)
    crowd = _crowd(now=now, wanted=SPREAD)
    planned = schedule.planned_start(crowd.cluster, SPREAD, SLOT)
    assert planned > now
    found = schedule.next_starts(crowd, count=2)
    assert found[0] == planned
    assert SLOT + 7 * DAY <= found[1] < SLOT + 7 * DAY + 20 * MINUTE
    closed = replace(SPREAD, window=30 * MINUTE)
    later = _crowd(now=SLOT + HOUR, wanted=closed)
    assert schedule.next_starts(later, count=1)[0] >= SLOT + 7 * DAY
    for progress in (None, replace(TAKEN, rules="other"), replace(TAKEN, settled_until=SLOT)):
        assert schedule.next_starts(_crowd(progress, now=now, wanted=SPREAD), count=1) != (planned,)
    assert schedule.next_starts(_crowd(wanted=None), count=3) == ()
    assert schedule.next_starts(_crowd(PAUSED), count=3) == ()


class Never:
    """A calendar without a slot."""

    def __str__(self) -> str:
        return WEEKLY.rules

    def after(self, _at: datetime) -> None:
        """None."""

    until = after


def test_a_calendar_that_has_no_slot_wants_nothing() -> None:
    """A day that will not come in fifty years breaks nothing."""
    never = replace(WINDOW, calendar=Never())
    ahead = replace(TAKEN, settled_until=SLOT + DAY)
    for progress in (TAKEN, ahead):
        assert schedule.turn(_crowd(progress, wanted=never)) == Rest()
    assert schedule.overdue_since(_crowd(wanted=never)) is None
    rotation = a_rotation(Phase.GRACE, kind=Kind.SCHEDULED)
    (blocker,) = schedule.outside_window(_crowd(rotation=rotation, wanted=never))
    assert blocker.detail == "it opens no more"


# --- overdue ------------------------------------------------------------------------------


def test_a_version_that_is_older_than_its_schedule_wants_is_overdue() -> None:
    """Since the start that it missed; a moment's delay does not count."""
    assert schedule.overdue_since(_crowd(now=SLOT + 30 * timedelta(seconds=1))) is None
    assert schedule.overdue_since(_crowd(now=SLOT + MINUTE)) == SLOT
    settled = replace(TAKEN, settled_until=SLOT)
    assert schedule.overdue_since(_crowd(settled, now=SLOT + 3 * DAY)) == SLOT
    assert schedule.overdue_since(_crowd(now=SLOT + DAY, made_at=SLOT - MINUTE)) is None
    assert schedule.overdue_since(_crowd(now=SLOT + DAY, made_at=SLOT + 40 * DAY)) == SLOT


@pytest.mark.parametrize(
    "crowd",
    [
        {"wanted": None},
        {"progress": None},
        {"progress": PAUSED},
        {"progress": replace(TAKEN, rules="other")},
        {"is_initialised": False},
        {"progress": replace(TAKEN, since=SLOT + HOUR)},
    ],
)
def test_what_no_schedule_wants_is_not_overdue(crowd) -> None:
    """Nor what is paused, or was before the schedule."""
    assert schedule.overdue_since(_crowd(now=SLOT + DAY, **crowd)) is None


@pytest.mark.parametrize(
    ("changes", "is_good"),
    [
        ({}, True),
        ({"kind": Kind.MANUAL}, True),
        ({"started_at": SLOT - 2 * HOUR}, False),
        ({"is_rollback": True}, False),
        ({"abort_requested": True}, False),
    ],
)
def test_a_rotation_under_way_makes_it_good_unless_it_goes_back(changes, is_good) -> None:
    """What it waits for is said by blockers."""
    rotation = a_rotation(Phase.INSTALLING, started_at=SLOT, kind=Kind.SCHEDULED)
    crowd = _crowd(now=SLOT + DAY, rotation=replace(rotation, **changes))
    assert (schedule.overdue_since(crowd) is None) == is_good


# --- windows ------------------------------------------------------------------------------


def test_outside_of_its_window_a_scheduled_rotation_stands_still() -> None:
    """It says when the window opens; a rotation by hand, or without a window, knows none."""
    scheduled = a_rotation(Phase.GRACE, kind=Kind.SCHEDULED)
    outside = SLOT + 4 * HOUR
    (blocker,) = schedule.outside_window(_crowd(rotation=scheduled, wanted=WINDOW, now=outside))
    assert (blocker.code, blocker.subject) == ("outside_window", "clock")
    assert blocker.detail == "it opens at 2026-12-06 03:00:00Z"
    for crowd in (
        _crowd(rotation=scheduled, wanted=WINDOW, now=outside - MINUTE),
        _crowd(rotation=scheduled, wanted=WEEKLY, now=outside),
        _crowd(rotation=scheduled, wanted=None, now=outside),
        _crowd(rotation=replace(scheduled, kind=Kind.MANUAL), wanted=WINDOW, now=outside),
        _crowd(wanted=WINDOW, now=outside),
    ):
        assert schedule.outside_window(crowd) == ()


# --- orders -------------------------------------------------------------------------------


def test_a_paused_schedule_begins_nothing_and_says_who_paused_it() -> None:
    """Repeating it changes nothing."""
    change = schedule_steps.pause(_crowd(), ASKED)
    paused = change.cluster.schedule
    assert paused is not None
    assert (paused.paused_by, paused.pause_reason) == ("token:1", "because")
    assert schedule.turn(_crowd(paused)) == Rest()
    assert schedule_steps.pause(_crowd(paused), ASKED).facts == ()


def test_a_pause_for_another_reason_is_on_record_and_is_as_old_as_before() -> None:
    """Who asked last, and why, is shown and is a fact; the same again, or no reason, is none."""
    crowd = _crowd()
    first = Request(by="ann", reason="end of year", at=SLOT)
    paused = schedule_steps.pause(crowd, first).cluster
    again = crowd.with_cluster(paused)
    for reason in ("", "end of year"):
        asked = Request(by="bob", reason=reason, at=SLOT + HOUR)
        assert schedule_steps.pause(again, asked).facts == ()
    change = schedule_steps.pause(again, Request(by="bob", reason="audit", at=SLOT + HOUR))
    progress = change.cluster.schedule
    assert (progress.paused_at, progress.paused_by, progress.pause_reason) == (SLOT, "bob", "audit")
    assert [fact.reason for fact in change.facts] == ["audit"]


def test_a_schedule_can_be_paused_before_it_is_taken_up() -> None:
    """So that a new cluster, or a new expression, begins paused."""
    for progress in (None, replace(TAKEN, rules="other")):
        paused = schedule_steps.pause(_crowd(progress), ASKED).cluster.schedule
        assert paused is not None
        assert (paused.rules, paused.settled_until) == (WEEKLY.rules, ASKED.at)


def test_what_went_by_while_it_was_paused_is_passed_over_by_name() -> None:
    """Resuming is no order to rotate."""
    change = schedule_steps.resume(_crowd(PAUSED, now=ASKED.at), ASKED)
    resumed = change.cluster.schedule
    assert resumed is not None
    assert resumed.skip == Skip(slot=SLOT, at=ASKED.at, why=PassedOver.PAUSED)
    assert change.facts[0].details["passed_over"] == SLOT.isoformat()
    assert schedule.turn(_crowd(resumed, now=ASKED.at)) == Rest(until=SLOT + 7 * DAY)
    again = replace(resumed, paused_at=ASKED.at)
    second = schedule_steps.resume(_crowd(again, now=ASKED.at), ASKED)
    assert second.cluster.schedule == resumed
    assert second.facts[0].details["passed_over"] is None


def test_resuming_what_is_not_paused_changes_nothing() -> None:
    """It may be repeated."""
    for progress in (TAKEN, None):
        assert schedule_steps.resume(_crowd(progress), ASKED).facts == ()


def test_a_pause_outlives_the_schedule_in_the_configuration() -> None:
    """It can be taken back after the schedule was taken out of the file."""
    change = schedule_steps.resume(_crowd(PAUSED, wanted=None), ASKED)
    assert change.cluster.schedule is not None
    assert change.cluster.schedule.paused_at is None


@pytest.mark.parametrize("back", [WEEKLY, replace(WEEKLY, calendar=Calendar("0 4 * * sun", UTC))])
def test_a_pause_outlives_a_schedule_that_was_taken_out_and_put_back(back: Schedule) -> None:
    """It begins nothing until somebody resumes it, whatever the file said meanwhile."""
    assert schedule.turn(_crowd(PAUSED, wanted=None)) == TakeUp()
    change = schedule_steps.take_up(_crowd(PAUSED, wanted=None))
    kept = change.cluster.schedule
    assert kept is not None
    assert (kept.paused_by, kept.pause_reason) == ("op", "end of year")
    assert change.facts[0].details["schedule"] is None
    assert schedule.turn(_crowd(kept, wanted=None)) == Rest()
    change = schedule_steps.take_up(_crowd(kept, now=SLOT + DAY, wanted=back))
    assert change.facts[0].details["before"] is None
    again = change.cluster.schedule
    assert again == replace(PAUSED, rules=back.rules, since=SLOT + DAY, settled_until=SLOT + DAY)
    assert schedule.turn(_crowd(again, now=SLOT + 8 * DAY, wanted=back)) == Rest()


def test_a_pause_that_is_ended_without_a_schedule_leaves_nothing_paused() -> None:
    """What comes back then is taken up like a new schedule."""
    kept = schedule_steps.take_up(_crowd(PAUSED, wanted=None)).cluster.schedule
    ended = schedule_steps.resume(_crowd(kept, wanted=None), ASKED).cluster.schedule
    assert ended is not None
    assert ended.paused_at is None
    assert schedule.turn(_crowd(ended, wanted=None)) == Rest()
    taken = schedule_steps.take_up(_crowd(ended)).cluster.schedule
    assert taken == replace(TAKEN, since=SLOT, settled_until=SLOT)


def test_without_a_schedule_there_is_nothing_to_pause() -> None:
    """The error says so; nothing is kept for a cluster that is not declared."""
    for crowd in (_crowd(None, wanted=None), _crowd(is_declared=False)):
        with pytest.raises(NoSchedule):
            schedule_steps.pause(crowd, ASKED)
    with pytest.raises(NoSchedule):
        schedule_steps.resume(_crowd(None, wanted=None), ASKED)
    skip = PassOver(slot=SLOT, why=PassedOver.FRESH, detail="")
    with pytest.raises(NoSchedule):
        schedule_steps.pass_over(_crowd(None), skip)
    wanted = Start(id="r1", kind=Kind.SCHEDULED, epoch=1)
    with pytest.raises(NoSchedule):
        schedule_steps.begin(_crowd(None), wanted, slot=SLOT, last_used=11)
