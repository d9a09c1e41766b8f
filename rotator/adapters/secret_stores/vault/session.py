"""The token that is in use: logged in once for all threads, prolonged in time."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rotator.adapters.secret_stores.vault.auth import renew
from rotator.errors import SecretStoreError, StoreTokenExpired

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from rotator.adapters.secret_stores.deadline import Deadline
    from rotator.adapters.secret_stores.vault.auth import Lease, Login
    from rotator.adapters.secret_stores.vault.wire import Wire

_log = logging.getLogger(__name__)


class Session:
    """Hands out the token; at most one login or renewal at a time and per *interval*."""

    def __init__(self, wire: Wire, login: Login, *, interval: timedelta) -> None:
        self._wire = wire
        self._log_in = login
        self._interval = interval.total_seconds()
        self._lock = threading.Lock()
        self._lease: Lease | None = None
        self._answered_at: float | None = None  # when a login or renewal last had an answer
        self._refusal: SecretStoreError | None = None

    def token(self, deadline: Deadline) -> str:
        """The token to use now."""
        with self._alone(deadline):
            if self._lease is None:
                self._lease = self._new_lease(deadline)
            elif self._lease.is_ending() and not self._is_too_soon():
                self._lease = self._prolonged(self._lease, deadline)
            return self._lease.token

    def replacement(self, refused: str, deadline: Deadline) -> str:
        """Another token for one that was refused; raises `StoreTokenExpired` if there is none."""
        with self._alone(deadline):
            if self._lease is None or self._lease.token == refused:
                self._lease = self._new_lease(deadline)
            return self._lease.token

    @contextmanager
    def _alone(self, deadline: Deadline) -> Iterator[None]:
        if not self._lock.acquire(timeout=deadline.remaining()):
            raise deadline.missed()
        try:
            yield
        finally:
            self._lock.release()

    def _is_too_soon(self) -> bool:
        answered_at = self._answered_at
        return answered_at is not None and time.monotonic() - answered_at < self._interval

    def _new_lease(self, deadline: Deadline) -> Lease:
        if self._is_too_soon():
            refusal = self._refusal or StoreTokenExpired()
            raise type(refusal)(str(refusal))
        try:
            lease = self._log_in(self._wire, deadline)
        except SecretStoreError as error:
            # One that never arrived does not count: the next may be tried at once.
            if not error.is_transient:
                self._answered_at, self._refusal = time.monotonic(), error
            raise
        self._answered_at, self._refusal = time.monotonic(), None
        return lease

    def _prolonged(self, lease: Lease, deadline: Deadline) -> Lease:
        try:
            if lease.is_renewable:
                renewed = renew(self._wire, lease, deadline)
                if renewed.ttl >= lease.ttl / 3:
                    self._answered_at = time.monotonic()
                    return renewed
        except SecretStoreError as error:
            _log.warning("the secrets manager's token was not renewed: %s", error)
        try:
            return self._new_lease(deadline)
        except SecretStoreError as error:
            # The old one still works, or the request itself finds out that it does not.
            _log.warning("no new token from the secrets manager: %s", error)
            return lease
