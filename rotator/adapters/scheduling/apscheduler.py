"""APScheduler 3 as a clock: memory store only, in one process (docs/decisions)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta


class Metronome:
    """Calls coroutines at intervals; a beat that comes late is made up for once, not queued."""

    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler(timezone="UTC")

    def every(self, interval: timedelta, call: Callable[[], Awaitable[None]]) -> None:
        """Call *call* at each *interval*, never twice at a time; its errors are logged."""
        self._scheduler.add_job(
            call,
            IntervalTrigger(seconds=interval.total_seconds(), timezone="UTC"),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._scheduler.start()

    def stop(self) -> None:
        """End at once; a call under way goes on."""
        self._scheduler.shutdown(wait=False)
