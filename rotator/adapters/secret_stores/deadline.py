"""How long a call may take as a whole."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rotator.errors import StoreUnreachable

if TYPE_CHECKING:
    from datetime import timedelta


class Deadline:
    """When a call must be over, however many requests it takes."""

    def __init__(self, timeout: timedelta) -> None:
        self._timeout = timeout.total_seconds()
        self._ends_at = time.monotonic() + self._timeout

    def remaining(self) -> float:
        """Seconds left; raises `StoreUnreachable` when none are."""
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise self.missed()
        return left

    def missed(self) -> StoreUnreachable:
        """The error for a call that took too long."""
        return StoreUnreachable(f"the secrets manager did not answer within {self._timeout:g} s")
