"""What a replica does again and again, and what it does when another one tells it something."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rotator.errors import RotatorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rotator.api.throttle import Throttle
    from rotator.domain.ids import ClusterName
    from rotator.services.leadership import Leadership
    from rotator.services.tokens import TokenService

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ears:
    """`ports.wakeups.Ears`."""

    leadership: Leadership
    tokens: TokenService

    def cluster_has_changed(self, cluster: ClusterName | None) -> None:
        """See the port."""
        self.leadership.cluster_has_changed(cluster)

    def lease_is_free(self) -> None:
        """See the port."""
        self.leadership.lease_is_free()

    def token_was_revoked(self) -> None:
        """See the port."""
        self.tokens.revocations += 1


def acquaintance(tokens: TokenService, throttle: Throttle) -> Callable[[], Awaitable[None]]:
    """Tell the throttle which tokens are good before they come."""

    async def look() -> None:
        throttle.expect(await tokens.newcomers())

    return look


def of_leader(
    leadership: Leadership, call: Callable[[], Awaitable[None]]
) -> Callable[[], Awaitable[None]]:
    """What only the replica that leads does."""

    async def attempt() -> None:
        if leadership.is_leading:
            await call()

    return attempt


def forgiving(call: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """What is repeated anyway ends nothing when it fails, and says so in one line, once."""
    said: str | None = None

    async def attempt() -> None:
        nonlocal said
        try:
            await call()
            said = None
        except RotatorError as error:
            if error.code != said:
                log.warning("not now", extra={"code": error.code, "reason": str(error)})
            said = error.code

    return attempt
