"""On SIGHUP: what the file says now, without a restart."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rotator.adapters.telemetry import logging as telemetry
from rotator.bootstrap import parts
from rotator.domain.facts import Fact, FactKind
from rotator.domain.ids import ClusterName
from rotator.errors import ConfigurationError, RotatorError
from rotator.settings.differences import Differences, differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from rotator.bootstrap import Service
    from rotator.settings import Settings

log = logging.getLogger(__name__)


def facts_of(
    found: Differences, *, at: datetime, replica: str
) -> Iterator[tuple[ClusterName | None, Fact]]:
    """What a reload changes, by name and never by value: a fact for each chain that it is about.

    A cluster that comes or goes has its own facts, written by whoever leads.
    """
    of_clusters = found.by_cluster
    for cluster, changed in of_clusters.items():
        yield ClusterName(cluster), _reloaded({"changed": list(changed)}, at=at, replica=replica)
    names = {"added": found.added, "removed": found.removed, "changed": found.elsewhere}
    if any(names.values()):
        details = {what: list(which) for what, which in names.items() if which}
        yield None, _reloaded(details, at=at, replica=replica)


def _reloaded(details: dict[str, list[str]], *, at: datetime, replica: str) -> Fact:
    return Fact(
        kind=FactKind.CONFIGURATION_RELOADED,
        at=at,
        by="configuration",
        reason="SIGHUP",
        details={**details, "replica": replica},
    )


class Reloads:
    """The file as it is now, as a whole or not at all; one reading after the other."""

    def __init__(self, service: Service, settings: Settings, read: Callable[[], Settings]) -> None:
        self._service = service
        self._settings = settings
        self._read = read
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """Read it, soon."""
        task = asyncio.get_running_loop().create_task(self._run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        async with self._turn:
            try:
                found = await self._take(self._read())
            except RotatorError as error:
                log.error(  # noqa: TRY400 - the reason says all
                    "configuration not taken; the former one stays", extra={"reason": str(error)}
                )
            except Exception:
                log.exception("configuration not taken", extra={"code": "internal"})
            else:
                said = {
                    "added": list(found.added),
                    "removed": list(found.removed),
                    "changed": list(found.changed),
                }
                log.info("configuration read again", extra=said)

    async def _take(self, settings: Settings) -> Differences:
        """What may fail comes first; what cannot is done in one go.

        The facts are written before what they tell of, so none is missing; a process that dies
        in between reads the same file when it starts.
        """
        service, found = self._service, differences(self._settings, settings)
        if found.for_restart:
            raise ConfigurationError(
                f"{', '.join(found.for_restart)}: this takes a restart; nothing of the file was taken"
            )
        await parts.require_same_masters(service.state, settings)
        now = await service.state.clusters.now()
        for cluster, fact in facts_of(found, at=now, replica=parts.replica(settings)):
            await service.state.clusters.add_fact(fact, cluster=cluster)
        # The last of what may fail, and by itself whole or not at all.
        if service.leadership.is_leading:
            await service.state.clusters.declare(settings.policies().keys(), now=now)
        service.keyring.parameters = parts.profiles(settings)
        service.renewals.intervals = parts.intervals(settings)
        service.crowds.take(settings.policies(), now=now)
        service.throttle.limits = parts.limits(settings)
        service.doors.per_address = settings.connections_per_address
        telemetry.configure(level=settings.log.level, format=settings.log.format)
        self._settings = settings
        for name in found.clusters:
            service.leadership.poke(ClusterName(name))
        return found
