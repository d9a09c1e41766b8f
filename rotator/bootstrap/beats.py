"""What a replica does again and again, and what it does when another one tells it something."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rotator.errors import RotatorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from rotator.domain.ids import ClusterName
    from rotator.services.leadership import Leadership
    from rotator.services.tokens import TokenService
    from rotator.settings import Settings

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


def flush_every(settings: Settings, longest: timedelta) -> timedelta:
    """A third of the shortest node_ttl: the replica that leads knows of heartbeats by then."""
    lives = [policy.node_ttl for policy in settings.policies().values()]
    return min([longest, *(life / 3 for life in lives)])


def of_leader(
    leadership: Leadership, call: Callable[[], Awaitable[None]]
) -> Callable[[], Awaitable[None]]:
    """What only the replica that leads does."""

    async def attempt() -> None:
        if leadership.is_leading:
            await call()

    return attempt


def forgiving(call: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """What is repeated anyway ends nothing when it fails, and says so in one line."""

    async def attempt() -> None:
        try:
            await call()
        except RotatorError as error:
            log.warning("not now", extra={"code": error.code, "reason": str(error)})

    return attempt
