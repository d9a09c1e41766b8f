"""What a schedule wants at this moment: questions about a cluster and the clock, answered by values.

A slot is *settled* when a rotation has begun for it, or when it was passed over, with the reason.
That is kept in the cluster (`Progress`) and written in the transaction of the rotation itself, so a
slot can neither be lost nor run twice. Of several slots that are due, the newest stands for all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from rotator.domain.cluster import Blocker
from rotator.domain.rotation import Kind

if TYPE_CHECKING:
    from datetime import datetime

    from rotator.domain.calendar import Calendar
    from rotator.domain.cluster import Cluster
    from rotator.domain.ids import RotationId
    from rotator.domain.liveness import Crowd

#: What was due while the service was away begins within this time after it is back.
CATCH_UP: Final = timedelta(minutes=10)
#: A version from further in the future than this was made while the clock was wrong.
SKEW: Final = timedelta(minutes=5)
#: What keeps a slot from its rotation and is over, with its blockers, when that is told.
_NOT_NAMED: Final = "the service was away, a rotation was under way, or the cluster was frozen"
#: A rotation that begins within this time after it is due is no overdue one.
PROMPT: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When an operator wants a cluster to be rotated by itself."""

    calendar: Calendar
    jitter: timedelta = timedelta(minutes=10)  #: starts are spread over this time after a slot
    window: timedelta | None = None  #: from each slot on; outside of it no irreversible step
    spacing: timedelta = timedelta(hours=1)  #: a slot replaces no version that is younger

    @property
    def rules(self) -> str:
        """What makes it another schedule when it changes."""
        return str(self.calendar)


class PassedOver(StrEnum):
    """Why no rotation began for a slot."""

    FRESH = "fresh"  #: the current version was made for it, or shortly before it
    WINDOW_CLOSED = "window_closed"  #: its window went by
    PAUSED = "paused"  #: the schedule was paused


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The last rotation that a schedule has begun."""

    slot: datetime
    at: datetime
    rotation: RotationId


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """The last slot that was passed over."""

    slot: datetime
    at: datetime
    why: PassedOver
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a cluster has come in its schedule."""

    rules: str  #: the schedule that this is about; empty: of none, and only a pause is kept
    since: (
        datetime  #: slots before are none of its: it is new, was changed, or was paused until then
    )
    settled_until: datetime  #: every slot up to here is settled
    paused_at: datetime | None = None
    paused_by: str = ""
    pause_reason: str = ""
    run: Run | None = None
    skip: Skip | None = None


# --- what is to be done -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TakeUp:
    """T1: the schedule is new, is another one, or there is none any more: count from now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassOver:
    """T2: no rotation begins for this slot, nor for one before it."""

    slot: datetime
    why: PassedOver
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """S1: begin a rotation for this slot."""

    slot: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Nothing to do before *until* (None: before something changes), because of *blockers*."""

    until: datetime | None = None
    blockers: tuple[Blocker, ...] = ()


Turn = TakeUp | PassOver | Begin | Rest


def turn(crowd: Crowd) -> Turn:
    """What the schedule wants of a cluster with no rotation under way."""
    schedule, progress, now = crowd.policy.schedule, crowd.cluster.schedule, crowd.now
    if schedule is None:
        return Rest() if progress is None or not progress.rules else TakeUp()
    if progress is None or progress.rules != schedule.rules or _is_ahead(schedule, progress, now):
        return TakeUp()
    if progress.paused_at is not None:
        return Rest()
    slot = schedule.calendar.until(now)
    if slot is None or slot <= progress.settled_until:
        return Rest(until=next_start(crowd))
    return _due(crowd, schedule, slot)


def _due(crowd: Crowd, schedule: Schedule, slot: datetime) -> Turn:
    cluster, now = crowd.cluster, crowd.now
    made_at = _made_at(crowd)
    if made_at is not None and made_at > slot - schedule.spacing:
        number = cluster.current.number if cluster.current else 0
        detail = f"version {number} is of {made_at:%Y-%m-%d %H:%M:%SZ}"
        return PassOver(slot=slot, why=PassedOver.FRESH, detail=detail)
    if schedule.window is not None and now >= slot + schedule.window:
        codes = sorted({standing.blocker.code for standing in cluster.blockers})
        detail = ", ".join(codes) or _NOT_NAMED
        return PassOver(slot=slot, why=PassedOver.WINDOW_CLOSED, detail=detail)
    starts_at = start_of(crowd, schedule, slot)
    if now < starts_at:
        return Rest(until=starts_at)
    free_at = _under_the_cap(crowd)
    if free_at is not None:
        detail = f"{crowd.policy.max_rotations_per_hour} have begun within the hour"
        capped = Blocker(code="too_many_rotations", subject="clock", detail=detail)
        return Rest(until=free_at, blockers=(capped,))
    return Begin(slot=slot)


def _is_ahead(schedule: Schedule, progress: Progress, now: datetime) -> bool:
    """Whether the clock was put back so far that slots would be lost to what it said before."""
    if progress.settled_until <= now:
        return False
    following = schedule.calendar.after(now)
    return following is not None and following < progress.settled_until


def _made_at(crowd: Crowd) -> datetime | None:
    """When the current version was made; None if that says nothing."""
    current = crowd.cluster.current
    if current is None or current.created_at > crowd.now + SKEW:
        return None
    return current.created_at


