"""The writes of a schedule to the state store, as pure changes, each with its fact."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rotator.domain import commands, schedule
from rotator.domain.cluster import Change
from rotator.domain.commands import Request
from rotator.domain.facts import Fact, FactKind
from rotator.domain.schedule import PassedOver, Progress, Run, Skip
from rotator.domain.steps import SERVICE
from rotator.errors import NoSchedule

if TYPE_CHECKING:
    from datetime import datetime

    from rotator.domain.commands import Start
    from rotator.domain.ids import VersionNumber
    from rotator.domain.liveness import Crowd
    from rotator.domain.schedule import PassOver, Schedule


def _said(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _known(crowd: Crowd) -> tuple[Schedule, Progress]:
    wanted, progress = crowd.policy.schedule, crowd.cluster.schedule
    if wanted is None or progress is None:
        raise NoSchedule
    return wanted, progress


def _settled(wanted: Schedule, progress: Progress, slot: datetime) -> dict[str, str | None]:
    """The slot; and the earliest one that it stands for, if it is not alone."""
    earliest = wanted.calendar.after(progress.settled_until)
    said = {"slot": _said(slot)}
    return said if earliest in {None, slot} else {**said, "due_since": _said(earliest)}


def take_up(crowd: Crowd) -> Change:
    """T1: from now on the schedule counts as it is configured; what was before is not made up for."""
    cluster, wanted, now = crowd.cluster, crowd.policy.schedule, crowd.now
    before = cluster.schedule
    rules = "" if wanted is None else wanted.rules
    progress = None
    if before is not None and (wanted is not None or before.paused_at is not None):
        progress = replace(before, rules=rules, since=now, settled_until=now)
    elif wanted is not None:
        progress = Progress(rules=rules, since=now, settled_until=now)
    taken = crowd.with_cluster(replace(cluster, schedule=progress))
    details = {
        "schedule": rules or None,
        "before": (before.rules or None) if before else None,
        "next": _said(schedule.next_start(taken)),
    }
    fact = Fact(kind=FactKind.SCHEDULE_CHANGED, at=now, by="configuration", details=details)
    return Change(cluster=taken.cluster, facts=(fact,))


def pass_over(crowd: Crowd, action: PassOver) -> Change:
    """T2: the slot is settled without a rotation, and this is why."""
    cluster, (wanted, progress) = crowd.cluster, _known(crowd)
    skip = Skip(slot=action.slot, at=crowd.now, why=action.why, detail=action.detail)
    moved = replace(progress, settled_until=action.slot, skip=skip)
    details = {
        **_settled(wanted, progress, action.slot),
        "why": str(action.why),
        "detail": action.detail,
    }
    fact = Fact(kind=FactKind.SLOT_PASSED_OVER, at=crowd.now, by=SERVICE, details=details)
    return Change(cluster=replace(cluster, schedule=moved), facts=(fact,))


def begin(crowd: Crowd, wanted: Start, *, slot: datetime, last_used: VersionNumber) -> Change:
    """S1 by the clock: the rotation begins, and its slot is settled, in one write."""
    schedule, progress = _known(crowd)
    reason = f"scheduled for {slot:%Y-%m-%d %H:%M}Z"
    request = Request(by=SERVICE, reason=reason, at=crowd.now)
    change = commands.start(crowd, request, wanted, last_used=last_used)
    run = Run(slot=slot, at=crowd.now, rotation=wanted.id)
    moved = replace(progress, settled_until=slot, run=run)
    started = change.facts[-1]
    started = replace(started, details={**started.details, **_settled(schedule, progress, slot)})
    return replace(
        change,
        cluster=replace(change.cluster, schedule=moved),
        facts=(*change.facts[:-1], started),
    )


# --- orders of people ---------------------------------------------------------------------


def pause(crowd: Crowd, request: Request) -> Change:
    """Begin no rotation by the clock until the schedule is resumed; one under way goes on."""
    cluster, wanted = crowd.cluster, crowd.policy.schedule
    if wanted is None or not cluster.is_declared:
        raise NoSchedule
    progress = cluster.schedule
    if progress is None or progress.rules != wanted.rules:
        now = request.at
        progress = Progress(rules=wanted.rules, since=now, settled_until=now)
    if progress.paused_at is not None and request.reason in {"", progress.pause_reason}:
        return Change(cluster=cluster)
    # Paused again for another reason: it is on record, and since when it is paused stays.
    paused = replace(
        progress,
        paused_at=progress.paused_at or request.at,
        paused_by=request.by,
        pause_reason=request.reason,
    )
    fact = commands.fact_of(FactKind.SCHEDULE_PAUSED, request, None)
    return Change(cluster=replace(cluster, schedule=paused), facts=(fact,))


def resume(crowd: Crowd, request: Request) -> Change:
    """Go on with the next slot; those that went by meanwhile are passed over, by name."""
    cluster, progress, wanted = crowd.cluster, crowd.cluster.schedule, crowd.policy.schedule
    if wanted is None and progress is None:
        raise NoSchedule
    if progress is None or progress.paused_at is None:
        return Change(cluster=cluster)
    now = request.at
    slot = None if wanted is None else wanted.calendar.until(now)
    skip, passed = progress.skip, {}
    if wanted is not None and slot is not None and slot > progress.settled_until:
        skip = Skip(slot=slot, at=now, why=PassedOver.PAUSED)
        passed = _settled(wanted, progress, slot)
    resumed = replace(
        progress,
        since=now,
        settled_until=max(now, progress.settled_until),
        paused_at=None,
        paused_by="",
        pause_reason="",
        skip=skip,
    )
    going_on = crowd.with_cluster(replace(cluster, schedule=resumed))
    details = {
        "paused_at": _said(progress.paused_at),
        "passed_over": passed.get("slot"),
        "due_since": passed.get("due_since"),
        "next": _said(schedule.next_start(going_on)),
    }
    fact = commands.fact_of(FactKind.SCHEDULE_RESUMED, request, None, **details)
    return Change(cluster=going_on.cluster, facts=(fact,))
