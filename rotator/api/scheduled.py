"""A cluster's schedule as the wire contract says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.domain import schedule as domain
from rotator.protocol import v1

if TYPE_CHECKING:
    from datetime import datetime

    from rotator.domain.liveness import Crowd
    from rotator.domain.renewal import MasterStanding
    from rotator.domain.schedule import Run, Skip

_SHOWN: Final = 3


def schedule(crowd: Crowd) -> v1.Schedule | None:
    """When the cluster is rotated by itself; None if that is nowhere said."""
    wanted, progress = crowd.policy.schedule, crowd.cluster.schedule
    if wanted is None:
        return None
    overdue = domain.overdue_since(crowd)
    return v1.Schedule(
        cron=wanted.calendar.cron,
        timezone=str(wanted.calendar.zone),
        jitter_seconds=wanted.jitter.total_seconds(),
        window_seconds=None if wanted.window is None else wanted.window.total_seconds(),
        spacing_seconds=wanted.spacing.total_seconds(),
        next_runs=[_instant(at) for at in domain.next_starts(crowd, count=_SHOWN)],
        overdue_since=None if overdue is None else _instant(overdue),
        paused_at=_instant(progress.paused_at) if progress and progress.paused_at else None,
        paused_by=progress.paused_by if progress else "",
        pause_reason=progress.pause_reason if progress else "",
        last_run=_run(progress.run) if progress and progress.run else None,
        last_passed_over=_skip(progress.skip) if progress and progress.skip else None,
    )


def master(found: MasterStanding, *, now: datetime) -> v1.Master:
    """The newest epoch of a cluster's master."""
    overdue = found.overdue_since(now)
    return v1.Master(
        name=found.name,
        epoch=found.epoch,
        opened_at=_instant(found.opened_at),
        imported=found.is_imported,
        next_due=None if found.due_at is None else _instant(found.due_at),
        overdue_since=None if overdue is None else _instant(overdue),
    )


def _run(found: Run) -> v1.ScheduledRun:
    return v1.ScheduledRun(
        slot=_instant(found.slot), at=_instant(found.at), rotation=found.rotation
    )


def _skip(found: Skip) -> v1.PassedOver:
    return v1.PassedOver(
        slot=_instant(found.slot), at=_instant(found.at), why=found.why, detail=found.detail
    )


def _instant(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
