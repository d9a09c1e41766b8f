"""Hears what other replicas tell, on a connection of its own.

Nothing depends on it but time: who is told looks for itself, and whatever was missed while the
connection was away is made up for by telling everybody that anything may have changed.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import psycopg

from rotator.adapters.state import news
from rotator.adapters.state.postgres.database import CHANNEL
from rotator.adapters.state.postgres.server import said
from rotator.errors import RotatorError

if TYPE_CHECKING:
    from rotator.adapters.state.postgres.server import Server
    from rotator.adapters.state.wakeups import LocalWakeups
    from rotator.ports.wakeups import Ears

log = logging.getLogger(__name__)

_QUIET_SECONDS: Final = 10.0  #: after which the connection is tried
_ANSWER_SECONDS: Final = 5.0
_PAUSES: Final = (0.1, 0.5, 1.0, 2.0)  #: seconds before it connects again


class Listener:
    """One task that listens until it is stopped."""

    def __init__(self, server: Server, *, replica: str, wakeups: LocalWakeups) -> None:
        self._server = server
        self._replica = replica
        self._wakeups = wakeups
        self._task: asyncio.Task[None] | None = None

    def start(self, ears: Ears) -> None:
        """Begin; *ears* are called in this event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(ears))

    async def stop(self) -> None:
        """End at once."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, ears: Ears) -> None:
        failures = 0
        while True:
            try:
                connection = await self._server.connect(autocommit=True)
                async with connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    failures = 0
                    self._tell_all(ears)
                    await self._hear(connection, ears)
            except (psycopg.Error, OSError, RotatorError) as error:
                if not failures:
                    log.warning("wake-ups are late", extra={"reason": said(error)})
            except Exception:
                log.exception("listening failed", extra={"code": "internal"})
            await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
            failures += 1

    async def _hear(self, connection: psycopg.AsyncConnection[Any], ears: Ears) -> None:
        while True:
            async for told in connection.notifies(timeout=_QUIET_SECONDS):
                who, what = news.split(told.payload)
                self._tell(ears, what, is_own=who == self._replica)
            # A server that is stopped, or out of reach, does not end a connection.
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await connection.execute("SELECT 1")
            except TimeoutError:
                raise psycopg.OperationalError("the server does not answer") from None

    def _tell(self, ears: Ears, what: str, *, is_own: bool) -> None:
        if what == news.LEASE:
            ears.lease_is_free()
        elif what == news.REVOKED:
            ears.token_was_revoked()
            self._wakeups.wake_all()
        elif (cluster := news.cluster_in(what)) is not None:
            self._wakeups.wake(cluster)
            if not is_own:
                ears.cluster_has_changed(cluster)

    def _tell_all(self, ears: Ears) -> None:
        ears.lease_is_free()
        ears.token_was_revoked()
        ears.cluster_has_changed(None)
        self._wakeups.wake_all()
