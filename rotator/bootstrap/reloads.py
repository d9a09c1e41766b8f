"""On SIGHUP: what the file says now, without a restart."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rotator.adapters.telemetry import logging as telemetry
from rotator.bootstrap import parts
from rotator.domain.ids import ClusterName
from rotator.errors import ConfigurationError, RotatorError
from rotator.settings.differences import Differences, differences

if TYPE_CHECKING:
    from collections.abc import Callable

    from rotator.bootstrap import Service
    from rotator.settings import Settings

log = logging.getLogger(__name__)


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
        """What may fail comes first; what cannot is done in one go."""
        service, found = self._service, differences(self._settings, settings)
        if found.for_restart:
            raise ConfigurationError(
                f"{', '.join(found.for_restart)}: this takes a restart; nothing of the file was taken"
            )
        await parts.require_same_masters(service.state, settings)
        now = await service.state.clusters.now()
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