def _under_the_cap(crowd: Crowd) -> datetime | None:
    """When the next rotation may begin, if not now."""
    hour = timedelta(hours=1)
    recent = sorted(at for at in crowd.cluster.recent_starts if abs(crowd.now - at) < hour)
    excess = len(recent) - crowd.policy.max_rotations_per_hour
    return recent[excess] + hour if excess >= 0 else None


# --- when ---------------------------------------------------------------------------------


def jitter(cluster: Cluster, slot: datetime, *, within: timedelta) -> timedelta:
    """Whole seconds in [0, *within*): a function of the two names, so that everyone agrees on it."""
    seconds = int(within.total_seconds())
    digest = hashlib.sha256(f"{cluster.name} {int(slot.timestamp())}".encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:8], "big") % seconds if seconds else 0)


def planned_start(cluster: Cluster, schedule: Schedule, slot: datetime) -> datetime:
    """When the slot's rotation begins if nothing is in its way."""
    return slot + jitter(cluster, slot, within=schedule.jitter)


def start_of(crowd: Crowd, schedule: Schedule, slot: datetime) -> datetime:
    """The same, or soon after this leader began to serve, where that was later: spread likewise."""
    planned = planned_start(crowd.cluster, schedule, slot)
    since = crowd.serving_since
    if planned >= since:
        return planned
    later = _turn_after(since, crowd.cluster, schedule, slot)
    closes_at = None if schedule.window is None else slot + schedule.window
    return since if closes_at is not None and later >= closes_at else later


def _turn_after(since: datetime, cluster: Cluster, schedule: Schedule, slot: datetime) -> datetime:
    """The cluster's next turn. Time after the slot is cut into parts, with one turn in each.

    Turns do not depend on who serves: a leader that is new every few minutes meets one, too.
    """
    part = min(schedule.jitter, CATCH_UP) // 2  # between two turns lie two parts at most
    if not part:
        return since
    begins_at = slot + part * ((since - slot) // part)
    while (turn := begins_at + jitter(cluster, begins_at, within=part)) < since:
        begins_at += part
    return turn


def next_start(crowd: Crowd) -> datetime | None:
    """When the next slot's rotation begins."""
    return next(iter(next_starts(crowd, count=1)), None)


def next_starts(crowd: Crowd, *, count: int) -> tuple[datetime, ...]:
    """When the next rotations begin: first what is due already and has not begun."""
    schedule, progress = crowd.policy.schedule, crowd.cluster.schedule
    if schedule is None or (progress is not None and progress.paused_at is not None):
        return ()
    found = []
    slot: datetime | None = schedule.calendar.until(crowd.now)
    if slot is not None and _is_waiting(crowd, schedule, slot):
        found.append(start_of(crowd, schedule, slot))
    slot = schedule.calendar.after(crowd.now)
    while slot is not None and len(found) < count:
        found.append(planned_start(crowd.cluster, schedule, slot))
        slot = schedule.calendar.after(slot)
    return tuple(found)


def _is_waiting(crowd: Crowd, schedule: Schedule, slot: datetime) -> bool:
    progress = crowd.cluster.schedule
    if progress is None or progress.rules != schedule.rules or slot <= progress.settled_until:
        return False
    is_open = schedule.window is None or crowd.now < slot + schedule.window
    return is_open and start_of(crowd, schedule, slot) > crowd.now


def overdue_since(crowd: Crowd) -> datetime | None:
    """Since when the current version is older than its schedule wants; None if it is not.

    A rotation under way that makes it good counts, whatever it waits for; a paused schedule wants
    nothing.
    """
    schedule, progress = crowd.policy.schedule, crowd.cluster.schedule
    if schedule is None or progress is None or progress.paused_at is not None:
        return None
    if not crowd.cluster.is_initialised or progress.rules != schedule.rules:
        return None
    made_at = _made_at(crowd)
    fresh_until = progress.since if made_at is None else made_at + schedule.spacing
    slot = schedule.calendar.after(max(fresh_until, progress.since))
    if slot is None:
        return None
    due_at = planned_start(crowd.cluster, schedule, slot)
    if crowd.now < due_at + PROMPT or _is_under_way(crowd, slot - schedule.spacing):
        return None
    return due_at


def _is_under_way(crowd: Crowd, since: datetime) -> bool:
    rotation = crowd.cluster.rotation
    if rotation is None or rotation.is_rollback or rotation.abort_requested:
        return False
    return rotation.started_at > since


# --- windows ------------------------------------------------------------------------------


def outside_window(crowd: Crowd) -> tuple[Blocker, ...]:
    """What keeps a scheduled rotation from its next irreversible step, outside of its window."""
    schedule, rotation = crowd.policy.schedule, crowd.cluster.rotation
    if schedule is None or schedule.window is None:
        return ()
    if rotation is None or rotation.kind is not Kind.SCHEDULED:
        return ()
    opened_at = schedule.calendar.until(crowd.now)
    if opened_at is not None and crowd.now < opened_at + schedule.window:
        return ()
    opens_at = schedule.calendar.after(crowd.now)
    when = f"it opens at {opens_at:%Y-%m-%d %H:%M:%SZ}" if opens_at else "it opens no more"
    return (Blocker(code="outside_window", subject="clock", detail=when),)
