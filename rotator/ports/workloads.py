"""Who a platform says that a process is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A process of the platform, by the platform's own word."""

    namespace: str
    account: str  #: of the service account
    pod: str | None  #: the pod that its token is bound to; None: to none


class WorkloadReviewer(Protocol):
    """Asks the platform about a token."""

    async def review(self, token: str) -> Workload | None:
        """Whose token it is; None for one that is not good, not ours, or not good any more.

        Raises `IdentityAway` when that cannot be told just now. May be asked again at any time.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
