"""A cluster's schedule as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.cli.durations import age, instant, spoken

if TYPE_CHECKING:
    from datetime import datetime

    from rotator.protocol import v1

_WHY: Final = {
    "fresh": "its version was young enough",
    "window_closed": "its window went by",
    "paused": "the schedule was paused",
}


def by_the_clock(found: v1.Cluster, now: datetime) -> list[str]:
    """What the service does by itself, for the cluster and for its master."""
    lines = schedule(found.schedule, now) if found.schedule else []
    return lines + (master(found.master, now) if found.master else [])


def schedule(found: v1.Schedule, now: datetime) -> list[str]:
    """When it runs next, when it ran last, and what it waits for."""
    lines = [f"schedule: {found.cron} {found.timezone}{_limits(found)}"]
    if found.paused_at:
        why = f": {found.pause_reason}" if found.pause_reason else ""
        lines.append(f"  paused by {found.paused_by} for {age(found.paused_at, now)}{why}")
    elif found.next_runs:
        lines.append(f"  next runs: {', '.join(map(_minute, found.next_runs))}")
    if found.last_run:
        lines.append(f"  last run: {_minute(found.last_run.at)} ({found.last_run.rotation})")
    passed = found.last_passed_over
    if passed and (found.last_run is None or passed.at > found.last_run.at):
        lines.append(f"  passed over: {_minute(passed.slot)}, {_why(passed)}")
    if found.overdue_since:
        since, long = _minute(found.overdue_since), age(found.overdue_since, now)
        lines.append(f"  overdue since {since}, for {long}")
    return lines


def master(found: v1.Master, now: datetime) -> list[str]:
    """When the master is renewed, if it has a schedule of its own."""
    said = f"master {found.name}: epoch {found.epoch}, {age(found.opened_at, now)} old"
    if found.next_due is None:
        return []
    if not found.overdue_since and found.imported:
        how = f"replace it with `rotator master import {found.name}`"
        return [f"{said}, imported; due by {_minute(found.next_due)}: {how}"]
    if not found.overdue_since:
        return [f"{said}, renewed at {_minute(found.next_due)}"]
    long = age(found.overdue_since, now)
    if found.imported:
        how = f"it was imported: renew it with `rotator master import {found.name}`"
        return [f"{said}, overdue for {long}; {how}"]
    return [f"{said}, overdue for {long}"]


def _limits(found: v1.Schedule) -> str:
    limits = {
        "jitter": found.jitter_seconds,
        "window": found.window_seconds,
        "spacing": found.spacing_seconds,
    }
    return "".join(f", {name} {spoken(seconds)}" for name, seconds in limits.items() if seconds)


def _why(passed: v1.PassedOver) -> str:
    why = _WHY.get(passed.why, passed.why.replace("_", " "))
    return f"{why} ({passed.detail})" if passed.detail else why


def _minute(text: str) -> str:
    return instant(text).strftime("%Y-%m-%d %H:%MZ")
