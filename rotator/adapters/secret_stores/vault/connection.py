"""Requests with a token, off the event loop and bounded in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from rotator.adapters.secret_stores.deadline import Deadline
from rotator.adapters.secret_stores.vault.session import Session
from rotator.adapters.secret_stores.vault.wire import Wire
from rotator.errors import StoreForbidden

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from rotator.adapters.secret_stores.vault.auth import Login

_Result = TypeVar("_Result")
THREADS: Final = 8


class Ask(Protocol):
    """One request within a call: method, path below ``/v1/``, body → the answer's JSON."""

    def __call__(
        self, method: str, path: str, body: dict[str, Any] | None = None, /
    ) -> dict[str, Any]:
        """Raises a `SecretStoreError` by name."""
        ...


class VaultConnection:
    """Eight threads, a connection each, one token.

    *timeout* bounds a call as a whole, with its logins: after it no further request is begun,
    though one that is on its way may still take effect.
    """

    def __init__(
        self,
        *,
        address: str,
        login: Login,
        ca_cert: Path | None = None,
        timeout: timedelta = timedelta(seconds=5),
        login_interval: timedelta = timedelta(seconds=5),
    ) -> None:
        self._wire = Wire(address=address, ca_cert=ca_cert, connections=THREADS)
        self._session = Session(self._wire, login, interval=login_interval)
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="vault")

    async def run(self, call: Callable[[Ask], _Result]) -> _Result:
        """Run *call* in a thread; raises what it raises, or `StoreUnreachable` in time."""
        deadline = Deadline(self._timeout)

        def ask(method: str, path: str, body: dict[str, Any] | None = None, /) -> dict[str, Any]:
            return self._ask(deadline, method, path, body)

        try:
            async with asyncio.timeout(deadline.remaining()):
                return await asyncio.get_running_loop().run_in_executor(self._threads, call, ask)
        except TimeoutError:
            raise deadline.missed() from None

    async def clock(self) -> datetime | None:
        """What the secrets manager's clock says, to the second; None if it does not say."""
        deadline = Deadline(self._timeout)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await loop.run_in_executor(self._threads, self._wire.clock, deadline)
        except TimeoutError:
            raise deadline.missed() from None

    def _ask(
        self, deadline: Deadline, method: str, path: str, body: dict[str, Any] | None
    ) -> dict[str, Any]:
        token = self._session.token(deadline)
        try:
            return self._wire.ask(method, path, token=token, deadline=deadline, body=body)
        except StoreForbidden:
            # A missing right and an expired token are both 403; what was refused was not done.
            if self._is_valid(token, deadline):
                raise
        token = self._session.replacement(token, deadline)
        return self._wire.ask(method, path, token=token, deadline=deadline, body=body)

    def _is_valid(self, token: str, deadline: Deadline) -> bool:
        try:
            self._wire.ask("GET", "auth/token/lookup-self", token=token, deadline=deadline)
        except StoreForbidden:
            return False
        return True

    async def close(self) -> None:
        """Give back threads and connections; a request on its way ends by its own timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._wire.close()
